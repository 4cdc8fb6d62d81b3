//! Removing trees that somebody else may write to, while they do.
//!
//! No symlink is followed and no other file system is entered, however deep the tree and however many files there are.
//! Payloads can make directories deeper than there are file descriptors, or than the stack allows. What is deep is moved
//! up, which is linear; where that is impossible, it is removed where it is, in bounded memory.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};

use rustix::fs::{self, AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::system::directory::{Directory, Entries, kind};
use crate::system::{kill_point, quota};

/// How many directories are open before deeper ones are moved up.
const DEPTH: usize = 32;
/// How many are open at most. A child of a subvolume cannot be moved out of it, but what is in that can be moved into
/// the child, or out if it is a subvolume itself.
const DEEPEST: usize = DEPTH + 8;
/// How many names are read at a time.
const BATCH: usize = 1024;
/// The same in [`clear`], where it is remembered for many directories.
const FEW: usize = 64;
/// For how many directories above one it is remembered in [`clear`] where they were read to, each with a descriptor.
const OPEN: usize = 64;
/// How many directories above one are remembered in [`clear`]. If it is deeper, it is looked for again from the top.
const TRAIL: usize = 1 << 15;

/// Moves a file of a directory to another one, where it gets a name that nothing has.
type Move = fn(&Directory, &OsStr, &Directory, &OsStr) -> Result<(), Errno>;

/// Removes a file in `parent`, or a directory with everything in it. Returns whether there was any. Fails if something
/// is mounted there.
pub fn remove(parent: &Directory, name: &OsStr) -> Result<bool> {
    let what = || format!("cannot remove {}", parent.path_of(name).display());
    let move_to = |from: &Directory, name: &OsStr, to: &Directory, new: &OsStr| {
        fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)
    };
    try_remove(parent, name, move_to).context(what)
}

fn try_remove(parent: &Directory, name: &OsStr, move_to: Move) -> Result<bool> {
    let Some(stat) = parent.stat_of(name).context(|| "cannot examine it".into())? else { return Ok(false) };
    if kind(&stat) == FileType::Directory {
        let top = open(parent, name)?;
        // Otherwise nothing of another project could be moved there.
        quota::disinherit(&top);
        Removal { open: vec![top], moved: 0, move_to }.empty()?;
    }
    unlink(parent, name, kind(&stat))?;
    kill_point::pass();
    Ok(true)
}

/// A directory that is being emptied.
struct Removal {
    /// That directory, and those that are open: each is in the one before.
    open: Vec<Directory>,
    /// How many names directories that were moved up have had.
    moved: u64,
    move_to: Move,
}

impl Removal {
    /// Removes what is in the last directory.
    fn empty(&mut self) -> Result<()> {
        let mut names = Names::of(self.last())?;
        loop {
            let some = names.read(self.last(), BATCH)?;
            if some.is_empty() {
                return Ok(());
            }
            for name in some {
                let Some(child) = step(self.last(), &name)? else { continue };
                if self.open.len() > DEPTH && self.move_up(&name) {
                    continue;
                }
                if self.open.len() < DEEPEST {
                    self.open.push(child);
                    self.empty()?;
                    self.open.pop();
                } else {
                    clear(&child)?;
                }
                unlink(self.last(), &name, FileType::Directory)?;
            }
        }
    }

    fn last(&self) -> &Directory {
        self.open.last().expect("the top is never closed")
    }

    /// Moves a directory in the last one to the first one that takes it; returns whether any does. On a full disk none may,
    /// nor does that of another subvolume or project.
    fn move_up(&mut self, name: &OsStr) -> bool {
        let (last, above) = self.open.split_last().expect("the top is never closed");
        for target in above {
            loop {
                let new = OsString::from(format!(".{}.deep", self.moved));
                self.moved += 1;
                match (self.move_to)(last, name, target, &new) {
                    Ok(()) => return true,
                    Err(Errno::EXIST) => {}
                    Err(_) => break,
                }
            }
        }
        false
    }
}

/// Removes what is in a directory, and moves nothing: goes down to a directory that has none, removes it, and goes back
/// up. Few are open at a time. The way up is `..`, as nobody knows all directories above a deep one; since the tree may be
/// moved meanwhile, it leads on only to a directory that the way down has passed.
fn clear(base: &Directory) -> Result<()> {
    let what = || format!("cannot go through {}", base.path().display());
    loop {
        let mut here = base.child(OsStr::new(".")).context(what)?.known_as(base.path());
        let mut names = Names::of(&here)?;
        let mut trail = VecDeque::new();
        let mut is_cut = false;
        loop {
            if let Some(child) = descend(&here, &mut names)? {
                let child = child.known_as(base.path());
                let read = std::mem::replace(&mut names, Names::of(&child)?);
                trail.push_back((identity(&here).context(what)?, Some(read)));
                // Further up, it is begun again.
                let closed = trail.len().checked_sub(OPEN + 1).and_then(|index| trail.get_mut(index));
                closed.into_iter().for_each(|(_, read)| *read = None);
                if trail.len() > TRAIL {
                    trail.pop_front();
                    is_cut = true;
                }
                here = child;
                continue;
            }
            let Some((expected, read)) = trail.pop_back() else { break };
            let above = here.above().context(what)?;
            if identity(&above).context(what)? != expected {
                is_cut = true;
                break;
            }
            here = above;
            names = read.map_or_else(|| Names::of(&here), Ok)?;
        }
        if !is_cut {
            return Ok(());
        }
    }
}

/// What tells a directory from all others.
fn identity(directory: &Directory) -> std::io::Result<(u64, u64)> {
    let stat = directory.stat()?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes what is in a directory, up to a directory that is not empty, which is opened.
fn descend(directory: &Directory, names: &mut Names) -> Result<Option<Directory>> {
    loop {
        let Some(name) = names.next(directory)? else { return Ok(None) };
        let Some(child) = step(directory, &name)? else { continue };
        match fs::unlinkat(directory, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(child)),
            Err(e) => Err(e).context(|| format!("cannot remove {}", directory.path_of(&name).display()))?,
        }
    }
}

/// Removes a file, or opens a directory.
fn step(parent: &Directory, name: &OsStr) -> Result<Option<Directory>> {
    let what = || format!("cannot examine {}", parent.path_of(name).display());
    match parent.stat_of(name).context(what)? {
        Some(stat) if kind(&stat) == FileType::Directory => open(parent, name).map(Some),
        Some(stat) => unlink(parent, name, kind(&stat)).map(|()| None),
        None => Ok(None),
    }
}

/// The names in a directory that is being emptied.
struct Names {
    entries: Entries,
    /// Those that were read already.
    ahead: Vec<OsString>,
    /// Whether there was any since the beginning: then there may be others by now that were moved there.
    is_any: bool,
}

impl Names {
    fn of(directory: &Directory) -> Result<Names> {
        let what = || format!("cannot read {}", directory.path().display());
        Ok(Names { entries: directory.entries().context(what)?, ahead: Vec::new(), is_any: false })
    }

    /// The next ones, at most `max`; none if there are none from the beginning to the end.
    fn read(&mut self, directory: &Directory, max: usize) -> Result<Vec<OsString>> {
        let what = || format!("cannot read {}", directory.path().display());
        loop {
            let names = self.entries.read(max).context(what)?;
            if !names.is_empty() {
                self.is_any = true;
                return Ok(names);
            }
            if !std::mem::take(&mut self.is_any) {
                return Ok(names);
            }
            self.entries.rewind();
        }
    }

    fn next(&mut self, directory: &Directory) -> Result<Option<OsString>> {
        if self.ahead.is_empty() {
            self.ahead = self.read(directory, FEW)?;
        }
        Ok(self.ahead.pop())
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Makes directories in each other, with a file in some.
    fn make_deep(above: &Path, depth: usize) {
        std::fs::create_dir(above).unwrap();
        let mut deep = Directory::open(above).unwrap();
        for number in 0..depth {
            deep = deep.make_child("d".as_ref(), 0o700).unwrap().known_as(above);
            if number < 10 || number % 1000 == 0 {
                let flags = fs::OFlags::CREATE | fs::OFlags::WRONLY;
                fs::openat(&deep, "file", flags, fs::Mode::from_raw_mode(0o600)).unwrap();
            }
        }
    }

    #[test]
    fn names_are_not_read_again_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = |number: usize| dir.path().join(number.to_string());
        (0..10).for_each(|number| std::fs::write(path(number), "").unwrap());
        let directory = Directory::open(dir.path()).unwrap();
        let mut names = Names::of(&directory).unwrap();
        let read = |names: &mut Names| names.read(&directory, 4).unwrap();
        // Whether the first ones are still there or not.
        let all: Vec<_> = (0..3).flat_map(|_| read(&mut names)).collect();
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 10);
        (0..10).for_each(|number| std::fs::remove_file(path(number)).unwrap());
        std::fs::write(path(3), "").unwrap();
        assert_eq!(read(&mut names), ["3"]);
        std::fs::remove_file(path(3)).unwrap();
        assert_eq!(read(&mut names), [""; 0]);
    }

    /// More directories that are not empty than are read at a time.
    #[test]
    fn a_wide_directory_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..3 * FEW {
            std::fs::create_dir_all(dir.path().join(format!("{number}/x/y"))).unwrap();
        }
        clear(&Directory::open(dir.path()).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    fn remove_with(directory: &Path, name: &str, move_to: Move) -> Result<bool> {
        try_remove(&Directory::open(directory).unwrap(), name.as_ref(), move_to)
    }

    /// Subvolumes, projects, and a disk that is full.
    #[test]
    fn where_nothing_can_be_moved_depth_does_not_matter_either() {
        let dir = tempfile::tempdir().unwrap();
        make_deep(&dir.path().join("tree"), 50_000);
        std::fs::create_dir_all(dir.path().join("tree/d/d/beside/d")).unwrap();
        assert!(remove_with(dir.path(), "tree", |_, _, _, _| Err(Errno::XDEV)).unwrap());
        assert!(!dir.path().join("tree").exists());
    }

    #[test]
    fn what_cannot_be_moved_to_the_top_is_moved_as_far_as_possible() {
        static MOVED: AtomicUsize = AtomicUsize::new(0);
        let dir = tempfile::tempdir().unwrap();
        make_deep(&dir.path().join("tree"), 1000);
        let within = |from: &Directory, name: &OsStr, to: &Directory, new: &OsStr| {
            if to.path().ends_with("tree") || to.path().ends_with("tree/d") {
                return Err(Errno::XDEV);
            }
            MOVED.fetch_add(1, Ordering::Relaxed);
            fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)
        };
        assert!(remove_with(dir.path(), "tree", within).unwrap());
        // Every so many directories, and not one by one.
        let moved = MOVED.load(Ordering::Relaxed);
        assert!((20..50).contains(&moved), "{moved}");
        assert!(!dir.path().join("tree").exists());
    }

    /// A payload moves the directory that is being emptied to a place of its own.
    #[test]
    fn the_way_up_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        make_deep(&dir.path().join("tree"), 3);
        std::fs::create_dir(dir.path().join("precious")).unwrap();
        std::fs::write(dir.path().join("precious/file"), "").unwrap();
        let tree = Directory::open(&dir.path().join("tree")).unwrap();
        let below = tree.child("d".as_ref()).unwrap();
        std::fs::rename(dir.path().join("tree/d"), dir.path().join("precious/d")).unwrap();
        let above = below.above().unwrap();
        assert_ne!(identity(&above).unwrap(), identity(&tree).unwrap());
        clear(&tree).unwrap();
        assert!(dir.path().join("precious/file").exists() && dir.path().join("precious/d/file").exists());
    }
}
