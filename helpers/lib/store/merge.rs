//! Merging layers into the tree of an image: whiteouts and opaque directories of the OCI image specification, "Layers".

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use ostree::MutableTree;

use super::dirtree::{self, DirTree};
use super::implicit;
use super::limits;
use crate::digest;
use crate::error::{Context, Error, Result};

/// Prefix of markers for files of lower layers that were removed.
const WHITEOUT: &str = ".wh.";
/// Prefix of markers for whole directories, and of files that aufs left behind.
const SPECIAL: &str = ".wh..wh.";
/// Marker for a directory that hides everything of lower layers.
const OPAQUE: &str = ".wh..wh..opq";

/// Merges the layers in these commits, lowest first.
pub fn merge(repo: &ostree::Repo, layers: &[String]) -> Result<MutableTree> {
    merge_counting(repo, layers, &Entries::default())
}

/// Counts of files and directories.
#[derive(Default)]
struct Entries {
    /// How many there are in the layers, equal ones included.
    brought: Cell<u64>,
    /// How many were looked at.
    seen: Cell<u64>,
}

/// Like [`merge`], and counts.
fn merge_counting(repo: &ostree::Repo, layers: &[String], entries: &Entries) -> Result<MutableTree> {
    let (tree, mut reader) = (MutableTree::new(), implicit::Reader::default());
    for (index, commit) in layers.iter().enumerate() {
        let what = || format!("cannot merge layer commit {commit}");
        let (content, metadata) = dirtree::root(repo, commit).context(what)?;
        // In the lowest layer all directories are new.
        let implicit = if index == 0 { BTreeSet::new() } else { reader.read(repo, commit).context(what)? };
        let merge = Merge { repo, implicit, entries, known: RefCell::default() };
        merge.limit(&content).context(what)?;
        merge.directory(&tree, index == 0, &content, &metadata, "").context(what)?;
    }
    Ok(tree)
}

/// The merge of one layer.
struct Merge<'a> {
    repo: &'a ostree::Repo,
    /// The layer's directories without a member of their own: see [`implicit`].
    implicit: BTreeSet<String>,
    /// Those of all layers so far.
    entries: &'a Entries,
    /// Directories by the checksums of their contents: each is looked at once for this, however deep it is and however
    /// many are equal.
    known: RefCell<HashMap<Vec<u8>, Below>>,
}

/// What is below a directory.
#[derive(Clone, Copy, Default)]
struct Below {
    has_markers: bool,
    /// How many files and directories.
    entries: u64,
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
            let is_whole = is_new && !self.below(checksum)?.has_markers;
            if !(is_whole && below.fill_empty_from_dirtree(self.repo, &content, &metadata)) {
                self.directory(&below, is_new, &content, &metadata, &format!("{path}/{name}"))?;
            }
        }
        Ok(())
    }

    fn below(&self, content: &[u8]) -> Result<Below> {
        if let Some(known) = self.known.borrow().get(content) {
            return Ok(*known);
        }
        let (files, directories) = self.load(&digest::hex(content))?;
        let mut found = self.below_all(&directories)?;
        found.has_markers = found.has_markers || files.iter().any(|(name, _)| name.starts_with(WHITEOUT));
        found.entries = found.entries.saturating_add(files.len() as u64);
        self.known.borrow_mut().insert(content.to_vec(), found);
        Ok(found)
    }

    /// What these directories are, together with what is below them. Equal ones are known, and become as many inodes.
    fn below_all(&self, directories: &[(String, Vec<u8>, Vec<u8>)]) -> Result<Below> {
        let mut sum = Below::default();
        for (name, content, _) in directories {
            let below = self.below(content)?;
            sum.has_markers = sum.has_markers || name.starts_with(SPECIAL) || below.has_markers;
            sum.entries = sum.entries.saturating_add(below.entries).saturating_add(1);
        }
        Ok(sum)
    }

    /// Refuses a layer, with this content of its root, that has too much together with those before it.
    fn limit(&self, content: &str) -> Result<()> {
        let (files, directories) = self.load(content)?;
        let layer = self.below_all(&directories)?.entries.saturating_add(files.len() as u64);
        let brought = &self.entries.brought;
        brought.set(brought.get().saturating_add(layer));
        if brought.get() > limits::ENTRIES {
            let limit = limits::ENTRIES;
            return Err(Error::new(format!("the layers have more than {limit} files and directories")));
        }
        Ok(())
    }

    fn load(&self, content: &str) -> Result<DirTree> {
        let found = dirtree::load(self.repo, content)?;
        self.entries.seen.set(self.entries.seen.get() + (found.0.len() + found.1.len()) as u64);
        Ok(found)
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
    use crate::store::replaced::Replaced;
    use crate::store::repository::NEVER;
    use ostree::RepoMode;

    fn new_repo(dir: &tempfile::TempDir) -> ostree::Repo {
        let repo = ostree::Repo::new_for_path(dir.path().join("repo"));
        repo.create(RepoMode::BareUserOnly, NEVER).unwrap();
        repo
    }

    /// A layer with these empty files.
    fn layer(repo: &ostree::Repo, paths: &[String]) -> String {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        for path in paths {
            archive.append_data(&mut header, path, std::io::empty()).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let digest = Digest::of(&archive);
        let expected = Expected { digest: digest.clone(), diff_id: digest, size: archive.len() as u64 };
        layer::import((repo, None), archive.as_slice(), &expected, &Replaced::default(), &|_| {})
            .unwrap()
            .layer
            .commit
    }

    /// How many entries are looked at for a file at this depth, and for a marker there in the layer above or in another
    /// place.
    fn entries(repo: &ostree::Repo, depth: usize) -> u64 {
        let deep = |first: &str, last: &str| format!("{first}/{}/{last}", vec!["d"; depth].join("/"));
        let paths = [deep("a", "x"), deep("a", ".wh.x"), deep("b", ".wh.x"), deep("c", ".wh..wh..opq")];
        let layers = paths.map(|path| layer(repo, &[path]));
        let entries = Entries::default();
        merge_counting(repo, &layers, &entries).unwrap();
        entries.seen.get()
    }

    #[test]
    fn the_effort_is_linear_in_the_depth() {
        let dir = tempfile::tempdir().unwrap();
        let repo = new_repo(&dir);
        let (some, more) = (entries(&repo, 50), entries(&repo, 200));
        assert!(some >= 50 && more < 5 * some, "{some} entries, and for four times the depth {more}");
        assert!(more < 10 * 200, "{more}");
    }

    #[test]
    fn images_have_a_limited_number_of_entries() {
        let dir = tempfile::tempdir().unwrap();
        let repo = new_repo(&dir);
        let layers = [layer(&repo, &["a/b".to_owned()]), layer(&repo, &["c".to_owned()])];
        let entries = Entries { brought: Cell::new(limits::ENTRIES - 3), ..Entries::default() };
        assert!(merge_counting(&repo, &layers, &entries).is_ok());
        let error = merge_counting(&repo, &layers, &entries).err().unwrap().to_string();
        assert!(error.contains("more than 4000000 files and directories"), "{error}");
    }

    #[test]
    fn equal_directories_count_as_often_as_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let repo = new_repo(&dir);
        for marker in ["c", ".wh.c"] {
            // a, a/N, a/N/b, and two files in each of them.
            let paths = |n| [format!("a/{n}/b/{marker}"), format!("a/{n}/b/d")];
            let paths: Vec<_> = (0..100).flat_map(paths).collect();
            let layers = [layer(&repo, &paths), layer(&repo, &paths)];
            let entries = Entries::default();
            merge_counting(&repo, &layers, &entries).unwrap();
            assert_eq!(entries.brought.get(), 2 * 401, "{marker}");
            let limit = Entries { brought: Cell::new(limits::ENTRIES - 2 * 401 + 1), ..Entries::default() };
            assert!(merge_counting(&repo, &layers, &limit).is_err(), "{marker}");
        }
        // They are looked at once, where nothing is merged.
        let paths: Vec<_> = (0..300).map(|n| format!("a/{n}/b/c")).collect();
        let entries = Entries::default();
        merge_counting(&repo, &[layer(&repo, &paths)], &entries).unwrap();
        assert!(entries.seen.get() < 2 * 300 + 20, "{}", entries.seen.get());
    }
}
