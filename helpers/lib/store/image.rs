//! Images in the repository: commits of merged trees, and what their metadata says.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ostree::glib::{Variant, VariantDict};

use super::commit::{self, CommitContent};
use super::merge::{self, StoredLayer};
use super::refs;
use super::repository::{NEVER, Store};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;

/// Marks commits as images of ours, and says what their metadata means.
const VERSION_KEY: &str = "syscontainers.version";
const VERSION: u32 = 1;
const CONFIG: &str = "syscontainers.config";
const SOURCE: &str = "syscontainers.source";
/// The policy that allowed the image. Detached from the commit, since it may change.
const POLICY: &str = "syscontainers.policy";
/// Who had to sign the image. Detached as well.
const SIGNER: &str = "syscontainers.signer";
/// How precise the time of the last pull is.
const TOUCHED: Duration = Duration::from_secs(3600);
/// Key of containers/image: the manifest, raw JSON.
pub const MANIFEST: &str = "docker.manifest";
/// Key of containers/image: the digest of the manifest.
pub const DIGEST: &str = "docker.digest";

/// Loads an image by its name in the store; `None` if there is none.
pub fn load(repo: &ostree::Repo, name: &str) -> Result<Option<Image>> {
    let reference = refs::image_ref(name);
    let Some(commit) = repo.resolve_rev(&reference, true).context(|| format!("ref {reference}"))? else {
        return Ok(None);
    };
    let (variant, _) = repo.load_commit(&commit).context(|| format!("commit {commit}"))?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let text = |key: &str| {
        let value = metadata.lookup::<String>(key).ok().flatten();
        value.ok_or_else(|| Error::new(format!("its commit {commit} has no {key}; pull it again")))
    };
    match metadata.lookup::<u32>(VERSION_KEY).ok().flatten() {
        Some(VERSION) => {}
        Some(other) => {
            return Err(Error::new(format!("its format is {other}, not {VERSION}; pull it again")));
        }
        None => return Err(Error::new("it was pulled by another program; pull it again")),
    }
    Ok(Some(Image {
        name: name.to_owned(),
        commit: commit.to_string(),
        digest: text(DIGEST)?.parse().context(|| "cannot read its digest; pull it again".into())?,
        manifest: text(MANIFEST)?,
        config: text(CONFIG)?,
    }))
}

/// Whether the image called `name` was written by another program.
pub fn is_foreign(repo: &ostree::Repo, name: &str) -> Result<bool> {
    let reference = refs::image_ref(name);
    let Some(commit) = repo.resolve_rev(&reference, true).context(|| format!("ref {reference}"))? else {
        return Ok(false);
    };
    let (variant, _) = repo.load_commit(&commit).context(|| format!("commit {commit}"))?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    Ok(!metadata.contains(VERSION_KEY) && metadata.contains(MANIFEST))
}

/// The reference that an image was pulled by, as skopeo takes it; `None` if that is not known.
pub fn source(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    let what = || format!("cannot read commit {}", image.commit);
    let (variant, _) = repo.load_commit(&image.commit).context(what)?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    Ok(metadata.lookup::<String>(SOURCE).ok().flatten().filter(|source| !source.is_empty()))
}

/// The fingerprint of the policy that allowed an image, as [`set_policy`] recorded it.
pub fn policy(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    Ok(detached(repo, image)?.lookup(POLICY).ok().flatten())
}

/// Who had to sign an image, as [`set_policy`] recorded it.
pub fn signer(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    Ok(detached(repo, image)?.lookup(SIGNER).ok().flatten())
}

/// Records the policy that allowed an image, by its fingerprint.
pub fn set_policy(repo: &ostree::Repo, image: &Image, policy: &str, signer: Option<&str>) -> Result<()> {
    let metadata = detached(repo, image)?;
    let is = |key, value: Option<&str>| metadata.lookup::<String>(key).ok().flatten().as_deref() == value;
    if is(POLICY, Some(policy)) && is(SIGNER, signer) {
        return Ok(());
    }
    metadata.insert(POLICY, policy);
    match signer {
        Some(signer) => metadata.insert(SIGNER, signer),
        None => {
            metadata.remove(SIGNER);
        }
    }
    let what = || format!("cannot record the policy of commit {}", image.commit);
    repo.write_commit_detached_metadata(&image.commit, Some(&metadata.end()), NEVER).context(what)
}

/// When an image was last pulled.
pub fn pulled(store: &Store, name: &str) -> std::io::Result<SystemTime> {
    fs::metadata(ref_file(store, name))?.modified()
}

/// Records that an image was pulled just now. Nothing is written if the recorded time is close enough.
pub fn touch(store: &Store, name: &str) -> Result<()> {
    let path = ref_file(store, name);
    let now = SystemTime::now();
    let is_old = |time| now.duration_since(time).is_ok_and(|age| age > TOUCHED);
    if pulled(store, name).is_ok_and(is_old) {
        let set = File::open(&path).and_then(|file| file.set_modified(now));
        set.context(|| format!("cannot set the time of {}", path.display()))?;
    }
    Ok(())
}

fn ref_file(store: &Store, name: &str) -> PathBuf {
    store.path.join("refs/heads").join(refs::image_ref(name))
}

/// The manifest of any image, also of one that Atomic pulled.
pub fn manifest(repo: &ostree::Repo, commit: &str) -> Result<String> {
    let (variant, _) = repo.load_commit(commit).context(|| format!("commit {commit}"))?;
    let manifest = VariantDict::new(Some(&variant.child_value(0))).lookup::<String>(MANIFEST).ok().flatten();
    manifest.ok_or_else(|| Error::new(format!("its commit {commit} has no {MANIFEST}")))
}

fn detached(repo: &ostree::Repo, image: &Image) -> Result<VariantDict> {
    let what = || format!("cannot read the detached metadata of commit {}", image.commit);
    let metadata = repo.read_commit_detached_metadata(&image.commit, NEVER).context(what)?;
    Ok(VariantDict::new(metadata.as_ref()))
}

/// Merges layers, and makes the result the image called `name`.
pub fn write(store: &Store, name: &str, metadata: &Variant, layers: &[StoredLayer]) -> Result<Image> {
    let write = || {
        let root = commit::write_tree(&store.repo, &merge::merge(&store.repo, layers)?)?;
        Ok(CommitContent { root, metadata: metadata.clone(), result: () })
    };
    let published = commit::publish(&store.repo, &refs::image_ref(name), write);
    published.context(|| "cannot write the image".into())?;
    load(&store.repo, name)?.ok_or_else(|| Error::new("it was removed again"))
}

/// The metadata of an image's commit.
pub fn metadata(digest: &Digest, manifest: &str, config: &str, source: &str) -> Variant {
    let metadata = VariantDict::new(None);
    metadata.insert(VERSION_KEY, VERSION);
    metadata.insert(DIGEST, digest.to_string());
    metadata.insert(MANIFEST, manifest);
    metadata.insert(CONFIG, config);
    metadata.insert(SOURCE, source);
    metadata.end()
}
