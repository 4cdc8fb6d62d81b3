//! The image store: an OSTree repository with layers, and the merged tree of each image.
//!
//! Only the modules here use libostree. Names of refs are those of containers/image's ostree transport, so that layers
//! which the original pulled are found: `ociimage/<hex digest>` is a layer, `ociimage/<encoded name>` an image. What the
//! latter names is ours: the commit of the merged tree, with manifest and configuration in its metadata.

pub mod access;
mod adopt;
mod archive;
mod blob;
pub mod catalog;
mod commit;
mod engine;
mod image;
mod layer;
mod leftovers;
pub mod location;
mod policy;
pub mod progress;
pub mod prune;
pub mod pull;
pub mod reference;
mod retry;
mod staging;
mod transport;
mod tree;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use ostree::gio::{self, prelude::*};
use ostree::gio::{Cancellable, FileInfo, FileQueryInfoFlags, FileType};
use ostree::{RepoCheckoutAtOptions, RepoFile, RepoMode};

use crate::error::{Context, Error, Result};
use crate::image::tree::{Entry, Kind};
use crate::paths::Root;
use crate::system::files;
use crate::system::lock::{self, Lock};
use reference::Reference;

pub use image::Image;

/// No operation on the store is cancelled: it ends, or the process does.
const NEVER: Option<&Cancellable> = Cancellable::NONE;
/// What every repository has besides its configuration.
const DIRECTORIES: [&str; 7] =
    ["objects", "tmp", "extensions", "state", "refs/heads", "refs/mirrors", "refs/remotes"];
/// What is asked of files in a walk.
const ATTRIBUTES: &str =
    "standard::name,standard::type,standard::symlink-target,unix::mode,unix::uid,unix::gid";
/// Longest file of an image that is read into memory.
const READ_MAX: u64 = 16 << 20;

/// An open repository.
pub struct Store {
    repo: ostree::Repo,
    path: PathBuf,
}

impl Store {
    /// Opens the store of a tree, or the one in `repo`; an error where there is none.
    pub fn open(root: &Root, repo: Option<&Path>) -> Result<Store> {
        let path = location::find(root, repo)?;
        if !is_there(&path)? {
            return Err(Error::new(format!(
                "cannot open the image store {}: there is none yet; pull an image with 'syscontainer-pull IMAGE'",
                path.display()
            )));
        }
        Store::at(path)
    }

    /// As [`Store::open`], but `None` where there is none.
    pub fn open_existing(root: &Root, repo: Option<&Path>) -> Result<Option<Store>> {
        let path = location::find(root, repo)?;
        if is_there(&path)? { Store::at(path).map(Some) } else { Ok(None) }
    }

    /// As [`Store::open`], but makes one where there is none.
    pub fn open_or_create(root: &Root, repo: Option<&Path>) -> Result<Store> {
        let path = location::find(root, repo)?;
        if !is_there(&path)? {
            let what = || format!("cannot create the image store {}", path.display());
            // Its files have the owners and modes that they have in containers, setuid among them.
            files::make_directory(path.parent().unwrap_or(&path), 0o700).context(what)?;
            files::make_directory(&path, 0o700).context(what)?;
            ostree::Repo::new_for_path(&path).create(RepoMode::Bare, NEVER).context(what)?;
        }
        // One that was killed while it made the store may have made its configuration only, which comes first.
        for directory in DIRECTORIES {
            let directory = path.join(directory);
            std::fs::create_dir_all(&directory)
                .context(|| format!("cannot create {}", directory.display()))?;
        }
        Store::at(path)
    }

    fn at(path: PathBuf) -> Result<Store> {
        let what = || format!("cannot open the image store {}", path.display());
        let repo = ostree::Repo::new_for_path(&path);
        repo.open(NEVER).context(what)?;
        if repo.mode() != RepoMode::Bare {
            let why =
                "it is no repository of mode bare, so its files cannot be hard-linked with their owners";
            return Err(Error::new(why)).context(what);
        }
        Ok(Store { repo, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a prune away as long as the lock is held: what was found stays.
    pub fn keep(&self) -> Result<Lock> {
        lock::use_store(&self.path)
    }

    /// Finds an image by what it was pulled as, or by its name in the store.
    pub fn find(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        self.lookup(&name)?.ok_or_else(|| {
            let place = self.path.display();
            Error::new(format!(
                "cannot find image {name} in {place}: pull it with 'syscontainer-pull {image}'"
            ))
        })
    }

    /// Finds an image by its name in the store; `None` where there is none.
    pub fn lookup(&self, name: &str) -> Result<Option<Image>> {
        image::load(&self.repo, name).context(|| format!("cannot read image {name}"))
    }

    /// Where an image in the store can be pulled from again.
    pub fn source(&self, name: &str) -> Result<Reference> {
        let source = match self.lookup(name)? {
            Some(image) => image::source(&self.repo, &image)?,
            None => None,
        };
        source.as_deref().unwrap_or(name).parse()
    }

    /// As [`Store::find`]; an image that the original pulled is made one of ours.
    pub fn find_or_adopt(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        if image::is_of_another(&self.repo, &name)? { adopt::adopt(self, &name) } else { self.find(image) }
    }

    /// Hard-links the image's tree to `destination`, which must not exist yet; its parent must.
    pub fn checkout(&self, image: &Image, destination: &Path) -> Result<()> {
        let what = || format!("cannot check out {} to {}", image.name, destination.display());
        let parent = File::open(destination.parent().unwrap_or(destination)).context(what)?;
        let name = destination.file_name().ok_or_else(|| Error::new("it has no name")).context(what)?;
        // A copy would be another version of the files for whoever looks at the store, and cost what images cost.
        let options = RepoCheckoutAtOptions { no_copy_fallback: true, ..Default::default() };
        self.repo.checkout_at(Some(&options), parent.as_raw_fd(), name, &image.commit, NEVER).context(what)
    }

    /// Content of a regular file in the image's tree, `None` where there is none; symlinks are not followed.
    pub fn read(&self, image: &Image, path: &str) -> Result<Option<Vec<u8>>> {
        let what = || format!("cannot read {path} of {}", image.name);
        let (root, _) = self.repo.read_commit(&image.commit, NEVER).context(what)?;
        self.content(&root, path).context(what)
    }

    fn content(&self, root: &gio::File, path: &str) -> Result<Option<Vec<u8>>> {
        let file = root.resolve_relative_path(path);
        let file = file.downcast::<RepoFile>().map_err(|_| Error::new("it is no file of the store"))?;
        if !file.query_exists(NEVER) {
            return Ok(None);
        }
        if file.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) != FileType::Regular {
            return Err(Error::new("it is no regular file"));
        }
        let what = || "cannot read its content".to_string();
        let (stream, _, _) = self.repo.load_file(&file.checksum(), NEVER).context(what)?;
        let stream = stream.ok_or_else(|| Error::new("it has none")).context(what)?.into_read();
        let mut content = Vec::new();
        let length = stream.take(READ_MAX + 1).read_to_end(&mut content).context(what)?;
        if length as u64 > READ_MAX {
            return Err(Error::new(format!("it is larger than {} MiB", READ_MAX >> 20)));
        }
        Ok(Some(content))
    }

    /// Everything below a directory of the image's tree; nothing where there is no such directory.
    pub fn walk(&self, image: &Image, path: &str) -> Result<Vec<Entry>> {
        let what = || format!("cannot read {path} of {}", image.name);
        let (root, _) = self.repo.read_commit(&image.commit, NEVER).context(what)?;
        let directory = root.resolve_relative_path(path);
        let mut entries = Vec::new();
        if directory.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) == FileType::Directory {
            walk(&directory, Path::new(""), &mut entries).context(what)?;
        }
        Ok(entries)
    }
}

fn walk(directory: &gio::File, below: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    let children = directory.enumerate_children(ATTRIBUTES, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER);
    for info in children.context(|| format!("directory {}", below.display()))? {
        let info = info.context(|| format!("directory {}", below.display()))?;
        let path = below.join(info.name());
        let kind = kind(&info);
        if kind == Kind::Directory {
            walk(&directory.child(info.name()), &path, entries)?;
        }
        let number = |attribute| info.attribute_uint32(attribute);
        let (mode, uid, gid) = (number("unix::mode") & 0o7777, number("unix::uid"), number("unix::gid"));
        entries.push(Entry { path, kind, mode, uid, gid });
    }
    Ok(())
}

fn kind(info: &FileInfo) -> Kind {
    match info.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Regular => Kind::File,
        FileType::SymbolicLink => Kind::Symlink(info.symlink_target().unwrap_or_default()),
        _ => Kind::Special,
    }
}

fn is_there(path: &Path) -> Result<bool> {
    path.join("config").try_exists().context(|| format!("cannot open the image store {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_a_store_that_was_begun() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        Store::open_or_create(&Root::default(), Some(&repo)).unwrap();
        for entry in std::fs::read_dir(&repo).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                std::fs::remove_dir_all(entry).unwrap();
            }
        }
        let store = Store::open_or_create(&Root::default(), Some(&repo)).unwrap();
        assert!(store.find("x").unwrap_err().to_string().contains("syscontainer-pull"));
        store.repo.prepare_transaction(NEVER).unwrap();
        store.repo.commit_transaction(NEVER).unwrap();
    }
}
