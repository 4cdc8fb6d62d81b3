//! Removing trees that somebody else may write to, while they do.
//!
//! No symlink is followed and no other file system is entered, however deep the tree and however many files there are.

use std::ffi::{OsStr, OsString};

use rustix::fs::{self, AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::system::directory::{Directory, kind};
use crate::system::kill_point;

/// How many directories are open at a time. Deeper ones are moved up first: payloads can make them deeper than there
/// are file descriptors, or than the stack allows.
const DEPTH: usize = 32;
/// How many names are read at a time.
const BATCH: usize = 1024;

/// Removes a file in `parent`, or a directory with everything in it. Returns whether there was any. Fails if something
/// is mounted there.
pub fn remove(parent: &Directory, name: &OsStr) -> Result<bool> {
    let what = || format!("cannot remove {}", parent.path_of(name).display());
    try_remove(parent, name).context(what)
}

fn try_remove(parent: &Directory, name: &OsStr) -> Result<bool> {
    let Some(stat) = parent.stat_of(name).context(|| "cannot look at it".into())? else { return Ok(false) };
    if kind(&stat) == FileType::Directory {
        let mut removal = Removal { top: open(parent, name)?, moved: 0 };
        removal.run()?;
    }
    unlink(parent, name, kind(&stat))?;
    kill_point::pass();
    Ok(true)
}

/// A directory that is being emptied.
struct Removal {
    top: Directory,
    /// How many names directories that were moved up have had.
    moved: u64,
}

impl Removal {
    fn run(&mut self) -> Result<()> {
        loop {
            let names = names(&self.top)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                if let Some(child) = step(&self.top, &name)? {
                    self.empty(&child, 1)?;
                    unlink(&self.top, &name, FileType::Directory)?;
                }
            }
        }
    }

    /// Removes what is in a directory, or moves it up.
    fn empty(&mut self, directory: &Directory, depth: usize) -> Result<()> {
        loop {
            let names = names(directory)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                let Some(child) = step(directory, &name)? else { continue };
                if depth < DEPTH || !self.move_up(directory, &name)? {
                    self.empty(&child, depth + 1)?;
                    unlink(directory, &name, FileType::Directory)?;
                }
            }
        }
    }

    /// Moves a directory to a new name in the one that is being emptied; returns whether the file system can do that.
    fn move_up(&mut self, directory: &Directory, name: &OsStr) -> Result<bool> {
        loop {
            let target = OsString::from(format!(".{}.deep", self.moved));
            self.moved += 1;
            match fs::renameat_with(directory, name, &self.top, &target, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) => {}
                Err(Errno::XDEV | Errno::INVAL) => return Ok(false),
                moved => moved.context(|| format!("cannot move {}", directory.path_of(name).display()))?,
            }
        }
    }
}

/// Removes a file, or opens a directory.
fn step(parent: &Directory, name: &OsStr) -> Result<Option<Directory>> {
    let what = || format!("cannot look at {}", parent.path_of(name).display());
    match parent.stat_of(name).context(what)? {
        Some(stat) if kind(&stat) == FileType::Directory => open(parent, name).map(Some),
        Some(stat) => unlink(parent, name, kind(&stat)).map(|()| None),
        None => Ok(None),
    }
}

fn names(directory: &Directory) -> Result<Vec<OsString>> {
    directory.names(BATCH).context(|| format!("cannot read {}", directory.path().display()))
}

fn open(parent: &Directory, name: &OsStr) -> Result<Directory> {
    let path = || parent.path_of(name);
    match parent.child_of_same_mount(name) {
        Err(e) if e.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
            Err(Error::new(format!("{} is a mount point; unmount that first", path().display())))
        }
        opened => opened.context(|| format!("cannot open {}", path().display())),
    }
}

fn unlink(parent: &Directory, name: &OsStr, kind: FileType) -> Result<()> {
    let flags = if kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match fs::unlinkat(parent, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        result => result.context(|| format!("cannot remove {}", parent.path_of(name).display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn remove_in(directory: &Path, name: &str) -> Result<bool> {
        remove(&Directory::open(directory).unwrap(), name.as_ref())
    }

    #[test]
    fn removes_links_and_never_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("precious/sub")).unwrap();
        std::fs::write(dir.path().join("precious/sub/file"), "").unwrap();
        std::fs::create_dir_all(dir.path().join("tree/a/b")).unwrap();
        symlink(dir.path().join("precious"), dir.path().join("tree/a/link")).unwrap();
        symlink("../precious", dir.path().join("tree/b")).unwrap();
        std::fs::write(dir.path().join("tree/a/file"), "").unwrap();
        assert!(remove_in(dir.path(), "tree").unwrap());
        assert!(!remove_in(dir.path(), "tree").unwrap());
        symlink("precious", dir.path().join("tree")).unwrap();
        assert!(remove_in(dir.path(), "tree").unwrap());
        assert!(dir.path().join("precious/sub/file").exists());
        assert!(remove_in(&dir.path().join("precious"), "sub").unwrap());
    }

    #[test]
    fn depth_and_numbers_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        for number in 0..BATCH + 1 {
            std::fs::write(dir.path().join(format!("tree/{number}")), "").unwrap();
        }
        let mut deep = Directory::open(&dir.path().join("tree")).unwrap();
        // Far more than one process may have open, and its path is longer than the kernel takes.
        for _ in 0..1500 {
            deep = deep.make_child("directory".as_ref(), 0o700).unwrap();
        }
        drop(deep);
        assert!(remove_in(dir.path(), "tree").unwrap());
        assert!(!dir.path().join("tree").exists());
    }
}
