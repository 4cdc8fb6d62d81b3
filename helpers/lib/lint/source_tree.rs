//! A directory with the sources of an image as a [`Tree`]: what will be `/exports`, and no other files.
//!
//! Whoever wrote it may not be trusted: nothing is read that is not below it, nothing is waited for, and nothing in it is
//! run or configures a program.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::error::{Context, Error, Result};
use crate::image::limits::{self, WalkBudget};
use crate::image::tree::{FileKind, Tree, TreeEntry};
use crate::system::beneath::{Beneath, Found, LastLink};

/// The files for `/exports` in a directory of sources.
pub struct ExportsDirectory<'a> {
    /// The directory of sources.
    pub sources: &'a Beneath,
    /// Where the files are in it.
    pub below: &'a Path,
}

impl ExportsDirectory<'_> {
    fn locate(&self, path: &str) -> Option<PathBuf> {
        path.strip_prefix("exports/").map(|below| self.below.join(below))
    }
}

impl Tree for ExportsDirectory<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.locate(path) else { return Ok(None) };
        self.sources.read(&path, limits::HOST_TEMPLATE, LastLink::NotFollowed)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        let Some(path) = self.locate(path) else { return Ok(Vec::new()) };
        let what = || format!("cannot read {}", path.display());
        match self.sources.find(&path)? {
            None => return Ok(Vec::new()),
            Some(found) if found.kind == FileType::Directory => {}
            Some(_) => return Err(Error::new("it is not a directory, and is not followed")).context(what),
        }
        let Some(top) = self.sources.directory(&path)? else { return Ok(Vec::new()) };
        walk(&top).context(what)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        let why = "these are the sources of an image, not an image";
        Err(Error::new(why)).context(|| format!("cannot create {}", destination.display()))
    }
}

fn walk(top: &Beneath) -> Result<Vec<TreeEntry>> {
    let (mut entries, mut budget, mut open) = (Vec::new(), WalkBudget::default(), vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        // Somebody replaced it meanwhile.
        let Some(directory) = top.directory(&below)? else { continue };
        directory.each(|name, found| {
            let path = below.join(name);
            budget.take(&path)?;
            let kind = match found.kind {
                FileType::Directory => FileKind::Directory,
                FileType::RegularFile => FileKind::Regular,
                FileType::Symlink => FileKind::Symlink(directory.link(name)?),
                _ => FileKind::Special,
            };
            if kind == FileKind::Directory {
                open.push(path.clone());
            }
            entries.push(entry(path, kind, found));
            Ok(())
        })?;
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn entry(path: PathBuf, kind: FileKind, found: &Found) -> TreeEntry {
    let stat = &found.stat;
    TreeEntry { path, kind, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn walked(directory: &Path) -> Result<Vec<String>> {
        let sources = Beneath::open(directory).unwrap();
        let tree = ExportsDirectory { sources: &sources, below: Path::new("exports") };
        let entries = tree.walk("exports/hostfs")?;
        Ok(entries.into_iter().map(|entry| entry.path.display().to_string()).collect())
    }

    #[test]
    fn sources_are_read_and_walked() {
        let dir = tempfile::tempdir().unwrap();
        let hostfs = dir.path().join("exports/hostfs");
        fs::create_dir_all(hostfs.join("etc/sub")).unwrap();
        fs::write(hostfs.join("etc/b"), "x").unwrap();
        symlink("/", hostfs.join("etc/a")).unwrap();
        assert_eq!(walked(dir.path()).unwrap(), ["etc", "etc/a", "etc/b", "etc/sub"]);
        let sources = Beneath::open(dir.path()).unwrap();
        let tree = ExportsDirectory { sources: &sources, below: Path::new("exports") };
        assert_eq!(tree.read("exports/hostfs/etc/b").unwrap().as_deref(), Some(b"x".as_slice()));
        assert_eq!(tree.read("exports/none").unwrap(), None);
        assert_eq!(tree.read("etc/passwd").unwrap(), None);
        assert!(tree.checkout(&dir.path().join("none")).is_err());
    }

    #[test]
    fn walks_stay_below_and_end() {
        for (link, target) in [("exports/hostfs", "/"), ("exports/hostfs", ".."), ("exports", "/usr/share")] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join(link).parent().unwrap()).unwrap();
            symlink(target, dir.path().join(link)).unwrap();
            let walked = walked(dir.path());
            assert!(
                walked.as_ref().is_err_and(|e| e.to_string().contains("is not followed")),
                "{link}: {walked:?}"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let deep: PathBuf = (0..100).map(|_| "d").collect();
        fs::create_dir_all(dir.path().join("exports/hostfs").join(deep)).unwrap();
        assert!(walked(dir.path()).unwrap_err().to_string().contains("more than 64 directories"));
    }
}
