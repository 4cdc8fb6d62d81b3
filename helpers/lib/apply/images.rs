//! Where the images of containers are: the store, or what takes its place in unit tests.

use std::path::Path;

use crate::commit::Commit;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::tree::Tree;
use crate::paths::Root;
use crate::store::Store;
use crate::system::lock::Lock;

/// Images by their names.
pub trait Images {
    /// The image that has the name now.
    fn named(&self, name: &str) -> Result<Option<Image>>;

    /// The image of this commit, which need not have the name any more.
    fn of_commit(&self, name: &str, commit: &Commit) -> Result<Option<Image>>;

    /// The files of an image.
    fn files<'a>(&'a self, image: &'a Image) -> Result<Box<dyn Tree + 'a>>;

    /// Keeps what was found from being removed.
    fn lock(&self) -> Result<Option<Lock>>;
}

/// The images of a store, which may not be there yet.
pub struct Stored(Option<Store>);

impl Stored {
    /// The images of a tree's store.
    pub fn open(root: &Root, repo: Option<&Path>) -> Result<Stored> {
        Store::open_existing(root, repo).map(Stored)
    }
}

impl Images for Stored {
    fn named(&self, name: &str) -> Result<Option<Image>> {
        self.0.as_ref().map_or(Ok(None), |store| store.lookup(name))
    }

    fn of_commit(&self, name: &str, commit: &Commit) -> Result<Option<Image>> {
        self.0.as_ref().map_or(Ok(None), |store| store.of_commit(name, commit))
    }

    fn files<'a>(&'a self, image: &'a Image) -> Result<Box<dyn Tree + 'a>> {
        let store = self.0.as_ref().ok_or_else(|| Error::new("there is no image store"))?;
        Ok(Box::new(store.tree(image)))
    }

    fn lock(&self) -> Result<Option<Lock>> {
        self.0.as_ref().map(Store::lock_shared).transpose()
    }
}
