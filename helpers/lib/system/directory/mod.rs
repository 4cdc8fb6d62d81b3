//! Open directories: what is below one is named by single components, and no symlink on the way is followed.
//!
//! A payload, or a user of the host, may replace any directory that they can write to by a symlink, at any time. So
//! whatever crosses one is opened component by component from a directory that only root can change.

use std::ffi::{OsStr, OsString};
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

/// A directory that is open.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by its path. Symlinks are followed, so that nobody but root may be able to change the path.
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

    /// Opens the directory at `path` as programs see it for which this directory is `/`: symlinks on the way are
    /// followed, but never lead out of it.
    pub fn inside(&self, path: &Path) -> io::Result<Directory> {
        self.resolve(path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
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

    /// Opens the directory at a relative path, in which symlinks may be followed as long as they stay in this one.
    pub fn beneath(&self, path: &Path) -> io::Result<Directory> {
        self.resolve(path, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
    }

    fn component(&self, name: &OsStr, flags: ResolveFlags) -> io::Result<Directory> {
        if name.as_bytes().contains(&b'/') {
            return Err(Errno::INVAL.into());
        }
        self.resolve(Path::new(name), flags | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    fn resolve(&self, path: &Path, flags: ResolveFlags) -> io::Result<Directory> {
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Where links are followed, the last one is, too.
        let open = if flags.contains(ResolveFlags::NO_SYMLINKS) { open } else { open - OFlags::NOFOLLOW };
        for _ in 0..ATTEMPTS {
            match fs::openat2(&self.fd, path, open, Mode::empty(), flags) {
                Err(Errno::AGAIN) => {}
                opened => {
                    let below = path.strip_prefix("/").unwrap_or(path);
                    return Ok(Directory { fd: opened?, path: self.path.join(below) });
                }
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

    /// Sets the owner and then the mode, since changing the owner clears setuid bits.
    pub fn set_owner(&self, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
        fs::fchown(&self.fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(fs::fchmod(&self.fd, Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Renames a file in this directory, and replaces a file of the new name.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Has the names in this directory written to disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }

    /// Has everything on the file system of this directory written to disk.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.fd)?)
    }

    /// Opens a regular file in this directory for reading; `None` if it is anything else, which has no effect on that.
    pub fn file(&self, name: &OsStr) -> io::Result<Option<File>> {
        if !self.stat_of(name)?.is_some_and(|stat| kind(&stat) == FileType::RegularFile) {
            return Ok(None);
        }
        // If it is replaced by a FIFO in the meantime, nothing is waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty())?;
        let is_regular = kind(&fs::fstat(&fd)?) == FileType::RegularFile;
        Ok(is_regular.then(|| File::from(fd)))
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
