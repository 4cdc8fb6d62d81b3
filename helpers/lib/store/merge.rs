//! Merging layers into the tree of an image: whiteouts and opaque directories of the OCI image specification, "Layers".

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use ostree::gio::prelude::*;
use ostree::{MutableTree, ObjectType, RepoFile};

use super::implicit;
use super::limits;
use super::repository::NEVER;
use crate::digest;
use crate::error::{Context, Error, Result};

/// Prefix of markers for files of lower layers that were removed.
const WHITEOUT: &str = ".wh.";
/// Prefix of markers for whole directories, and of files that aufs left behind.
const SPECIAL: &str = ".wh..wh.";
/// Marker for a directory that hides everything of lower layers.
const OPAQUE: &str = ".wh..wh..opq";

/// A dirtree object: files with their checksums, directories with those of their content and metadata.
type DirTree = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>, Vec<u8>)>);

/// Merges the layers in these commits, lowest first.
pub fn merge(repo: &ostree::Repo, layers: &[String]) -> Result<MutableTree> {
    merge_counting(repo, layers, &Cell::new(0))
}

/// Like [`merge`], and counts the entries that are looked at.
fn merge_counting(repo: &ostree::Repo, layers: &[String], entries: &Cell<u64>) -> Result<MutableTree> {
    let (tree, mut reader) = (MutableTree::new(), implicit::Reader::default());
    for (index, commit) in layers.iter().enumerate() {
        let what = || format!("cannot merge layer commit {commit}");
        let (root, _) = repo.read_commit(commit, NEVER).context(what)?;
        let root = root
            .downcast::<RepoFile>()
            .map_err(|_| Error::new("its root is not a directory of the store"))
            .context(what)?;
        root.ensure_resolved().context(what)?;
        let content = root.tree_get_contents_checksum().unwrap_or_default();
        let metadata = root.tree_get_metadata_checksum().unwrap_or_default();
        // In the lowest layer all directories are new.
        let implicit = if index == 0 { BTreeSet::new() } else { reader.read(repo, commit).context(what)? };
        let merge = Merge { repo, implicit, entries, known: RefCell::default() };
        merge.directory(&tree, index == 0, &content, &metadata, "").context(what)?;
    }
    Ok(tree)
}

/// The merge of one layer.
struct Merge<'a> {
    repo: &'a ostree::Repo,
    /// The layer's directories without a member of their own: see [`implicit`].
    implicit: BTreeSet<String>,
    /// Entries of all layers that have been looked at.
    entries: &'a Cell<u64>,
    /// Directories by the checksums of their contents, and whether there are markers below them: each is looked at
    /// once, however deep it is.
    known: RefCell<HashMap<Vec<u8>, bool>>,
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
        self.count(files.len() + directories.len())?;
        // Markers first: they hide files of lower layers, wherever they are in this one.
        for (name, _) in &files {
            if name == OPAQUE {
                clear(target)?;
            } else if name.starts_with(SPECIAL) {
                // It does not hide any file.
            } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
                remove(target, gone)?;
            }
        }
        if is_new || !self.implicit.contains(path) {
            target.set_metadata_checksum(metadata);
        }
        for (name, checksum) in files.iter().filter(|(name, _)| !name.starts_with(WHITEOUT)) {
            replace_file(target, name, &digest::hex(checksum))?;
        }
        for (name, content, metadata) in directories.iter().filter(|(name, ..)| !name.starts_with(SPECIAL)) {
            let (checksum, metadata) = (content, digest::hex(metadata));
            let content = digest::hex(checksum);
            let is_new = !matches!(target.lookup(name), Ok((_, Some(_))));
            let below = ensure_directory(target, name)?;
            // Most are. Then its content is only read if a layer above changes it.
            let is_whole = is_new && !self.has_markers(checksum)?;
            if !(is_whole && below.fill_empty_from_dirtree(self.repo, &content, &metadata)) {
                self.directory(&below, is_new, &content, &metadata, &format!("{path}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Whether there are markers anywhere below a directory.
    fn has_markers(&self, content: &[u8]) -> Result<bool> {
        if let Some(known) = self.known.borrow().get(content) {
            return Ok(*known);
        }
        let (files, directories) = self.load(&digest::hex(content))?;
        self.count(files.len() + directories.len())?;
        let mut found = files.iter().any(|(name, _)| name.starts_with(WHITEOUT));
        for (name, content, _) in &directories {
            found = found || name.starts_with(SPECIAL) || self.has_markers(content)?;
        }
        self.known.borrow_mut().insert(content.to_vec(), found);
        Ok(found)
    }

    fn count(&self, entries: usize) -> Result<()> {
        // Twice, since a directory with markers is looked at twice.
        let limit = limits::ENTRIES;
        self.entries.set(self.entries.get() + entries as u64);
        if self.entries.get() > 2 * limit {
            return Err(Error::new(format!("the layers have more than {limit} files and directories")));
        }
        Ok(())
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

/// Returns the directory `name`; if there is none, creates it, and replaces a file of that name.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::store::expected::Expected;
    use crate::store::layer;
    use ostree::RepoMode;

    /// A layer with one empty file.
    fn layer(repo: &ostree::Repo, path: &str) -> String {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, std::io::empty()).unwrap();
        let archive = archive.into_inner().unwrap();
        let digest = Digest::of(&archive);
        let expected = Expected { digest: digest.clone(), diff_id: digest, size: archive.len() as u64 };
        layer::import(repo, None, archive.as_slice(), &expected, &|_| {}).unwrap().layer.commit
    }

    /// How many entries are looked at for a file at this depth, and for a marker there in the layer above or in another
    /// place.
    fn entries(repo: &ostree::Repo, depth: usize) -> u64 {
        let deep = |first: &str, last: &str| format!("{first}/{}/{last}", vec!["d"; depth].join("/"));
        let paths = [deep("a", "x"), deep("a", ".wh.x"), deep("b", ".wh.x"), deep("c", ".wh..wh..opq")];
        let layers = paths.map(|path| layer(repo, &path));
        let entries = Cell::new(0);
        merge_counting(repo, &layers, &entries).unwrap();
        entries.get()
    }

    #[test]
    fn the_effort_is_linear_in_the_depth() {
        let dir = tempfile::tempdir().unwrap();
        let repo = ostree::Repo::new_for_path(dir.path().join("repo"));
        repo.create(RepoMode::BareUserOnly, NEVER).unwrap();
        let (some, more) = (entries(&repo, 50), entries(&repo, 200));
        assert!(some >= 50 && more < 5 * some, "{some} entries, and for four times the depth {more}");
        assert!(more < 8 * 200, "{more}");
    }

    #[test]
    fn images_have_a_limited_number_of_entries() {
        let dir = tempfile::tempdir().unwrap();
        let repo = ostree::Repo::new_for_path(dir.path().join("repo"));
        repo.create(RepoMode::BareUserOnly, NEVER).unwrap();
        let layers = [layer(&repo, "a/b"), layer(&repo, "c")];
        let entries = Cell::new(2 * limits::ENTRIES - 3);
        assert!(merge_counting(&repo, &layers, &entries).is_ok());
        let error = merge_counting(&repo, &layers, &entries).err().unwrap().to_string();
        assert!(error.contains("more than 4000000 files and directories"), "{error}");
    }
}
