//! Merging layers into the tree of an image: whiteouts and opaque directories of the OCI image specification, "Layers".

use std::collections::BTreeSet;

use ostree::gio::prelude::*;
use ostree::{MutableTree, ObjectType, RepoFile};

use super::repository::NEVER;
use crate::digest;
use crate::error::{Context, Error, Result};

/// Prefix of markers for files of lower layers that were removed.
const WHITEOUT: &str = ".wh.";
/// Prefix of markers for whole directories, and of what aufs left behind.
const SPECIAL: &str = ".wh..wh.";
/// Marker for a directory that hides everything of lower layers.
const OPAQUE: &str = ".wh..wh..opq";

/// A layer in the repository.
pub struct StoredLayer {
    /// The commit that holds it as it was packed.
    pub commit: String,
    /// Directories without an entry of their own in the archive. If a lower layer has them, they keep its owner and mode.
    pub implicit: BTreeSet<String>,
}

/// A dirtree object: files with checksums, directories with those of their content and metadata.
type DirTree = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>, Vec<u8>)>);

/// Merges layers, lowest first.
pub fn merge(repo: &ostree::Repo, layers: &[StoredLayer]) -> Result<MutableTree> {
    let tree = MutableTree::new();
    for (index, layer) in layers.iter().enumerate() {
        let what = || format!("cannot merge layer commit {}", layer.commit);
        let (root, _) = repo.read_commit(&layer.commit, NEVER).context(what)?;
        let root = root
            .downcast::<RepoFile>()
            .map_err(|_| Error::new("its root is not a directory of the store"))
            .context(what)?;
        root.ensure_resolved().context(what)?;
        let content = root.tree_get_contents_checksum().unwrap_or_default();
        let metadata = root.tree_get_metadata_checksum().unwrap_or_default();
        Merge { repo, layer }.directory(&tree, index == 0, &content, &metadata, "").context(what)?;
    }
    Ok(tree)
}

/// The merge of one layer.
struct Merge<'a> {
    repo: &'a ostree::Repo,
    layer: &'a StoredLayer,
}

impl Merge<'_> {
    fn directory(
        &self,
        target: &MutableTree,
        is_new: bool,
        content: &str,
        metadata: &str,
        path: &str,
    ) -> Result<()> {
        let (files, directories) = self.load(content)?;
        // Markers first: they hide files of lower layers, wherever they are in this one.
        for (name, _) in &files {
            if name == OPAQUE {
                clear(target)?;
            } else if name.starts_with(SPECIAL) {
                // It says nothing about files.
            } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
                remove(target, gone)?;
            }
        }
        if is_new || !self.layer.implicit.contains(path) {
            target.set_metadata_checksum(metadata);
        }
        for (name, checksum) in files.iter().filter(|(name, _)| !name.starts_with(WHITEOUT)) {
            replace_file(target, name, &digest::hex(checksum))?;
        }
        for (name, content, metadata) in directories.iter().filter(|(name, ..)| !name.starts_with(SPECIAL)) {
            let (content, metadata) = (digest::hex(content), digest::hex(metadata));
            let is_new = !matches!(target.lookup(name), Ok((_, Some(_))));
            let below = ensure_directory(target, name)?;
            // Most are. Then what is in it is read only if a layer above changes it.
            let is_whole = is_new && !self.has_markers(&content)?;
            if !(is_whole && below.fill_empty_from_dirtree(self.repo, &content, &metadata)) {
                self.directory(&below, is_new, &content, &metadata, &format!("{path}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Whether there are markers anywhere below a directory.
    fn has_markers(&self, content: &str) -> Result<bool> {
        let (files, directories) = self.load(content)?;
        if files.iter().any(|(name, _)| name.starts_with(WHITEOUT)) {
            return Ok(true);
        }
        for (name, content, _) in &directories {
            if name.starts_with(SPECIAL) || self.has_markers(&digest::hex(content))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn load(&self, content: &str) -> Result<DirTree> {
        let what = || format!("cannot read directory {content}");
        let variant = self.repo.load_variant(ObjectType::DirTree, content).context(what)?;
        variant.get().ok_or_else(|| Error::new("it is not a directory object")).context(what)
    }
}

/// Adds a file to a directory, and replaces whatever has its name.
pub fn replace_file(directory: &MutableTree, name: &str, checksum: &str) -> Result<()> {
    if let Ok((_, Some(_))) = directory.lookup(name) {
        remove(directory, name)?;
    }
    directory.replace_file(name, checksum).context(|| format!("cannot add {name:?}"))
}

/// Returns the directory called `name`; creates it, and replaces a file of that name, if need be.
pub fn ensure_directory(directory: &MutableTree, name: &str) -> Result<MutableTree> {
    if let Ok((Some(_), _)) = directory.lookup(name) {
        remove(directory, name)?;
    }
    directory.ensure_dir(name).context(|| format!("cannot add {name:?}"))
}

fn remove(directory: &MutableTree, name: &str) -> Result<()> {
    directory.remove(name, true).context(|| format!("cannot remove {name:?}"))
}

fn clear(directory: &MutableTree) -> Result<()> {
    for name in directory.copy_files().keys().chain(directory.copy_subdirs().keys()) {
        remove(directory, name)?;
    }
    Ok(())
}
