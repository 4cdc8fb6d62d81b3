//! What is left to do once libostree has checked out an image: the modification times, FIFOs, and copies of the files
//! that programs refuse to read if they have several names.
//!
//! Nobody else can reach the new tree. Its files are the store's, and with them those of other deployments; an inode is
//! never given anything but the time that its own attribute says, so it does not matter when this is killed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::attributes::FIFO;
use super::mtime::{self, ModificationTime};
use super::space::Space;
use crate::error::{Context, Result};
use crate::system::copy;
use crate::system::directory::{Directory, kind};
use crate::system::space::FILE;

/// Where regular files get inodes of their own: cron, at, sendmail and others read none that has another name, which
/// might be a user's; logrotate leaves such files alone.
const OWN_INODES: [&str; 4] = ["etc", "var/log", "var/mail", "var/spool"];
/// How much space copies of one file may take before all further names there are hard links to the last copy. The store
/// does not tell the names of one file from equal files: the former may be many and large, of the latter only small ones
/// are what those programs read.
const COPIES: u64 = 1 << 20;
/// How many bytes the paths may have by which copies are found again; names of other files are copied one by one.
const PATHS: usize = 16 << 20;
/// How long the values of our own attributes are at most.
const VALUE: usize = 64;

/// Completes the tree in `rootfs`. Beside it is room for files that are not complete.
pub fn finish(rootfs: &Path, space: &Space) -> Result<()> {
    finish_below(rootfs, Path::new(""), space)
}

/// The same of a directory that is at `path` in the image.
pub fn finish_below(rootfs: &Path, path: &Path, space: &Space) -> Result<()> {
    let what = || format!("cannot open {}", rootfs.display());
    let root = Directory::open(rootfs).context(what)?;
    let temporary = rootfs.with_extension("copy");
    let mut finish = Finish { root: &root, base: path, temporary, space, copies: HashMap::new(), paths: 0 };
    finish.directory(&root, path)?;
    let stat = root.stat().context(what)?;
    set_time(&root, OsStr::new("."), &stat).context(|| format!("cannot set the time of {}", rootfs.display()))
}

/// Whether a regular file at a path in an image, or below it, has an inode of its own.
pub fn has_own_inode(path: &Path) -> bool {
    OWN_INODES.iter().any(|place| path.starts_with(place))
}

/// Gives a directory the time that it had before something was done in it.
pub fn restore_time(directory: &Directory, before: &Stat) -> io::Result<()> {
    let time = |seconds: i64, nanoseconds: u64| fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    let times = fs::Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec),
        last_modification: time(before.st_mtime, before.st_mtime_nsec),
    };
    Ok(fs::futimens(directory, &times)?)
}

/// Makes a FIFO of what stands for it.
pub fn make_fifo(directory: &Directory, name: &OsStr, stat: &Stat, made: &Path) -> Result<()> {
    let what = || format!("cannot write {}", made.display());
    let time = time_of(directory, name).context(|| "cannot read its time".into())?.unwrap_or_default();
    copy::fifo(fs::CWD, made, stat, &time.timestamps()).context(what)
}

struct Finish<'a> {
    root: &'a Directory,
    /// Where that is in the image.
    base: &'a Path,
    /// Path of a copy, or of a FIFO, that is being made.
    temporary: PathBuf,
    space: &'a Space,
    /// Copies that were made, by the devices and inodes of the originals.
    copies: HashMap<(u64, u64), Copies>,
    /// Length of the paths in `copies`.
    paths: usize,
}

/// The copies of a file.
struct Copies {
    bytes: u64,
    /// Path of the last one, from the root of the tree.
    last: PathBuf,
}

impl Finish<'_> {
    /// Completes what is in a directory, which is at `path` in the image.
    fn directory(&mut self, directory: &Directory, path: &Path) -> Result<()> {
        let what = || format!("cannot read {}", directory.path().display());
        let has_own_inodes = has_own_inode(path);
        for name in directory.names(usize::MAX).context(what)? {
            let Some(stat) = directory.stat_of(&name).context(what)? else { continue };
            let path_of = || directory.path_of(&name).display().to_string();
            match kind(&stat) {
                FileType::Directory => {
                    let child = directory.child(&name).context(|| format!("cannot open {}", path_of()))?;
                    self.directory(&child, &path.join(&name))?;
                }
                FileType::RegularFile if stat.st_size == 0 && is_fifo(directory, &name).context(what)? => {
                    self.fifo(directory, &name, &stat).context(|| format!("cannot make {}", path_of()))?;
                    continue;
                }
                FileType::RegularFile if has_own_inodes && stat.st_nlink > 1 => {
                    self.separate(directory, &name, path.join(&name), &stat)
                        .context(|| format!("cannot copy {}", path_of()))?;
                }
                _ => {}
            }
            // That of a directory last, since its time changes with what is in it.
            set_time(directory, &name, &stat).context(|| format!("cannot set the time of {}", path_of()))?;
        }
        Ok(())
    }

    /// Makes a name in a directory that of a FIFO, with the owner, mode and time of what stands for it.
    fn fifo(&self, directory: &Directory, name: &OsStr, stat: &Stat) -> Result<()> {
        self.space.take_whole(0)?;
        make_fifo(directory, name, stat, &self.temporary)?;
        let what = || format!("cannot write {}", self.temporary.display());
        fs::renameat(fs::CWD, &self.temporary, directory, name).context(what)
    }

    /// Makes a name in a directory that of a copy. It is at `path` in the image.
    fn separate(&mut self, directory: &Directory, name: &OsStr, path: PathBuf, stat: &Stat) -> Result<()> {
        let what = || format!("cannot write {}", self.temporary.display());
        let original = (stat.st_dev, stat.st_ino);
        let known = self.copies.get(&original);
        let is_linked = match known {
            Some(copies) if copies.bytes >= COPIES => self.link(copies).context(what)?,
            _ => false,
        };
        if !is_linked {
            copy::duplicate(directory, name, &self.temporary, |bytes| self.space.take_whole(bytes))?;
        }
        fs::renameat(fs::CWD, &self.temporary, directory, name).context(what)?;
        // One of the names is the object's.
        if !is_linked && (known.is_some() || stat.st_nlink > 2) {
            self.remember(original, path, u64::try_from(stat.st_size).unwrap_or(0).max(FILE));
        }
        Ok(())
    }

    /// Makes the last copy of a file the one that is being made, if its file system permits more names.
    fn link(&self, copies: &Copies) -> io::Result<bool> {
        let last = copies.last.strip_prefix(self.base).unwrap_or(&copies.last);
        match fs::linkat(self.root, last, fs::CWD, &self.temporary, AtFlags::empty()) {
            Err(Errno::MLINK) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }

    fn remember(&mut self, original: (u64, u64), path: PathBuf, bytes: u64) {
        let length = path.as_os_str().len();
        if let Some(copies) = self.copies.get_mut(&original) {
            self.paths = self.paths - copies.last.as_os_str().len() + length;
            *copies = Copies { bytes: copies.bytes + bytes, last: path };
        } else if self.paths + length <= PATHS {
            self.paths += length;
            self.copies.insert(original, Copies { bytes, last: path });
        }
    }
}

/// Gives a file in a directory the time that its attribute says.
pub fn set_time(directory: &Directory, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let time = match (time_of(directory, name)?, kind(stat)) {
        (Some(time), _) => time,
        // The object may be the host's, and has the right time from libostree, which gives it to no symlink.
        (None, FileType::RegularFile) if stat.st_nlink > 1 => return Ok(()),
        (None, _) => ModificationTime::default(),
    };
    // Mostly it has, from an earlier checkout. A directory's changes with what is done in it, after this was found out.
    if kind(stat) != FileType::Directory && time.is_of(stat) {
        return Ok(());
    }
    Ok(fs::utimensat(directory, name, &time.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The time in the attribute of a file in a directory.
fn time_of(directory: &Directory, name: &OsStr) -> io::Result<Option<ModificationTime>> {
    // Atomic took what archives had, which may be anything.
    Ok(attribute(directory, name, mtime::ATTRIBUTE)?.and_then(|value| ModificationTime::of_record(&value)))
}

/// Whether a file in a directory stands for a FIFO.
pub fn is_fifo(directory: &Directory, name: &OsStr) -> io::Result<bool> {
    Ok(attribute(directory, name, FIFO)?.is_some())
}

/// The value of one of our own attributes of a file in a directory.
fn attribute(directory: &Directory, name: &OsStr, attribute: &str) -> io::Result<Option<Vec<u8>>> {
    // The one way to those of a symlink that is not a path from the root.
    let path = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string()).join(name);
    let mut value = [0; VALUE];
    match fs::lgetxattr(&path, attribute, &mut value) {
        // One that is too long is not ours.
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(None),
        length => Ok(Some(value[..length?].to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// A tree with names of two objects, of which one is large.
    fn tree(dir: &Path) -> PathBuf {
        let rootfs = dir.join("rootfs");
        std::fs::create_dir_all(rootfs.join("etc/x")).unwrap();
        std::fs::create_dir_all(rootfs.join("usr")).unwrap();
        std::fs::write(dir.join("large"), vec![1; 3 << 20]).unwrap();
        std::fs::write(dir.join("small"), "x").unwrap();
        for number in 0..20 {
            for object in ["large", "small"] {
                let name = format!("{object}{number}");
                std::fs::hard_link(dir.join(object), rootfs.join("etc/x").join(name)).unwrap();
            }
        }
        std::fs::hard_link(dir.join("large"), rootfs.join("usr/large")).unwrap();
        rootfs
    }

    #[test]
    fn names_of_a_large_file_are_those_of_one_copy() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = tree(dir.path());
        finish(&rootfs, &Space::new(dir.path(), 0)).unwrap();
        let found = |name: &str| std::fs::metadata(rootfs.join("etc/x").join(name)).unwrap();
        let (first, object) = (found("large0"), std::fs::metadata(dir.path().join("large")).unwrap());
        assert_eq!((first.nlink(), object.nlink()), (20, 2));
        assert_eq!(object.ino(), std::fs::metadata(rootfs.join("usr/large")).unwrap().ino());
        for number in 0..20 {
            assert_eq!(found(&format!("large{number}")).ino(), first.ino());
            assert_eq!(found(&format!("small{number}")).nlink(), 1);
        }
        assert!(!rootfs.with_extension("copy").exists());
    }

    #[test]
    fn copies_leave_free_what_is_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = tree(dir.path());
        let error = finish(&rootfs, &Space::new(dir.path(), u64::MAX)).unwrap_err().to_string();
        assert!(
            error.contains("cannot copy ") && error.contains("is full: 3 MiB more are needed"),
            "{error}"
        );
    }
}
