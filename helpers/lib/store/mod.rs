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
mod stored;
mod transport;
mod tree;

use std::path::{Path, PathBuf};

use ostree::RepoMode;
use ostree::gio::Cancellable;

use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::paths::Root;
use crate::system::files;
use crate::system::lock::{self, Lock};
use reference::Reference;

pub use stored::Stored;

/// No operation on the store is cancelled: it ends, or the process does.
const NEVER: Option<&Cancellable> = Cancellable::NONE;
/// What every repository has besides its configuration.
const DIRECTORIES: [&str; 7] =
    ["objects", "tmp", "extensions", "state", "refs/heads", "refs/mirrors", "refs/remotes"];

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

    /// The files of an image in the store.
    pub fn tree<'a>(&'a self, image: &'a Image) -> Stored<'a> {
        Stored { store: self, image }
    }

    /// As [`Store::find`]; an image that the original pulled is made one of ours.
    pub fn find_or_adopt(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        if image::is_of_another(&self.repo, &name)? { adopt::adopt(self, &name) } else { self.find(image) }
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
