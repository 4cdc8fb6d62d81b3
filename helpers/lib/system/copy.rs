//! Copying a tree that is not trusted: by directory descriptors, regular files, directories and symlinks only, bounded.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::program::bytes;
use crate::system::directory::{Directory, Irregular, Links, kind};
use crate::system::kill_point;
use crate::system::space::{FILE, Space};

/// Extended attributes that are copied: others say what the file is to the host that it was made on.
const CAPABILITY: &str = "security.capability";
const USER_ATTRIBUTES: &str = "user.";
/// The label, which a new file has already.
const LABEL: &str = "security.selinux";
/// How long the list of a file's attributes may be, and the value of one: Linux's own limit.
const ATTRIBUTES_MAX: usize = 64 << 10;

/// How many bytes are written between two looks at the free space: blocks that are shared take none.
const CHUNK: usize = 1 << 20;

/// How many bytes the paths may have by which copies are found again; names of other files are copied one by one.
const PATHS: usize = 64 << 20;

/// How much a tree may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files, directories and symlinks.
    pub entries: u64,
    /// Directories in each other; each has two file descriptors while it is copied.
    pub depth: usize,
    /// Bytes of content, without holes.
    pub bytes: u64,
}

/// What several copies together may hold, and what they have.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    space: Space,
    entries: u64,
    bytes: u64,
}

impl Budget {
    /// A budget of which nothing is spent, on a file system.
    pub fn new(limits: Limits, space: Space) -> Budget {
        Budget { limits, space, entries: 0, bytes: 0 }
    }
}

/// What was not copied: devices and sockets.
#[derive(Debug, Default)]
pub struct Skipped {
    /// How many there were.
    pub count: u64,
    /// One of them.
    pub example: PathBuf,
}

/// Copies what is in `source` to `target`, which is empty, with owners, modes, times and attributes, and at last
/// those of `source` itself.
pub fn copy(source: &Directory, target: &Directory, budget: &mut Budget) -> Result<Skipped> {
    let mut copy = Copy { budget, skipped: Skipped::default(), is_wanted: is_portable, names: None };
    copy.directory(source, target, 0)?;
    Ok(copy.skipped)
}

/// Like [`copy`], of a tree that nobody else can change: with all attributes, and where a file has several names there, its
/// copy has them, too.
pub fn copy_whole(source: &Directory, target: &Directory, budget: &mut Budget) -> Result<()> {
    let names = Some(Names::default());
    let mut copy = Copy { budget, skipped: Skipped::default(), is_wanted: is_own, names };
    copy.directory(source, target, 0)
}

struct Copy<'a> {
    budget: &'a mut Budget,
    skipped: Skipped,
    /// Which attributes are copied.
    is_wanted: fn(&[u8]) -> bool,
    /// The copies of files that may have other names, if these are to be names of one copy.
    names: Option<Names>,
}

/// Paths of copies by the devices and inodes of the originals.
#[derive(Default)]
struct Names {
    copies: HashMap<(u64, u64), PathBuf>,
    /// Length of the paths.
    bytes: usize,
}

impl Names {
    /// Gives an earlier copy of a file another name, if there is one, and it may have more names.
    fn link(&self, stat: &Stat, target: &Directory, name: &OsStr) -> io::Result<bool> {
        let Some(copy) = self.copies.get(&(stat.st_dev, stat.st_ino)) else { return Ok(false) };
        match fs::linkat(fs::CWD, copy, target, name, AtFlags::empty()) {
            Err(Errno::MLINK) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }

    fn remember(&mut self, stat: &Stat, path: PathBuf) {
        let length = path.as_os_str().len();
        if stat.st_nlink > 1 && self.bytes + length <= PATHS {
            self.bytes += length;
            self.copies.insert((stat.st_dev, stat.st_ino), path);
        }
    }
}

impl Copy<'_> {
    fn directory(&mut self, source: &Directory, target: &Directory, depth: usize) -> Result<()> {
        let what = || format!("cannot copy {}", source.path().display());
        if depth > self.budget.limits.depth {
            return Err(too_much(format!("it is more than {} directories deep", self.budget.limits.depth)))
                .context(what);
        }
        let left = usize::try_from(self.budget.limits.entries - self.budget.entries).unwrap_or(usize::MAX);
        for name in source.names(left.saturating_add(1)).context(what)? {
            self.budget.entries += 1;
            if self.budget.entries > self.budget.limits.entries {
                let why = format!("with it, there are more than {} files", self.budget.limits.entries);
                return Err(too_much(why)).context(what);
            }
            self.entry(source, target, &name, depth)?;
            kill_point::pass();
        }
        let stat = source.stat().context(what)?;
        let written = finish(source, target, &stat, self.is_wanted).context(what)?;
        self.attributes(written).context(what)
    }

    fn entry(&mut self, source: &Directory, target: &Directory, name: &OsStr, depth: usize) -> Result<()> {
        let what = || format!("cannot copy {}", source.path_of(name).display());
        let Some(stat) = source.stat_of(name).context(what)? else { return Ok(()) };
        match kind(&stat) {
            FileType::Directory => {
                self.budget.space.take(FILE).context(what)?;
                let from = source.child(name).context(what)?;
                let to = target.make_child(name, 0o700).context(what)?;
                self.directory(&from, &to, depth + 1)
            }
            FileType::Symlink => {
                self.budget.space.take(FILE).context(what)?;
                symlink(source, target, name, &stat).context(what)
            }
            FileType::RegularFile => self.file(source, target, name).context(what),
            FileType::Fifo => {
                self.budget.space.take(FILE).context(what)?;
                fifo(target, name, &stat, &times(&stat)).context(what)
            }
            _ => {
                self.skipped.count += 1;
                self.skipped.example = source.path_of(name);
                Ok(())
            }
        }
    }

    fn file(&mut self, source: &Directory, target: &Directory, name: &OsStr) -> Result<()> {
        let from = match source.file(name.as_ref(), Links::Refused) {
            // Something else has taken its place.
            Ok(None) => return Ok(()),
            Err(e) if Irregular::is(&e) => return Ok(()),
            Ok(Some(from)) => from,
            Err(e) => return Err(e).context(|| "cannot open it".into()),
        };
        let stat = fs::fstat(&from).context(|| "cannot examine it".into())?;
        if let Some(names) = &self.names {
            if names.link(&stat, target, name).context(|| "cannot link its copy".into())? {
                return Ok(());
            }
        }
        // What is in it counts besides.
        self.budget.space.take(FILE)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = fs::openat(target, name, flags, Mode::from_raw_mode(0o600));
        let to = File::from(to.context(|| "cannot create the copy".into())?);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut at = 0;
        while let Some((start, end)) = next_data(&from, at, size).context(|| "cannot read it".into())? {
            self.budget.bytes = self.budget.bytes.saturating_add(end - start);
            if self.budget.bytes > self.budget.limits.bytes {
                let max = bytes::shown(self.budget.limits.bytes);
                return Err(too_much(format!("with it, the files are larger than {max}")));
            }
            for start in (start..end).step_by(CHUNK) {
                let end = end.min(start + CHUNK as u64);
                self.budget.space.take(end - start)?;
                copy_range(&from, &to, start, end).context(|| "cannot write the copy".into())?;
            }
            at = end;
        }
        fs::ftruncate(&to, size).context(|| "cannot write the copy".into())?;
        let written = finish(&from, &to, &stat, self.is_wanted);
        if let Some(names) = &mut self.names {
            names.remember(&stat, target.path_of(name));
        }
        self.attributes(written.context(|| "cannot set its attributes".into())?)
    }

    /// Counts attributes, which may be more than a file system has room for beside the inode.
    fn attributes(&self, bytes: u64) -> Result<()> {
        if bytes > 0 { self.budget.space.take(bytes) } else { Ok(()) }
    }
}

fn too_much(why: String) -> Error {
    Error::new(format!("{why}, more than a volume may be filled with"))
}

/// The next range of a file, from `at` on, that is not a hole.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match fs::seek(file, SeekFrom::Data(at)) {
        // What follows is a hole.
        Err(Errno::NXIO) => return Ok(None),
        // This file system does not know.
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        start => start?,
    };
    let end = fs::seek(file, SeekFrom::Hole(start))?.min(size);
    Ok((start < end).then_some((start, end)))
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    fs::seek(from, SeekFrom::Start(start))?;
    fs::seek(to, SeekFrom::Start(start))?;
    let (mut from, mut to) = (from.take(end - start), to);
    // Shares the blocks, where the file system can.
    io::copy(&mut from, &mut to).map(|_| ())
}

fn symlink(source: &Directory, target: &Directory, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let link = fs::readlinkat(source, name, Vec::new())?;
    fs::symlinkat(&link, target, name)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fs::chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(fs::utimensat(target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Makes a FIFO with the owner and mode of another file, in a directory that nobody else can change.
pub fn fifo(target: impl AsFd, path: impl AsRef<Path>, stat: &Stat, times: &Timestamps) -> io::Result<()> {
    let path = path.as_ref();
    fs::mknodat(&target, path, FileType::Fifo, Mode::RWXU, 0)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fs::chownat(&target, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    fs::chmodat(&target, path, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    Ok(fs::utimensat(&target, path, times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a copy the owner, attributes, mode and time of the original, in this order: a new owner clears capabilities
/// and setuid bits, which are the image's own and stay, as nobody on the host can get there.
/// Returns how many bytes the attributes have.
fn finish(
    source: impl AsFd,
    target: impl AsFd,
    stat: &Stat,
    is_wanted: fn(&[u8]) -> bool,
) -> io::Result<u64> {
    fs::fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    let written = copy_attributes(&source, &target, is_wanted)?;
    fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    fs::futimens(&target, &times(stat))?;
    Ok(written)
}

fn times(stat: &Stat) -> Timestamps {
    let modified =
        Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Timestamps { last_access: modified, last_modification: modified }
}

fn copy_attributes(source: impl AsFd, target: impl AsFd, is_wanted: fn(&[u8]) -> bool) -> io::Result<u64> {
    let mut written = 0;
    for name in attributes(&source, is_wanted)? {
        let mut value = vec![0; ATTRIBUTES_MAX];
        let length = match fs::fgetxattr(&source, &name, value.as_mut_slice()) {
            Err(Errno::NODATA | Errno::RANGE) => continue,
            length => length?,
        };
        match fs::fsetxattr(&target, &name, &value[..length], XattrFlags::empty()) {
            // The file system has none.
            Err(Errno::NOTSUP) => continue,
            set => set?,
        }
        written += length as u64;
    }
    Ok(written)
}

fn attributes(file: impl AsFd, is_wanted: fn(&[u8]) -> bool) -> io::Result<Vec<OsString>> {
    let mut list = vec![0; ATTRIBUTES_MAX];
    let length = match fs::flistxattr(file, list.as_mut_slice()) {
        Err(Errno::NOTSUP | Errno::RANGE) => return Ok(Vec::new()),
        length => length?,
    };
    let names = list[..length].split(|byte| *byte == 0);
    let wanted = names.filter(|name| !name.is_empty() && is_wanted(name));
    Ok(wanted.map(|name| OsStr::from_bytes(name).to_os_string()).collect())
}

/// Whether an attribute of a file goes with it into a tree of somebody else.
fn is_portable(name: &[u8]) -> bool {
    name == CAPABILITY.as_bytes() || name.starts_with(USER_ATTRIBUTES.as_bytes())
}

/// Whether an attribute is not given by this host to every new file.
pub fn is_own(name: &[u8]) -> bool {
    !name.is_empty() && name != LABEL.as_bytes()
}

/// Makes a copy of a regular file at `target`, with its owner, mode, attributes and times. `take` is asked before it
/// is made, and again before any bytes are written. Only somebody who is trusted may be able to change either directory.
pub fn duplicate(
    directory: &Directory,
    name: &OsStr,
    target: &Path,
    take: impl Fn(u64) -> Result<()>,
) -> Result<File> {
    // One that shares its blocks takes an inode, too.
    take(0)?;
    let what = || "cannot read it".to_owned();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = File::from(fs::openat(directory, name, flags, Mode::empty()).context(what)?);
    let stat = fs::fstat(&from).context(what)?;
    let what = || format!("cannot write {}", target.display());
    let to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    let to = to.context(what)?;
    if fs::ioctl_ficlone(&to, &from).is_err() {
        // File systems that share no blocks, and small files, which some keep elsewhere.
        take(u64::try_from(stat.st_size).unwrap_or(0))?;
        io::copy(&mut &from, &mut &to).context(what)?;
    }
    finish(&from, &to, &stat, is_own).context(what)?;
    Ok(to)
}

#[cfg(test)]
mod tests;
