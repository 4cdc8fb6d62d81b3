//! The files of an image, which may be in the store, in a directory (`--rootfs=`), or in the form of sources.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Context, Error, Result};

/// The files of an image. Paths are relative to the image's root, like `exports/manifest.json`.
pub trait Tree {
    /// Returns the content of a regular file, or `None` if there is no file; symlinks are not followed.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Lists everything below a directory, sorted by path; nothing where there is no such directory.
    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>>;

    /// Makes the files appear at `destination`, which must not exist yet, while its parent must.
    fn checkout(&self, destination: &Path) -> Result<()>;
}

impl<T: Tree + ?Sized> Tree for &T {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        (**self).read(path)
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

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        walk(&self.0.join(path))
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        symlink(&self.0, destination).context(|| format!("cannot create {}", destination.display()))
    }
}

/// The files of an image for a container that is to stay plain: nothing in `/exports` is found, though it is checked
/// out with the rest.
pub struct WithoutExports<T>(pub T);

impl<T> WithoutExports<T> {
    fn hides(path: &str) -> bool {
        Path::new(path).starts_with("exports") || Path::new(path).starts_with("/exports")
    }
}

impl<T: Tree> Tree for WithoutExports<T> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        if Self::hides(path) { Ok(None) } else { self.0.read(path) }
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        if Self::hides(path) { Ok(Vec::new()) } else { self.0.walk(path) }
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        self.0.checkout(destination)
    }
}

impl<T: Tree + ?Sized> Tree for Box<T> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        (**self).read(path)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        (**self).walk(path)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        (**self).checkout(destination)
    }
}

/// A directory with the sources of an image: what will be `/exports`, and no other files.
pub struct ExportsDirectory(pub PathBuf);

impl ExportsDirectory {
    fn locate(&self, path: &str) -> Option<PathBuf> {
        path.strip_prefix("exports/").map(|below| self.0.join(below))
    }
}

impl Tree for ExportsDirectory {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.locate(path).map_or(Ok(None), |path| read(&path))
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        self.locate(path).map_or(Ok(Vec::new()), |path| walk(&path))
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        let why = "these are the sources of an image, not an image";
        Err(Error::new(why)).context(|| format!("cannot create {}", destination.display()))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let what = || format!("cannot read {}", path.display());
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Ok(metadata) if metadata.is_file() => fs::read(path).map(Some).context(what),
        Ok(_) => Err(Error::new("it is not a regular file")).context(what),
        Err(e) => Err(e).context(what),
    }
}

fn walk(directory: &Path) -> Result<Vec<TreeEntry>> {
    let what = || format!("cannot read {}", directory.display());
    if !directory.try_exists().context(what)? {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
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
        let sources = ExportsDirectory(dir.path().join("exports"));
        for tree in [&image as &dyn Tree, &sources] {
            assert_eq!(tree.read("exports/hostfs/etc/b").unwrap().as_deref(), Some(b"x".as_slice()));
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
        assert_eq!(sources.read("etc/passwd").unwrap(), None);
        let link = dir.path().join("link");
        image.checkout(&link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), dir.path());
        assert!(sources.checkout(&dir.path().join("none")).is_err());
    }
}
