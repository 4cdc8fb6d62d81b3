//! What is left to do once libostree has checked out an image: the modification times, and copies of the files that
//! programs refuse to read if they have several names.
//!
//! Nobody else gets at the new tree. Its files are the store's, and with them those of other deployments; an inode is
//! never given anything but the time that its own attribute says, so it does not matter when this is killed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::mtime::{self, ModificationTime};
use crate::error::{Context, Result};
use crate::system::copy;
use crate::system::directory::{Directory, kind};

/// Where regular files get inodes of their own: cron, at, sendmail and others read none that has another name, which
/// might be a user's; logrotate leaves such files alone.
const OWN_INODES: [&str; 4] = ["etc", "var/log", "var/mail", "var/spool"];
/// How long the value of the attribute with the time is at most; it is ours.
const VALUE: usize = 64;

/// Completes the tree in `rootfs`. Beside it is room for files that are not complete.
pub fn finish(rootfs: &Path) -> Result<()> {
    let what = || format!("cannot open {}", rootfs.display());
    let root = Directory::open(rootfs).context(what)?;
    let finish = Finish { copy: rootfs.with_extension("copy") };
    finish.directory(&root, Path::new(""))?;
    let stat = root.stat().context(what)?;
    set_time(&root, OsStr::new("."), &stat).context(|| format!("cannot set the time of {}", rootfs.display()))
}

struct Finish {
    /// Path of a copy that is being made.
    copy: PathBuf,
}

impl Finish {
    /// Completes what is in a directory, which is at `path` in the image.
    fn directory(&self, directory: &Directory, path: &Path) -> Result<()> {
        let what = || format!("cannot read {}", directory.path().display());
        let has_own_inodes = OWN_INODES.iter().any(|place| path.starts_with(place));
        for name in directory.names(usize::MAX).context(what)? {
            let Some(stat) = directory.stat_of(&name).context(what)? else { continue };
            let path_of = || directory.path_of(&name).display().to_string();
            match kind(&stat) {
                FileType::Directory => {
                    let child = directory.child(&name).context(|| format!("cannot open {}", path_of()))?;
                    self.directory(&child, &path.join(&name))?;
                }
                FileType::RegularFile if has_own_inodes && stat.st_nlink > 1 => {
                    copy::replace(directory, &name, &self.copy)
                        .context(|| format!("cannot copy {}", path_of()))?;
                }
                _ => {}
            }
            // That of a directory last, since its time changes with what is in it.
            set_time(directory, &name, &stat).context(|| format!("cannot set the time of {}", path_of()))?;
        }
        Ok(())
    }
}

/// Gives a file in a directory the time that its attribute says.
fn set_time(directory: &Directory, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let time = match (attribute(directory, name)?, kind(stat)) {
        (Some(time), _) => time,
        // The object may be the host's, and has the right time from libostree, which gives it to no symlink.
        (None, FileType::RegularFile) => return Ok(()),
        (None, _) => ModificationTime::default(),
    };
    // Mostly it has, from an earlier checkout. A directory's changes with what is done in it, after this was found out.
    if kind(stat) != FileType::Directory && time.is_of(stat) {
        return Ok(());
    }
    Ok(fs::utimensat(directory, name, &time.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The time in the attribute of a file in a directory.
fn attribute(directory: &Directory, name: &OsStr) -> io::Result<Option<ModificationTime>> {
    // The one way to those of a symlink that is not a path from the root.
    let path = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string()).join(name);
    let mut value = [0; VALUE];
    match fs::lgetxattr(&path, mtime::ATTRIBUTE, &mut value) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        // Atomic took what archives had, which may be anything.
        length => Ok(ModificationTime::of_record(&value[..length?])),
    }
}
