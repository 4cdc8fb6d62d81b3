//! The store's part of a prune: refs of images and layers that nobody needs, what killed pulls left, and then objects.
//!
//! The repository may be shared with the host's own system. Refs of others are left alone, and what they lead to stays. The
//! caller has the repository to itself, see [`crate::system::lock::own_store`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ostree::{ObjectName, RepoPruneFlags, ffi};

use super::leftovers;
use super::reference::{self, Reference, layer_digest};
use super::{NEVER, Store, image};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::program::log;
use crate::program::timespan;
use crate::prune::Report;
use crate::system::files;
use crate::update::retention::Users;

/// Depth of the history of refs that stays: all, as it is others' to shorten.
const ALL: i32 = -1;

/// Which images stay.
pub struct Policy<'a> {
    users: &'a Users,
    keep_for: Duration,
    /// Names of images that are to go now, and no others; empty means those that are old.
    wanted: BTreeSet<String>,
}

impl<'a> Policy<'a> {
    /// Refuses images that are to go, but are not there, or used.
    pub fn new(store: &Store, users: &'a Users, keep_for: Duration, wanted: &[String]) -> Result<Policy<'a>> {
        let mut policy = Policy { users, keep_for, wanted: BTreeSet::new() };
        for text in wanted {
            let name = text.parse::<Reference>()?.name()?;
            let what = || format!("cannot remove image {name}");
            let reference = reference::image_ref(&name);
            let commit = store.repo.resolve_rev(&reference, true).context(what)?;
            let missing = || Error::not_found(format!("it is not in {}", store.path.display()));
            let commit = commit.ok_or_else(missing).context(what)?;
            if let Some(why) = policy.why_used(&name, &commit) {
                return Err(Error::new(format!("{why}; remove or update that first"))).context(what);
            }
            policy.wanted.insert(name);
        }
        Ok(policy)
    }

    fn why_used(&self, name: &str, commit: &str) -> Option<String> {
        let users = self.users.of_image(name, commit);
        if !users.is_empty() {
            return Some(format!("it is used by {}", users.join(", ")));
        }
        let (deployment, _) = self.users.unreadable.first()?;
        Some(format!("deployment {deployment} may use it, which cannot be told"))
    }

    /// Whether an image goes, and why it does or does not.
    fn judge(&self, image: &Image) -> (bool, String) {
        if let Some(why) = self.why_used(&image.name, &image.commit) {
            return (false, why);
        }
        if !self.wanted.is_empty() {
            return match self.wanted.contains(&image.name) {
                true => (true, "as asked for".into()),
                false => (false, "it was not asked for".into()),
            };
        }
        let about = timespan::about(image.age);
        match image.age < self.keep_for {
            true => {
                let limit = timespan::about(self.keep_for);
                (false, format!("nothing uses it, but it was pulled {about} ago; that is kept for {limit}"))
            }
            false => (true, format!("nothing uses it, and it was pulled {about} ago")),
        }
    }
}

/// An image of anybody's.
struct Image {
    name: String,
    commit: String,
    /// How long ago it was pulled.
    age: Duration,
}

/// Refuses a repository that is another user's: its owner could not use any more what would be written here.
pub fn check(store: &Store) -> Result<()> {
    let what = || format!("cannot prune the image store {}", store.path.display());
    let owner = fs::metadata(&store.path).context(what)?.uid();
    let user = nix::unistd::geteuid().as_raw();
    if owner != user {
        return Err(Error::new(format!("it belongs to user {owner}, and this is user {user}"))).context(what);
    }
    Ok(())
}

/// Removes refs, leftovers and objects that nobody needs.
pub fn prune(store: &Store, policy: &Policy, report: &mut Report) -> Result<()> {
    for (deployment, why) in &policy.users.unreadable {
        log::warning(&format!(
            "keeping all images, since deployment {deployment} may use any of them: {why}"
        ));
    }
    let what = || format!("cannot list the refs in {}", store.path.display());
    let refs: BTreeMap<_, _> = store.repo.list_refs(None, NEVER).context(what)?.into_iter().collect();
    let damaged = damaged_refs(store)?;
    let images = images(store, &refs);
    let mut work = Work { store, left: refs.clone(), report };
    let kept = work.images(policy, &images);
    work.layers(&kept, refs.keys());
    for name in refs.keys().filter(|name| !is_image(name) && layer_digest(name).is_none()) {
        if reference::is_temporary(name) {
            work.remove(name, "leftover", name, "a program was killed while it wrote a ref");
            continue;
        }
        let why = match reference::is_ours(name) {
            true => "its name is none that is known here",
            false => "it is another program's",
        };
        work.report.kept("ref", name, why);
    }
    // Before objects: what is taken up from these later has to have all that it refers to.
    leftovers::prune(store, work.report);
    for (path, why) in &damaged {
        work.report.failed("ref", path.display().to_string(), why);
    }
    if !damaged.is_empty() {
        // What they led to may be in use.
        work.report.kept(
            "objects",
            store.path.display().to_string(),
            "a ref that is damaged may need any of them",
        );
    } else if let Err(e) = work.objects() {
        work.report.failed("objects", store.path.display().to_string(), &e);
    }
    Ok(())
}

/// Refs of ours that name no commit, as after a power cut on some file systems.
fn damaged_refs(store: &Store) -> Result<Vec<(PathBuf, Error)>> {
    let directory = store.path.join("refs/heads/ociimage");
    let mut damaged = Vec::new();
    for name in files::names(&directory)? {
        let path = directory.join(&name);
        let text = if path.is_file() { std::fs::read(&path).ok() } else { None };
        let is_commit = |text: &[u8]| {
            let text = text.trim_ascii();
            text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit)
        };
        if !name.starts_with("tmp.") && text.is_some_and(|text| !is_commit(&text)) {
            damaged.push((path, Error::new("it names no commit; pull its image again, or remove this file")));
        }
    }
    Ok(damaged)
}

fn images(store: &Store, refs: &BTreeMap<String, String>) -> Vec<Image> {
    let now = SystemTime::now();
    let image = |(reference, commit): (&String, &String)| {
        let name = reference::image_name(reference)?;
        // What cannot be told, or is in the future, counts as just now.
        let time = image::pulled(store, &name).unwrap_or(now);
        let age = now.duration_since(time).unwrap_or_default();
        Some(Image { name, commit: commit.clone(), age })
    };
    refs.iter().filter_map(image).collect()
}

fn is_image(reference: &str) -> bool {
    reference::image_name(reference).is_some()
}

/// A prune of one store.
struct Work<'a> {
    store: &'a Store,
    /// Refs that stay, with their commits.
    left: BTreeMap<String, String>,
    report: &'a mut Report,
}

impl Work<'_> {
    /// Removes refs of images. Returns the images that stay.
    fn images<'i>(&mut self, policy: &Policy, images: &'i [Image]) -> Vec<&'i Image> {
        let mut kept = Vec::new();
        for image in images {
            let (goes, why) = policy.judge(image);
            if !goes {
                self.report.kept("image", &image.name, why);
                kept.push(image);
            } else if !self.remove(&reference::image_ref(&image.name), "image", &image.name, &why) {
                kept.push(image);
            }
        }
        kept
    }

    /// Removes refs of layers that no image has any more. Those of images that cannot be read may be any.
    fn layers<'r>(&mut self, images: &[&Image], refs: impl Iterator<Item = &'r String>) {
        let (mut needed, mut unclear) = (HashMap::<Digest, Vec<&str>>::new(), None);
        for image in images {
            match image::manifest(&self.store.repo, &image.commit).and_then(|manifest| blobs(&manifest)) {
                Ok(blobs) => {
                    blobs.into_iter().for_each(|blob| needed.entry(blob).or_default().push(&image.name));
                }
                Err(e) => {
                    unclear = Some(format!("image {} may have it, which cannot be read: {e}", image.name));
                }
            }
        }
        for (reference, digest) in refs.filter_map(|name| Some((name, layer_digest(name)?))) {
            match (needed.get(&digest), &unclear) {
                (Some(images), _) => {
                    self.report.kept("layer", digest.to_string(), format!("of image {}", images.join(", ")));
                }
                (None, Some(why)) => self.report.kept("layer", digest.to_string(), why),
                (None, None) => {
                    self.remove(reference, "layer", digest.as_ref(), "no image has it");
                }
            }
        }
    }

    /// Removes a ref; tells whether that worked.
    fn remove(&mut self, reference: &str, kind: &'static str, name: &str, why: &str) -> bool {
        if !self.report.dry_run {
            let removed = self.store.repo.set_ref_immediate(None, reference, None, NEVER);
            if let Err(e) = removed.context(|| format!("cannot remove {kind} {name}")) {
                self.report.failed(kind, name, &e);
                return false;
            }
        }
        self.left.remove(reference);
        self.report.removed(kind, name, why);
        true
    }

    /// Removes objects that no ref leads to.
    ///
    /// Refs are gone for good before commits go, and these before the rest: wherever it is killed, or the power fails, no ref is
    /// there without its commit, and no commit without its trees.
    fn objects(&mut self) -> Result<()> {
        let what = || format!("cannot remove objects from {}", self.store.path.display());
        if self.report.dry_run {
            return self.count_objects().context(what);
        }
        let only_commits = RepoPruneFlags::REFS_ONLY | RepoPruneFlags::COMMIT_ONLY;
        for flags in [only_commits, RepoPruneFlags::REFS_ONLY] {
            files::sync_file_system(&self.store.path).context(what)?;
            let (_, pruned, bytes) = self.store.repo.prune(flags, ALL, NEVER).context(what)?;
            self.report.objects += u64::try_from(pruned).unwrap_or_default();
            self.report.bytes += bytes;
        }
        Ok(())
    }

    /// As if the refs that are left were all.
    fn count_objects(&mut self) -> Result<()> {
        let repo = &self.store.repo;
        let mut reachable: HashSet<ObjectName> = HashSet::new();
        for commit in self.left.values().collect::<BTreeSet<_>>() {
            let what = || format!("commit {commit}");
            reachable.extend(repo.traverse_commit(commit, ALL, NEVER).context(what)?);
        }
        let flags = ffi::OSTREE_REPO_LIST_OBJECTS_ALL | ffi::OSTREE_REPO_LIST_OBJECTS_NO_PARENTS;
        let objects = repo.list_objects(flags, NEVER).context(|| "cannot list them".into())?;
        for object in objects.keys().filter(|object| !reachable.contains(*object)) {
            let size = repo.query_object_storage_size(object.object_type(), object.checksum(), NEVER);
            self.report.objects += 1;
            self.report.bytes += size.context(|| format!("object {}", object.checksum()))?;
        }
        Ok(())
    }
}

/// Digests of everything that a manifest names, the configuration too; also in docker's first schema.
fn blobs(manifest: &str) -> Result<HashSet<Digest>> {
    let manifest: serde_json::Value =
        serde_json::from_str(manifest).context(|| "its manifest is no JSON".into())?;
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let layers = list("layers").into_iter().map(|layer| layer["digest"].clone());
    let layers = layers.chain(list("fsLayers").into_iter().map(|layer| layer["blobSum"].clone()));
    let all = layers.chain([manifest["config"]["digest"].clone()]);
    // Others are not in the store.
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
