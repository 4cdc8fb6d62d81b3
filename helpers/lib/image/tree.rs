//! The files of an image, which may be in the store, in a directory (`--rootfs=`), or in the form of sources.
//!
//! A walk finds no more than [`crate::image::limits`] allow.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::limits::{self, WalkBudget};

/// The files of an image. Paths are relative to the image's root, like `exports/manifest.json`.
pub trait Tree {
    /// Returns the content of a regular file, or `None` if there is no file; symlinks are not followed.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Returns the digest of the content of a regular file, however large it is, or `None` if there is no file.
    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        Ok(self.read(path)?.map(|content| Digest::of(&content)))
    }

    /// Lists everything below a directory, sorted by path; nothing where there is no such directory.
    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>>;

    /// Makes the files appear at `destination`, which must not exist yet, while its parent must.
    fn checkout(&self, destination: &Path) -> Result<()>;
}

impl<T: Tree + ?Sized> Tree for &T {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        (**self).read(path)
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        (**self).digest(path)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        (**self).walk(path)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        (**self).checkout(destination)
    }
}

/// The type of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    Directory,
    Regular,
    /// A symlink, with its target.
    Symlink(PathBuf),
    /// A device, a FIFO or a socket.
    Special,
}

/// A file found by [`Tree::walk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the directory that was walked.
    pub path: PathBuf,
    pub kind: FileKind,
    /// Permissions, without the type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A directory that is the root of an image, as for `--rootfs=`. It is used in place: a checkout is a symlink to it.
pub struct Directory(pub PathBuf);

impl Tree for Directory {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        read(&self.0.join(path))
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        let what = || format!("cannot read {}", self.0.join(path).display());
        let Some(file) = open(&self.0.join(path)).context(what)? else { return Ok(None) };
        Digest::of_reader(file).context(what).map(Some)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        walk(&self.0.join(path))
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        symlink(&self.0, destination).context(|| format!("cannot create {}", destination.display()))
    }
}

/// Opens a regular file; `None` if there is none.
fn open(path: &Path) -> Result<Option<File>> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Ok(metadata) if metadata.is_file() => {
            File::open(path).map(Some).context(|| "it cannot be opened".into())
        }
        Ok(_) => Err(Error::new("it is not a regular file")),
        Err(e) => Err(e).context(|| "its type is unknown".into()),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let what = || format!("cannot read {}", path.display());
    let Some(file) = open(path).context(what)? else { return Ok(None) };
    let mut content = Vec::new();
    let length = file.take(limits::READ as u64 + 1).read_to_end(&mut content).context(what)?;
    limits::check_size(length, limits::READ).context(what)?;
    Ok(Some(content))
}

fn walk(directory: &Path) -> Result<Vec<TreeEntry>> {
    let what = || format!("cannot read {}", directory.display());
    if !directory.try_exists().context(what)? {
        return Ok(Vec::new());
    }
    let (mut entries, mut budget) = (Vec::new(), WalkBudget::default());
    for entry in WalkDir::new(directory).min_depth(1) {
        let entry = entry.map_err(|e| Error::new(e.to_string())).context(what)?;
        let metadata = entry.metadata().map_err(|e| Error::new(e.to_string())).context(what)?;
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_file() => FileKind::Regular,
            kind if kind.is_symlink() => FileKind::Symlink(fs::read_link(entry.path()).context(what)?),
            _ => FileKind::Special,
        };
        let path = entry.path().strip_prefix(directory).expect("walks below the directory").to_path_buf();
        budget.take(&path).context(what)?;
        entries.push(TreeEntry {
            path,
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_walked_and_linked() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("exports/hostfs/etc")).unwrap();
        fs::write(dir.path().join("exports/hostfs/etc/b"), "x").unwrap();
        symlink("b", dir.path().join("exports/hostfs/etc/a")).unwrap();
        let image = Directory(dir.path().to_path_buf());
        let tree = &image as &dyn Tree;
        {
            assert_eq!(tree.read("exports/hostfs/etc/b").unwrap().as_deref(), Some(b"x".as_slice()));
            assert_eq!(tree.digest("exports/hostfs/etc/b").unwrap(), Some(Digest::of(b"x")));
            assert_eq!(tree.read("exports/none").unwrap(), None);
            let error = tree.read("exports/hostfs/etc/a").unwrap_err().to_string();
            assert!(error.ends_with("it is not a regular file"), "{error}");
            let paths: Vec<_> = tree
                .walk("exports/hostfs")
                .unwrap()
                .into_iter()
                .map(|entry| (entry.path, entry.kind))
                .collect();
            assert_eq!(
                paths,
                [
                    ("etc".into(), FileKind::Directory),
                    ("etc/a".into(), FileKind::Symlink("b".into())),
                    ("etc/b".into(), FileKind::Regular),
                ]
            );
            assert_eq!(tree.walk("exports/none").unwrap(), []);
        }
        let link = dir.path().join("link");
        image.checkout(&link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), dir.path());
    }
}
