//! Directories of commits, as objects.

use ostree::ObjectType;

use crate::digest;
use crate::error::{Context, Error, Result};

/// Places of these in a commit, see ostree-core.h.
const CONTENT: usize = 6;
const METADATA: usize = 7;

/// A dirtree object: files with their checksums, directories with those of their content and metadata.
pub type DirTree = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>, Vec<u8>)>);

/// The checksums of the content and of the metadata of a commit's root. No other object of it need be there.
pub fn root(repo: &ostree::Repo, commit: &str) -> Result<(String, String)> {
    let (variant, _) = repo.load_commit(commit).context(|| "cannot read it".into())?;
    let root = |index| {
        let bytes: Option<Vec<u8>> = variant.child_value(index).get();
        bytes.map(|bytes| digest::hex(&bytes)).unwrap_or_default()
    };
    Ok((root(CONTENT), root(METADATA)))
}

/// Reads the object with this checksum.
pub fn load(repo: &ostree::Repo, content: &str) -> Result<DirTree> {
    let what = || format!("cannot read directory {content}");
    let variant = repo.load_variant(ObjectType::DirTree, content).context(what)?;
    variant.get().ok_or_else(|| Error::new("it is not a directory object")).context(what)
}
