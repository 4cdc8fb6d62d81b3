//! Pruning the store: refs of images and layers that are not needed, what killed pulls left behind, and then objects.
//!
//! The caller decides which images are kept. Refs of other
//! programs are left alone, and what they lead to is kept. The caller holds [`Store::lock_exclusive`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ostree::{ObjectName, RepoPruneFlags, ffi};

use super::image;
use super::integrity;
use super::leftovers;
use super::outcome::{Outcome, StoreItem};
use super::refs::{self, layer_digest};
use super::repository::{NEVER, Store};
use crate::commit::Commit;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::system::files;

/// Depth of history that counts as used: all of it, since only its owner may shorten it.
const ALL: i32 = -1;

/// An image, written by any program, that may be removed.
pub struct Candidate {
    /// Name of the image in the store.
    pub name: String,
    /// The commit that the image's ref names.
    pub commit: Commit,
    /// How long ago the image was pulled.
    pub age: Duration,
}

/// Whether an image is kept, and why.
pub enum ImageVerdict {
    /// It is kept, for this reason.
    Keep(String),
    /// It is removed, for this reason.
    Remove(String),
}

/// How much was removed, or would be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Objects {
    /// Number of objects that were removed.
    pub count: u64,
    /// Size of these objects in bytes.
    pub bytes: u64,
}

/// The caller of a prune, which decides on images and receives the outcomes.
pub trait PruneCaller {
    /// Decides whether an image is kept.
    fn judge(&self, image: &Candidate) -> ImageVerdict;
    /// Receives the outcome for something in the store, by its name, digest or path.
    fn tell(&mut self, item: StoreItem, name: &str, outcome: Outcome);
}

/// The commit that the ref of an image names, whichever program wrote it; `None` if there is no such ref.
pub fn commit_of(store: &Store, name: &str) -> Result<Option<Commit>> {
    let commit = store.repo.resolve_rev(&refs::image_ref(name), true);
    Ok(commit.context(|| format!("cannot read the ref of image {name}"))?.map(Commit::new))
}

/// Removes refs, leftovers and objects that are not needed. Returns how many objects were removed.
pub fn prune(store: &Store, dry_run: bool, caller: &mut dyn PruneCaller) -> Result<Objects> {
    let what = || format!("cannot list the refs in {}", store.path.display());
    let refs: BTreeMap<_, _> = store.repo.list_refs(None, NEVER).context(what)?.into_iter().collect();
    let damaged = damaged_refs(store)?;
    let images = candidates(store, &refs);
    let mut prune = Prune { store, dry_run, refs: refs.clone(), caller };
    let kept = prune.images(&images);
    prune.layers(&kept, refs.keys());
    prune.other_refs(refs.keys());
    // Before objects: a later pull takes up leftovers, and relies on what they refer to.
    let caller = &mut prune.caller;
    leftovers::prune(store, dry_run, &mut |path, outcome| {
        caller.tell(StoreItem::Leftover, &path.to_string_lossy(), outcome);
    });
    let place = store.path.to_string_lossy();
    if damaged.is_empty() {
        return Ok(prune.objects().unwrap_or_else(|e| {
            let e = explain_damage(store, &kept, e);
            prune.caller.tell(StoreItem::Objects, &place, Outcome::Failed(e));
            Objects::default()
        }));
    }
    for path in damaged {
        let error = Error::new("it names no commit; pull its image again, or remove this file");
        prune.caller.tell(StoreItem::Ref, &path.to_string_lossy(), Outcome::Failed(error));
    }
    let why = "a damaged ref may need any of them";
    prune.caller.tell(StoreItem::Objects, &place, Outcome::Kept(why.into()));
    Ok(Objects::default())
}

/// Adds which images are damaged to why their objects cannot be told from others.
fn explain_damage(store: &Store, images: &[&Candidate], e: Error) -> Error {
    let damaged = images.iter().filter(|image| !integrity::are_whole(store, [image.commit.as_str()]));
    let names: Vec<&str> = damaged.map(|image| image.name.as_str()).collect();
    if names.is_empty() { e } else { Error::new(integrity::damaged(&names.join(" "), e)) }
}

/// Refs of ours that do not name a commit, as after a power failure on some file systems.
fn damaged_refs(store: &Store) -> Result<Vec<PathBuf>> {
    let directory = store.path.join(refs::DIRECTORY);
    let names = files::names(&directory)?.into_iter().filter(|name| !name.starts_with("tmp."));
    let is_damaged = |path: &PathBuf| {
        if !path.is_file() {
            return false;
        }
        let Ok(text) = fs::read(path) else { return false };
        let text = text.trim_ascii();
        text.len() != 64 || !text.iter().all(u8::is_ascii_hexdigit)
    };
    Ok(names.map(|name| directory.join(name)).filter(is_damaged).collect())
}

fn candidates(store: &Store, refs: &BTreeMap<String, String>) -> Vec<Candidate> {
    let now = SystemTime::now();
    let candidate = |(reference, commit): (&String, &String)| {
        let name = refs::image_name(reference)?;
        // A time that is unknown or in the future counts as now.
        let time = image::pulled(store, &name).unwrap_or(now);
        let age = now.duration_since(time).unwrap_or_default();
        Some(Candidate { name, commit: Commit::new(commit), age })
    };
    refs.iter().filter_map(candidate).collect()
}

/// A prune that is in progress.
struct Prune<'a> {
    store: &'a Store,
    dry_run: bool,
    /// Refs that have not been removed, with their commits.
    refs: BTreeMap<String, String>,
    caller: &'a mut dyn PruneCaller,
}

impl Prune<'_> {
    /// Removes refs of images. Returns the images that are kept.
    fn images<'i>(&mut self, images: &'i [Candidate]) -> Vec<&'i Candidate> {
        let mut kept = Vec::new();
        for image in images {
            match self.caller.judge(image) {
                ImageVerdict::Keep(why) => {
                    self.caller.tell(StoreItem::Image, &image.name, Outcome::Kept(why));
                    kept.push(image);
                }
                ImageVerdict::Remove(why) => {
                    let reference = refs::image_ref(&image.name);
                    if !self.remove(&reference, StoreItem::Image, &image.name, &why) {
                        kept.push(image);
                    }
                }
            }
        }
        kept
    }

    /// Removes refs of layers that no image has any longer. An image that cannot be read may have any of them.
    fn layers<'r>(&mut self, images: &[&Candidate], refs: impl Iterator<Item = &'r String>) {
        let (mut needed, mut unclear) = (HashMap::<Digest, Vec<&str>>::new(), None);
        for image in images {
            match image::manifest(&self.store.repo, &image.commit).and_then(|manifest| blobs(&manifest)) {
                Ok(blobs) => {
                    for blob in blobs {
                        needed.entry(blob).or_default().push(&image.name);
                    }
                }
                Err(e) => unclear = Some(format!("image {} cannot be read and may have it: {e}", image.name)),
            }
        }
        for (reference, digest) in refs.filter_map(|name| Some((name, layer_digest(name)?))) {
            let kept = match (needed.get(&digest), &unclear) {
                (Some(images), _) => format!("of image {}", images.join(", ")),
                (None, Some(why)) => why.clone(),
                (None, None) => {
                    self.remove(reference, StoreItem::Layer, digest.as_ref(), "no image has it");
                    continue;
                }
            };
            self.caller.tell(StoreItem::Layer, digest.as_ref(), Outcome::Kept(kept));
        }
    }

    /// Removes those refs that belong to neither an image nor a layer, but only if they are ours and temporary.
    fn other_refs<'r>(&mut self, refs: impl Iterator<Item = &'r String>) {
        for name in refs.filter(|name| refs::image_name(name).is_none() && layer_digest(name).is_none()) {
            let why = if refs::is_temporary(name) {
                self.remove(name, StoreItem::Leftover, name, "a program was killed while it wrote a ref");
                continue;
            } else if refs::is_ours(name) {
                "its name has an unknown form"
            } else {
                "it belongs to another program"
            };
            self.caller.tell(StoreItem::Ref, name, Outcome::Kept(why.into()));
        }
    }

    /// Removes a ref. Returns whether that worked.
    fn remove(&mut self, reference: &str, item: StoreItem, name: &str, why: &str) -> bool {
        if !self.dry_run {
            let removed = self.store.repo.set_ref_immediate(None, reference, None, NEVER);
            if let Err(e) = removed.context(|| format!("cannot remove ref {reference}")) {
                self.caller.tell(item, name, Outcome::Failed(e));
                return false;
            }
        }
        self.refs.remove(reference);
        self.caller.tell(item, name, Outcome::removed(why));
        true
    }

    /// Removes objects that no ref leads to.
    ///
    /// The removal of refs is synced before commits are removed, and that of commits before the rest: no matter where
    /// this is killed, or the power fails, there is no ref without its commit, and no commit without its trees.
    fn objects(&self) -> Result<Objects> {
        let what = || format!("cannot remove objects from {}", self.store.path.display());
        if self.dry_run {
            return self.count_objects().context(what);
        }
        let mut objects = Objects::default();
        let only_commits = RepoPruneFlags::REFS_ONLY | RepoPruneFlags::COMMIT_ONLY;
        for flags in [only_commits, RepoPruneFlags::REFS_ONLY] {
            files::sync_file_system(&self.store.path).context(what)?;
            let (_, count, bytes) = self.store.repo.prune(flags, ALL, NEVER).context(what)?;
            objects.count += u64::try_from(count).unwrap_or_default();
            objects.bytes += bytes;
        }
        Ok(objects)
    }

    /// Counts the objects that none of the remaining refs leads to.
    fn count_objects(&self) -> Result<Objects> {
        let repo = &self.store.repo;
        let mut reachable: HashSet<ObjectName> = HashSet::new();
        for commit in self.refs.values().collect::<BTreeSet<_>>() {
            let what = || format!("commit {commit}");
            reachable.extend(repo.traverse_commit(commit, ALL, NEVER).context(what)?);
        }
        let flags = ffi::OSTREE_REPO_LIST_OBJECTS_ALL | ffi::OSTREE_REPO_LIST_OBJECTS_NO_PARENTS;
        let all = repo.list_objects(flags, NEVER).context(|| "cannot list them".into())?;
        let mut objects = Objects::default();
        for object in all.keys().filter(|object| !reachable.contains(*object)) {
            let size = repo.query_object_storage_size(object.object_type(), object.checksum(), NEVER);
            objects.count += 1;
            objects.bytes += size.context(|| format!("object {}", object.checksum()))?;
        }
        Ok(objects)
    }
}

/// Digests of everything that a manifest names, including the configuration. Docker's schema 1 is supported as well.
fn blobs(manifest: &str) -> Result<HashSet<Digest>> {
    let manifest: serde_json::Value =
        serde_json::from_str(manifest).context(|| "its manifest is not valid JSON".into())?;
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let layers = list("layers").into_iter().map(|layer| layer["digest"].clone());
    let layers = layers.chain(list("fsLayers").into_iter().map(|layer| layer["blobSum"].clone()));
    let all = layers.chain([manifest["config"]["digest"].clone()]);
    // The store does not have blobs with other digests.
    Ok(all.filter_map(|digest| digest.as_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn manifests_name_blobs() {
        let [a, b, c] = [&b"a"[..], b"b", b"c"].map(Digest::of);
        let all = |manifest: serde_json::Value| blobs(&manifest.to_string()).unwrap();
        let manifest = json!({"config": {"digest": c}, "layers": [{"digest": a}, {"digest": b}]});
        assert_eq!(all(manifest), HashSet::from([a.clone(), b, c]));
        assert_eq!(all(json!({"fsLayers": [{"blobSum": a}, {"blobSum": "x"}]})), HashSet::from([a]));
        assert_eq!(all(json!([])), HashSet::new());
        assert!(blobs("x").is_err());
    }
}
