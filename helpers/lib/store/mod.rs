//! The image store: an OSTree repository with layers, and the merged tree of each image.
//!
//! The only modules that use libostree.

use std::path::Path;

use crate::error::Result;
use crate::paths::Root;

/// An open repository.
pub struct Store {}

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in the store, as `registry/name:tag`.
    pub name: String,
    /// OSTree commit of its merged tree.
    pub commit: String,
    /// Digest of its manifest as the source served it: `sha256:…`.
    pub digest: String,
    /// Its OCI image configuration, raw JSON.
    pub config: String,
}

impl Store {
    /// Opens the store below `root`; an error where there is none.
    pub fn open(_root: &Root, _repo: Option<&Path>) -> Result<Store> {
        Ok(Store {})
    }
    /// Finds an image by the name it was pulled as; the error says how to pull it.
    pub fn find(&self, _image: &str) -> Result<Image> {
        Err(crate::error::Error::new("x"))
    }
    /// Hard-links the image's tree to `destination`, which must not exist yet; its parent must.
    pub fn checkout(&self, _image: &Image, _destination: &Path) -> Result<()> {
        Ok(())
    }
    /// Content of a regular file in the image's tree, `None` where there is none; symlinks are not followed.
    pub fn read(&self, _image: &Image, _path: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
