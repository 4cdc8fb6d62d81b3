//! The files of an image before anything is made of it: in the store, or in a directory (`--rootfs=`).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Context, Error, Result};
use crate::store::{Image, Store};

/// Where the files are.
pub enum Tree<'a> {
    /// The image's commit.
    Stored(&'a Store, &'a Image),
    /// A directory.
    Directory(&'a Path),
    /// A directory that is to be `/exports` of an image; there are no other files.
    Exports(&'a Path),
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symlink to this path.
    Symlink(PathBuf),
    /// A device, a pipe or a socket.
    Special,
}

/// A file below the directory that was walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below that directory.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Tree<'_> {
    /// Content of a regular file, `None` where there is none; symlinks are not followed.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Tree::Stored(store, image) => store.read(image, path),
            Tree::Directory(_) | Tree::Exports(_) => {
                let Some(path) = self.locate(path) else { return Ok(None) };
                let what = || format!("cannot read {}", path.display());
                match fs::symlink_metadata(&path) {
                    Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                    Ok(metadata) if metadata.is_file() => fs::read(&path).map(Some).context(what),
                    Ok(_) => Err(Error::new("it is no regular file")).context(what),
                    Err(e) => Err(e).context(what),
                }
            }
        }
    }

    /// Everything below a directory, by path; nothing where there is no such directory.
    pub fn walk(&self, path: &str) -> Result<Vec<Entry>> {
        let mut entries = match self {
            Tree::Stored(store, image) => store.walk(image, path)?,
            Tree::Directory(_) | Tree::Exports(_) => match self.locate(path) {
                Some(path) => walk(&path)?,
                None => Vec::new(),
            },
        };
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Where a path is on this host; `None` for what is nowhere on it.
    fn locate(&self, path: &str) -> Option<PathBuf> {
        match self {
            Tree::Stored(..) => None,
            Tree::Directory(directory) => Some(directory.join(path)),
            Tree::Exports(directory) => path.strip_prefix("exports/").map(|below| directory.join(below)),
        }
    }
}

fn walk(directory: &Path) -> Result<Vec<Entry>> {
    let what = || format!("cannot read {}", directory.display());
    if !directory.try_exists().context(what)? {
        return Ok(Vec::new());
    }
    let entries = WalkDir::new(directory).min_depth(1).into_iter().map(|entry| {
        let entry = entry.map_err(|e| Error::new(e.to_string()))?;
        let metadata = entry.metadata().map_err(|e| Error::new(e.to_string()))?;
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_file() => Kind::File,
            kind if kind.is_symlink() => Kind::Symlink(fs::read_link(entry.path()).context(what)?),
            _ => Kind::Special,
        };
        let path = entry.path().strip_prefix(directory).unwrap_or(entry.path()).to_path_buf();
        Ok(Entry { path, kind, mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() })
    });
    entries.collect::<Result<_>>().context(what)
}
