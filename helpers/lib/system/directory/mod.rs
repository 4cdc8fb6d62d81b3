//! Open directories: what is below one is found from it, by single names, of which none is followed, or by paths, where
//! [`Links`] says which symlinks are.
//!
//! A payload, a user of the host, or whoever made an image may replace any directory that they can write to by a
//! symlink, at any time. So whatever crosses one is found from a directory that only somebody who is trusted can change.
//! Nothing that is waited for is opened, and no device.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::paths::{self, Root, TreePath};

/// How often a path is resolved anew while something is renamed under it.
const ATTEMPTS: usize = 64;

/// Which symlinks are followed in the path of a file below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// None.
    Refused,
    /// Those on the way to the file that stay below the directory; the file itself is not followed.
    OnTheWay,
    /// Those that stay below the directory.
    Below,
    /// All, as programs see them for which the directory is `/`: none leads out of it.
    Inside,
}

impl Links {
    fn flags(self) -> (OFlags, ResolveFlags) {
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match self {
            Links::Refused => (OFlags::NOFOLLOW, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS),
            Links::OnTheWay => (OFlags::NOFOLLOW, below),
            Links::Below => (OFlags::empty(), below),
            Links::Inside => (OFlags::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS),
        }
    }
}

/// Why a file is not opened: it is a directory, a symlink, or what may be waited for.
#[derive(Debug)]
pub struct Irregular;

impl fmt::Display for Irregular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a regular file")
    }
}

impl std::error::Error for Irregular {}

impl Irregular {
    /// Whether that is why something failed.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|why| why.is::<Irregular>())
    }

    fn refuse(file: impl AsFd) -> io::Result<()> {
        let is_regular = kind(&fs::fstat(file)?) == FileType::RegularFile;
        if is_regular { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, Irregular)) }
    }
}

/// A directory that is open.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

/// The names in a directory, from where it was read last. Names that are removed meanwhile need not be passed again: on ext4, a
/// directory never gets smaller, and reading what was removed takes as long as what is there.
pub struct Entries(Dir);

impl Entries {
    /// The next names, of which there are at most `max`, in no order; none at the end.
    pub fn read(&mut self, max: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        while names.len() < max {
            let Some(entry) = self.0.next() else { break };
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_os_string());
            }
        }
        Ok(names)
    }

    /// Goes back to the beginning.
    pub fn rewind(&mut self) {
        self.0.rewind();
    }
}

impl Directory {
    /// Opens a directory by its path. Symlinks are followed, so that only somebody who is trusted may be able to change
    /// the path.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let fd = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Directory { fd, path: path.to_path_buf() })
    }

    /// Opens a directory in this one; fails if it is a symlink.
    pub fn child(&self, name: &OsStr) -> io::Result<Directory> {
        self.component(name, ResolveFlags::empty())
    }

    /// Like [`Directory::child`]; fails with `EXDEV` if something is mounted there.
    pub fn child_of_same_mount(&self, name: &OsStr) -> io::Result<Directory> {
        self.component(name, ResolveFlags::NO_XDEV)
    }

    /// Opens a directory in this one; `None` if there is nothing of that name. What else there may be is an error that
    /// says so.
    pub fn enter(&self, name: &OsStr) -> Result<Option<Directory>> {
        let what = || self.path_of(name).display().to_string();
        match self.stat_of(name).context(what)? {
            None => Ok(None),
            Some(stat) if kind(&stat) == FileType::Directory => self.child(name).map(Some).context(what),
            Some(stat) => {
                let why = format!(
                    "it is {}, which is not followed; put a directory in its place",
                    kind_name(&stat)
                );
                Err(Error::new(why)).context(what)
            }
        }
    }

    /// Opens the directory that this one is in by now: where others can move this one, that may be any. Its path, for
    /// messages, stays that of this one.
    pub fn above(&self) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, "..", flags, Mode::empty())?;
        Ok(Directory { fd, path: self.path.clone() })
    }

    /// The same directory with another path for messages: that of one that is very deep would be as long.
    pub fn known_as(self, path: &Path) -> Directory {
        Directory { path: path.to_path_buf(), ..self }
    }

    fn component(&self, name: &OsStr, more: ResolveFlags) -> io::Result<Directory> {
        if name.is_empty() || name.as_bytes().contains(&b'/') {
            return Err(Errno::INVAL.into());
        }
        self.opened(Path::new(name), Links::Refused, more)
    }

    /// Opens a directory below this one.
    pub fn directory(&self, path: &Path, links: Links) -> io::Result<Directory> {
        self.opened(path, links, ResolveFlags::empty())
    }

    fn opened(&self, path: &Path, links: Links, more: ResolveFlags) -> io::Result<Directory> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, links, more)?;
        Ok(Directory { fd, path: self.path.join(path.strip_prefix("/").unwrap_or(path)) })
    }

    /// Like [`Directory::directory`]; `None` if there is none, or if a link in its path is refused.
    pub fn find_directory(&self, path: &Path, links: Links) -> io::Result<Option<Directory>> {
        if_there(self.directory(path, links), links)
    }

    /// What is known of a file below this directory, which may be a symlink where [`Links`] does not follow the file
    /// itself; `None` as in [`Directory::find_directory`].
    pub fn find(&self, path: &Path, links: Links) -> io::Result<Option<Stat>> {
        let found = if_there(self.resolve(path, OFlags::PATH, links, ResolveFlags::empty()), links)?;
        Ok(found.map(fs::fstat).transpose()?)
    }

    /// Opens a regular file below this directory for reading; `None` as in [`Directory::find_directory`]. Anything else
    /// is the error [`Irregular`], and this has no effect on it.
    pub fn file(&self, path: &Path, links: Links) -> io::Result<Option<File>> {
        let open = |flags| if_there(self.resolve(path, flags, links, ResolveFlags::empty()), links);
        // What it is has to be known before it is opened.
        let Some(found) = open(OFlags::PATH)? else { return Ok(None) };
        Irregular::refuse(&found)?;
        // If it is replaced by a FIFO in the meantime, nothing is waited for.
        let Some(file) = open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)? else { return Ok(None) };
        Irregular::refuse(&file)?;
        Ok(Some(File::from(file)))
    }

    /// Opens whatever has a name in this directory, only to find it again: this has no effect on it. Fails for a symlink.
    pub fn place(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let fd = self.resolve(Path::new(name), OFlags::PATH, Links::Refused, ResolveFlags::empty())?;
        // With these flags, a symlink is opened itself.
        if kind(&fs::fstat(&fd)?) == FileType::Symlink { Err(Errno::LOOP.into()) } else { Ok(fd) }
    }

    fn resolve(&self, path: &Path, open: OFlags, links: Links, more: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let (nofollow, resolve) = links.flags();
        let open = open | nofollow | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            match fs::openat2(&self.fd, path, open, Mode::empty(), resolve | more) {
                Err(Errno::AGAIN) => {}
                opened => return Ok(opened?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Creates a directory in this one, and opens it; if there is a directory of that name already, it stays as it is.
    pub fn make_child(&self, name: &OsStr, mode: u32) -> io::Result<Directory> {
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => self.child(name),
            Err(e) => Err(e.into()),
        }
    }

    /// Creates an empty file in this directory; fails if there is anything of that name.
    pub fn make_file(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))?;
        Ok(fs::fchmod(made, Mode::from_raw_mode(mode))?)
    }

    /// Creates a directory in this one, and opens it; `None` if there is something of that name already.
    pub fn make_new(&self, name: &OsStr, mode: u32) -> io::Result<Option<Directory>> {
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.just_made(name, mode).map(Some),
            Err(Errno::EXIST) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a directory that was just made. Others may have put another one in its place: then this fails, but for one that
    /// is as new.
    fn just_made(&self, name: &OsStr, mode: u32) -> io::Result<Directory> {
        let made = self.child(name)?;
        let stat = made.stat()?;
        let is_ours = stat.st_uid == nix::unistd::geteuid().as_raw() && stat.st_mode & 0o777 == mode;
        if is_ours && made.names(1)?.is_empty() {
            return Ok(made);
        }
        Err(io::Error::other("something else has been put in its place"))
    }

    /// What is known of this directory.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.fd)?)
    }

    /// What is known of a file in this directory, which may be a symlink; `None` if there is none.
    pub fn stat_of(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => Ok(Some(stat?)),
        }
    }

    /// Names of at most `max` files in this directory, in no order.
    pub fn names(&self, max: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // It has a position of its own, at the beginning.
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == max {
                break;
            }
            names.push(name.to_os_string());
        }
        Ok(names)
    }

    /// Its names, to be read one after the other.
    pub fn entries(&self) -> io::Result<Entries> {
        Ok(Entries(Dir::read_from(&self.fd)?))
    }

    /// Sets the owner and then the mode, since changing the owner clears setuid bits.
    pub fn set_owner(&self, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
        fs::fchown(&self.fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(fs::fchmod(&self.fd, Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Renames a file in this directory, and replaces a file of the new name.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Renames a file in this directory to one in another.
    pub fn rename_into(&self, from: &OsStr, target: &Directory, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, from, &target.fd, to)?)
    }

    /// Has the names in this directory written to disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }

    /// Has everything on the file system of this directory written to disk.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.fd)?)
    }

    /// Target of a symlink in this directory.
    pub fn link_target(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }

    /// Makes a hard link at `target` to a file in this directory, which may be a symlink.
    pub fn hard_link(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(fs::linkat(&self.fd, name, fs::CWD, target, AtFlags::empty())?)
    }

    /// Path of a file in this directory, for messages.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Path of this directory, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens the directory of a tree that `path` is in; `None` if it does not exist. Fails if a component of its path is a
/// symlink, or anything else than a directory.
pub fn parent(root: &Root, path: &TreePath) -> Result<Option<(Directory, OsString)>> {
    let what = || format!("cannot open the directory of {path}");
    let not_a_path = || Error::new("it is not the path of a file");
    let mut names = paths::components(path.as_path()).ok_or_else(not_a_path).context(what)?;
    let last = names.pop().ok_or_else(not_a_path).context(what)?;
    let mut directory = Directory::open(root.path()).context(what)?;
    for name in names {
        match directory.enter(name).context(what)? {
            Some(child) => directory = child,
            None => return Ok(None),
        }
    }
    Ok(Some((directory, last.to_os_string())))
}

/// `None` for what is not there; where links are refused, that is whatever is behind one.
fn if_there<T>(found: io::Result<T>, links: Links) -> io::Result<Option<T>> {
    match found.as_ref().map_err(Errno::from_io_error) {
        Err(Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
        Err(Some(Errno::LOOP)) if links == Links::Refused => Ok(None),
        _ => found.map(Some),
    }
}

/// The type of a file.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What a file is called that is not what it should be.
pub fn kind_name(stat: &Stat) -> &'static str {
    match kind(stat) {
        FileType::Symlink => "a symlink",
        FileType::Directory => "a directory",
        FileType::RegularFile => "a regular file",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests;
