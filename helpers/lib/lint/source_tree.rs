//! A directory with the sources of an image as a [`Tree`]: what will be `/exports`, and no other files.
//!
//! Whoever wrote it may not be trusted: nothing is read that is not below it, nothing is waited for, and nothing in it is
//! run or configures a program.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::image::limits::{self, WalkBudget};
use crate::image::tree::{FileKind, Tree, TreeEntry};
use crate::system::directory::{Directory, Links, kind};
use crate::system::files;

/// The files for `/exports` in a directory of sources.
pub struct ExportsDirectory<'a> {
    /// The directory of sources.
    pub sources: &'a Directory,
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
        read(self.sources, &path, limits::HOST_TEMPLATE, Links::OnTheWay)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        let Some(path) = self.locate(path) else { return Ok(Vec::new()) };
        let what = || format!("cannot read {}", path.display());
        match explained(self.sources.find(&path, Links::OnTheWay), self.sources, &path)? {
            None => return Ok(Vec::new()),
            Some(found) if kind(&found) == FileType::Directory => {}
            Some(_) => return Err(Error::new("it is not a directory, and is not followed")).context(what),
        }
        let top = explained(self.sources.find_directory(&path, Links::OnTheWay), self.sources, &path)?;
        let Some(top) = top else { return Ok(Vec::new()) };
        walk(&top).context(what)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        let why = "these are the sources of an image, not an image";
        Err(Error::new(why)).context(|| format!("cannot create {}", destination.display()))
    }
}

/// Reads a regular file of at most `limit` bytes below a directory of sources; `None` if it does not exist.
pub fn read(directory: &Directory, path: &Path, limit: usize, links: Links) -> Result<Option<Vec<u8>>> {
    let file = explained(directory.file(path, links), directory, path)?;
    file.map(|file| files::read_opened(file, limit)).transpose().context(|| cannot_read(directory, path))
}

/// Target of a symlink below a directory of sources; `None` if the directory that it is in does not exist.
pub fn link_target(directory: &Directory, path: &Path) -> Result<Option<PathBuf>> {
    let (above, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
    let above = explained(directory.find_directory(above, Links::OnTheWay), directory, above)?;
    above.map(|above| explained(above.link_target(name), &above, Path::new(name))).transpose()
}

/// Says what cannot be read below a directory of sources, and why.
pub fn explained<T>(found: io::Result<T>, directory: &Directory, path: &Path) -> Result<T> {
    let why = match found.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::XDEV) => format!("it leads out of {}, and is not followed", directory.path().display()),
        Some(Errno::AGAIN) => "it is being renamed".to_owned(),
        _ => return found.context(|| cannot_read(directory, path)),
    };
    Err(Error::new(why)).context(|| cannot_read(directory, path))
}

fn cannot_read(directory: &Directory, path: &Path) -> String {
    format!("cannot read {}", directory.path_of(path.as_os_str()).display())
}

fn walk(top: &Directory) -> Result<Vec<TreeEntry>> {
    let (mut entries, mut budget, mut open) = (Vec::new(), WalkBudget::default(), vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        // Somebody replaced it meanwhile.
        let directory = explained(top.find_directory(&below, Links::OnTheWay), top, &below)?;
        let Some(directory) = directory else { continue };
        let names = directory.names(limits::HOST_FILES + 1);
        for name in names.context(|| format!("cannot read {}", directory.path().display()))? {
            let stat = explained(directory.stat_of(&name), &directory, Path::new(&name))?;
            let Some(stat) = stat else { continue };
            let path = below.join(&name);
            budget.take(&path)?;
            let kind = match kind(&stat) {
                FileType::Directory => FileKind::Directory,
                FileType::RegularFile => FileKind::Regular,
                FileType::Symlink => {
                    let target = directory.link_target(&name);
                    FileKind::Symlink(explained(target, &directory, Path::new(&name))?)
                }
                _ => FileKind::Special,
            };
            if kind == FileKind::Directory {
                open.push(path.clone());
            }
            entries.push(entry(path, kind, &stat));
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn entry(path: PathBuf, kind: FileKind, stat: &Stat) -> TreeEntry {
    // Whoever has the sources, what is copied to an image belongs to root there.
    TreeEntry { path, kind, mode: stat.st_mode & 0o7777, uid: 0, gid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn walked(directory: &Path) -> Result<Vec<String>> {
        let sources = Directory::open(directory).unwrap();
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
        let sources = Directory::open(dir.path()).unwrap();
        let tree = ExportsDirectory { sources: &sources, below: Path::new("exports") };
        assert_eq!(tree.read("exports/hostfs/etc/b").unwrap().as_deref(), Some(b"x".as_slice()));
        assert_eq!(tree.read("exports/none").unwrap(), None);
        assert_eq!(tree.read("etc/passwd").unwrap(), None);
        assert!(tree.checkout(&dir.path().join("none")).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let sources = Directory::open(dir.path()).unwrap();
        symlink("/etc", dir.path().join("root")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        fs::write(dir.path().join("large"), "12345678901").unwrap();
        let shown = dir.path().display();
        for (path, why) in [
            ("root/passwd", format!("it leads out of {shown}, and is not followed")),
            ("loop", "Too many levels of symbolic links (os error 40)".into()),
            ("large", "it is larger than the limit of 0 KiB".into()),
            (".", "it is not a regular file".into()),
        ] {
            let error = read(&sources, Path::new(path), 10, Links::Below).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read {shown}/{path}: {why}"));
        }
        let target = link_target(&sources, Path::new("root")).unwrap();
        assert_eq!(target.as_deref(), Some(Path::new("/etc")));
        assert_eq!(link_target(&sources, Path::new("none/x")).unwrap(), None);
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
