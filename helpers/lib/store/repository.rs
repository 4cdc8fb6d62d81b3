//! Opening, creating and locking the repository.

use std::path::{Path, PathBuf};

use ostree::RepoMode;
use ostree::gio::Cancellable;

use super::host::HostRepository;
use super::location::Location;
use crate::error::{Context, Error, Result};
use crate::paths::Root;
use crate::system::lock::{self, Lock};

/// Operations on the store are never cancelled: they end, or the process does.
pub const NEVER: Option<&Cancellable> = Cancellable::NONE;
/// Directories of every repository.
const DIRECTORIES: [&str; 7] =
    ["objects", "tmp", "extensions", "state", "refs/heads", "refs/mirrors", "refs/remotes"];

/// An open image store.
pub struct Store {
    /// The repository of libostree.
    pub(super) repo: ostree::Repo,
    /// The repository's directory, as this process sees it.
    pub(super) path: PathBuf,
    /// The host's own repository, if there is one.
    pub(super) host: Option<HostRepository>,
}

impl Store {
    /// Opens the store of a tree, or the one in `repo`. It is an error if there is none.
    pub fn open(root: &Root, repo: Option<&Path>) -> Result<Store> {
        let location = Location::find(root, repo)?;
        if exists(&location.path)? {
            return Store::at(&location);
        }
        let what = || format!("cannot open the image store {}: there is none yet", location.path.display());
        let host = HostRepository::open(&location).map(|host| host.images()).transpose()?.unwrap_or_default();
        let hint = match host.first() {
            None => String::new(),
            Some(image) => format!(
                "; or install one that Atomic pulled into {}, with 'syscontainer-checkout {image}' for example",
                location.host.display()
            ),
        };
        Err(Error::new(format!("{}; pull an image with 'syscontainer-pull IMAGE'{hint}", what())))
    }

    /// Like [`Store::open`], but returns `None` if there is no store.
    pub fn open_existing(root: &Root, repo: Option<&Path>) -> Result<Option<Store>> {
        let location = Location::find(root, repo)?;
        if exists(&location.path)? { Store::at(&location).map(Some) } else { Ok(None) }
    }

    /// Like [`Store::open`], but creates the store if there is none.
    pub fn open_or_create(root: &Root, repo: Option<&Path>) -> Result<Store> {
        let location = Location::find(root, repo)?;
        let path = &location.path;
        let what = || format!("cannot create the image store {}", path.display());
        let is_new = !exists(path)?;
        if is_new {
            location.create().context(what)?;
        }
        location.secure()?;
        if is_new {
            ostree::Repo::new_for_path(path).create(RepoMode::Bare, NEVER).context(what)?;
        }
        // libostree writes the configuration first: a program that was killed here may have left nothing else.
        for directory in DIRECTORIES {
            let directory = path.join(directory);
            std::fs::create_dir_all(&directory)
                .context(|| format!("cannot create {}", directory.display()))?;
        }
        Store::at(&location)
    }

    /// Like [`Store::open`], but where Atomic pulled an image into the host's repository, a store is created for it.
    pub fn open_for(root: &Root, repo: Option<&Path>, image: &str) -> Result<Store> {
        let location = Location::find(root, repo)?;
        let host = if exists(&location.path)? { None } else { HostRepository::open(&location) };
        match host {
            Some(host) if host.has_image(image)? => Store::open_or_create(root, repo),
            _ => Store::open(root, repo),
        }
    }

    fn at(location: &Location) -> Result<Store> {
        location.secure()?;
        let path = location.path.clone();
        let what = || format!("cannot open the image store {}", location.path.display());
        let repo = ostree::Repo::new_for_path(&path);
        repo.open(NEVER).context(what)?;
        if repo.mode() != RepoMode::Bare {
            let why = "the mode of the repository is not bare, so its files cannot be hard-linked with their owners";
            return Err(Error::new(why)).context(what);
        }
        let host = HostRepository::open(location);
        Ok(Store { repo, path, host })
    }

    /// The directory of the repository.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the repository for temporary files.
    pub(super) fn temporary_directory(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Prevents prunes while the lock is held, so that nothing that was found is removed.
    pub fn lock_shared(&self) -> Result<Lock> {
        lock::lock_shared(&self.path)
    }

    /// Prevents pulls, checkouts and other prunes while the lock is held.
    pub fn lock_exclusive(&self) -> Result<Lock> {
        lock::lock_exclusive(&self.path)
    }
}

fn exists(path: &Path) -> Result<bool> {
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
