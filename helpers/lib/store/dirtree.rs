//! Directories of commits, as objects.

use ostree::{ObjectType, RepoFile, gio::prelude::*};

use super::repository::NEVER;
use crate::error::{Context, Error, Result};

/// A dirtree object: files with their checksums, directories with those of their content and metadata.
pub type DirTree = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>, Vec<u8>)>);

/// The checksums of the content and of the metadata of a commit's root.
pub fn root(repo: &ostree::Repo, commit: &str) -> Result<(String, String)> {
    let (root, _) = repo.read_commit(commit, NEVER).context(|| "cannot read it".into())?;
    let root =
        root.downcast::<RepoFile>().map_err(|_| Error::new("its root is not a directory of the store"))?;
    root.ensure_resolved().context(|| "cannot read its root".into())?;
    let content = root.tree_get_contents_checksum().unwrap_or_default();
    let metadata = root.tree_get_metadata_checksum().unwrap_or_default();
    Ok((content.into(), metadata.into()))
}

/// Reads the object with this checksum.
pub fn load(repo: &ostree::Repo, content: &str) -> Result<DirTree> {
    let what = || format!("cannot read directory {content}");
    let variant = repo.load_variant(ObjectType::DirTree, content).context(what)?;
    variant.get().ok_or_else(|| Error::new("it is not a directory object")).context(what)
}
