//! Images in the repository: commits of merged trees, and what their metadata says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use oci_spec::image::ImageConfiguration;
use ostree::glib::{Variant, VariantDict};

use super::{NEVER, Store, reference};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in the store, as `registry/name:tag`.
    pub name: String,
    /// OSTree commit of its merged tree.
    pub commit: String,
    /// Digest of its manifest as the source served it.
    pub digest: Digest,
    /// Its manifest as the source served it, raw JSON.
    pub manifest: String,
    /// Its OCI image configuration, raw JSON.
    pub config: String,
}

impl Image {
    /// The labels of its configuration.
    pub fn labels(&self) -> Result<BTreeMap<String, String>> {
        let what = || format!("cannot read the configuration of {}", self.name);
        let config: ImageConfiguration = serde_json::from_str(&self.config).context(what)?;
        Ok(config.labels_of_config().cloned().unwrap_or_default().into_iter().collect())
    }
}

/// Marks image commits of ours, and says what their metadata means.
const VERSION_KEY: &str = "syscontainers.version";
const VERSION: u32 = 1;
const CONFIG: &str = "syscontainers.config";
const SOURCE: &str = "syscontainers.source";
/// Detached from the commit, since it may change: the policy that the image was let through by.
const POLICY: &str = "syscontainers.policy";
/// As [`POLICY`]: who had to sign it.
const SIGNER: &str = "syscontainers.signer";
/// How exact the time of the last pull is.
const TOUCHED: Duration = Duration::from_secs(3600);
/// Of containers/image: the manifest, raw JSON.
pub const MANIFEST: &str = "docker.manifest";
/// Of containers/image: the manifest's digest.
pub const DIGEST: &str = "docker.digest";

/// Loads an image by its name in the store; `None` where there is none.
pub fn load(repo: &ostree::Repo, name: &str) -> Result<Option<Image>> {
    let reference = reference::image_ref(name);
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

/// Whether what is called `name` is an image, but none of ours.
pub fn is_of_another(repo: &ostree::Repo, name: &str) -> Result<bool> {
    let reference = reference::image_ref(name);
    let Some(commit) = repo.resolve_rev(&reference, true).context(|| format!("ref {reference}"))? else {
        return Ok(false);
    };
    let (variant, _) = repo.load_commit(&commit).context(|| format!("commit {commit}"))?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    Ok(!metadata.contains(VERSION_KEY) && metadata.contains(MANIFEST))
}

/// Where an image was pulled from, as skopeo calls it; `None` if that is not known.
pub fn source(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    let what = || format!("cannot read commit {}", image.commit);
    let (variant, _) = repo.load_commit(&image.commit).context(what)?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    Ok(metadata.lookup::<String>(SOURCE).ok().flatten().filter(|source| !source.is_empty()))
}

/// The policy that an image was let through by, as [`set_policy`] recorded it.
pub fn policy(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    Ok(detached(repo, image)?.lookup(POLICY).ok().flatten())
}

/// Who had to sign it then.
pub fn signer(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    Ok(detached(repo, image)?.lookup(SIGNER).ok().flatten())
}

/// Records the policy that an image was let through by.
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

/// When an image was pulled last.
pub fn pulled(store: &Store, name: &str) -> std::io::Result<SystemTime> {
    fs::metadata(ref_file(store, name))?.modified()
}

/// Makes an image one that was pulled just now. Nothing is written if that is almost true.
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
    store.path.join("refs/heads").join(reference::image_ref(name))
}

/// The manifest of any image, the original's too.
pub fn manifest(repo: &ostree::Repo, commit: &str) -> Result<String> {
    let (variant, _) = repo.load_commit(commit).context(|| format!("commit {commit}"))?;
    let manifest = VariantDict::new(Some(&variant.child_value(0))).lookup::<String>(MANIFEST).ok().flatten();
    manifest.ok_or_else(|| Error::new(format!("its commit {commit} has no {MANIFEST}")))
}

fn detached(repo: &ostree::Repo, image: &Image) -> Result<VariantDict> {
    let what = || format!("cannot read what is recorded of commit {}", image.commit);
    let metadata = repo.read_commit_detached_metadata(&image.commit, NEVER).context(what)?;
    Ok(VariantDict::new(metadata.as_ref()))
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
