//! Images in the repository: commits of merged trees, and their metadata.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ostree::ObjectType;
use ostree::glib::{Variant, VariantDict};

use super::commit::{self, CommitContent};
use super::layer::StoredLayer;
use super::merge;
use super::reference::Reference;
use super::refs;
use super::repository::{NEVER, Store};
use crate::commit::Commit;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::provenance::{Provenance, host_architecture};

/// Marks commits as images of ours, and says what their metadata means.
const VERSION_KEY: &str = "syscontainers.version";
const VERSION: u32 = 1;
const CONFIG: &str = "syscontainers.config";
const SOURCE: &str = "syscontainers.source";
const TITLE: &str = "syscontainers.title";
const ARCHITECTURE: &str = "syscontainers.architecture";
/// Of commits that no ref leads to, so that none of them is the commit of an image with a name.
const NAMELESS: &str = "syscontainers.nameless";
/// Of images whose files have the modification times of their layers.
const TIMES: &str = "syscontainers.times";
/// The policy that allowed the image. Detached from the commit, since it may change.
const POLICY: &str = "syscontainers.policy";
/// The scope of that policy that applied. Detached as well.
const SCOPE: &str = "syscontainers.policy-scope";
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
    read(repo, name, Commit::new(commit)).map(Some)
}

/// Loads the image that was of this commit, whatever has its name now; `None` if it is gone.
pub fn load_commit(repo: &ostree::Repo, name: &str, commit: &Commit) -> Result<Option<Image>> {
    if *commit == Commit::unknown() {
        return Ok(None);
    }
    let is_there = repo.has_object(ObjectType::Commit, commit.as_str(), NEVER);
    let is_there = is_there.context(|| format!("commit {commit}"))?;
    if is_there { read(repo, name, commit.clone()).map(Some) } else { Ok(None) }
}

impl Store {
    /// Whether the image of a commit is there, whatever name it has.
    pub fn has_commit(&self, commit: &Commit) -> bool {
        self.repo.has_object(ObjectType::Commit, commit.as_str(), NEVER).unwrap_or(false)
    }
}

/// Reads the image that is in a commit.
fn read(repo: &ostree::Repo, name: &str, commit: Commit) -> Result<Image> {
    let (variant, _) = repo.load_commit(commit.as_str()).context(|| format!("commit {commit}"))?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let optional = |key: &str| metadata.lookup::<String>(key).ok().flatten().filter(|text| !text.is_empty());
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
    let source: Reference = optional(SOURCE).as_deref().unwrap_or(name).parse()?;
    Ok(Image {
        name: name.to_owned(),
        title: optional(TITLE).unwrap_or_else(|| name.to_owned()),
        provenance: Provenance {
            transport: source.transport().name.to_owned(),
            source: source.to_skopeo(),
            architecture: optional(ARCHITECTURE).unwrap_or_else(|| host_architecture().to_owned()),
            policy_scope: detached(repo, &commit)?.lookup(SCOPE).ok().flatten(),
        },
        digest: text(DIGEST)?.parse().context(|| "cannot read its digest; pull it again".into())?,
        manifest: text(MANIFEST)?,
        config: text(CONFIG)?,
        commit,
    })
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

/// Whether the files of an image have modification times: those of one that Atomic pulled have none.
pub fn has_times(repo: &ostree::Repo, image: &Image) -> Result<bool> {
    let (variant, _) =
        repo.load_commit(image.commit.as_str()).context(|| format!("commit {}", image.commit))?;
    Ok(VariantDict::new(Some(&variant.child_value(0))).contains(TIMES))
}

/// The fingerprint of the policy that allowed an image, according to [`set_policy`].
pub fn policy(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    Ok(detached(repo, &image.commit)?.lookup(POLICY).ok().flatten())
}

/// Who had to sign an image, according to [`set_policy`].
pub fn signer(repo: &ostree::Repo, image: &Image) -> Result<Option<String>> {
    Ok(detached(repo, &image.commit)?.lookup(SIGNER).ok().flatten())
}

/// How a policy judged an image.
#[derive(Default)]
pub struct Judgement<'a> {
    /// Fingerprint of the policy.
    pub policy: &'a str,
    /// The scope of it that applied.
    pub scope: &'a str,
    /// Who had to sign the image; `None` if no signature was required.
    pub signer: Option<&'a str>,
}

/// Records the policy that allowed an image.
pub fn set_policy(repo: &ostree::Repo, image: &Image, judgement: &Judgement) -> Result<()> {
    let metadata = detached(repo, &image.commit)?;
    let wanted =
        [(POLICY, Some(judgement.policy)), (SCOPE, Some(judgement.scope)), (SIGNER, judgement.signer)];
    let is = |key, value: Option<&str>| metadata.lookup::<String>(key).ok().flatten().as_deref() == value;
    if wanted.iter().all(|(key, value)| is(key, *value)) {
        return Ok(());
    }
    for (key, value) in wanted {
        match value {
            Some(value) => metadata.insert(key, value),
            None => {
                metadata.remove(key);
            }
        }
    }
    let what = || format!("cannot record the policy of commit {}", image.commit);
    repo.write_commit_detached_metadata(image.commit.as_str(), Some(&metadata.end()), NEVER).context(what)
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

/// The manifest of any image, including those that Atomic pulled.
pub fn manifest(repo: &ostree::Repo, commit: &Commit) -> Result<String> {
    let (variant, _) = repo.load_commit(commit.as_str()).context(|| format!("commit {commit}"))?;
    let manifest = VariantDict::new(Some(&variant.child_value(0))).lookup::<String>(MANIFEST).ok().flatten();
    manifest.ok_or_else(|| Error::new(format!("its commit {commit} has no {MANIFEST}")))
}

/// The digests of the layers that a manifest names, lowest first.
pub fn layer_digests(manifest: &str) -> Vec<Digest> {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    // The store has none with other digests.
    layers.iter().filter_map(|layer| layer["digest"].as_str()?.parse().ok()).collect()
}

fn detached(repo: &ostree::Repo, commit: &Commit) -> Result<VariantDict> {
    let what = || format!("cannot read the detached metadata of commit {commit}");
    let metadata = repo.read_commit_detached_metadata(commit.as_str(), NEVER).context(what)?;
    Ok(VariantDict::new(metadata.as_ref()))
}

/// Merges layers, and makes the result the image called `name`.
pub fn write(store: &Store, name: &str, description: &Description, layers: &[StoredLayer]) -> Result<Image> {
    let metadata = description.metadata(layers).end();
    let published = commit::publish(&store.repo, &refs::image_ref(name), || merged(store, &metadata, layers));
    published.context(|| "cannot write the image".into())?;
    load(&store.repo, name)?.ok_or_else(|| Error::new("it was removed again"))
}

/// Like [`write`], but no ref leads to the image, which [`forget`] or the next prune removes.
pub fn write_nameless(
    store: &Store,
    name: &str,
    description: &Description,
    layers: &[StoredLayer],
) -> Result<Image> {
    let metadata = description.metadata(layers);
    metadata.insert(NAMELESS, true);
    let metadata = metadata.end();
    let commit = commit::write(&store.repo, || merged(store, &metadata, layers));
    let (commit, ()) = commit.context(|| "cannot write the image".into())?;
    read(&store.repo, name, Commit::new(commit))
}

/// Removes the commit of an image that no ref leads to. Its files are left to the next pull, or to a prune.
pub fn forget(store: &Store, nameless: &Image) {
    // A prune removes it, if this does not.
    let _ = store.repo.delete_object(ObjectType::Commit, nameless.commit.as_str(), NEVER);
}

fn merged(store: &Store, metadata: &Variant, layers: &[StoredLayer]) -> Result<CommitContent<()>> {
    let commits: Vec<String> = layers.iter().map(|layer| layer.commit.clone()).collect();
    let root = commit::write_tree(&store.repo, &merge::merge(&store.repo, &commits)?)?;
    Ok(CommitContent { root, metadata: metadata.clone(), result: () })
}

/// What is known of an image before it is written.
pub struct Description<'a> {
    /// Digest of the manifest.
    pub digest: &'a Digest,
    /// The manifest, raw JSON.
    pub manifest: &'a str,
    /// The configuration, raw JSON.
    pub config: &'a str,
    /// Where it comes from.
    pub provenance: &'a Provenance,
    /// What it is called.
    pub title: &'a str,
}

impl Description<'_> {
    /// The metadata of the image's commit.
    fn metadata(&self, layers: &[StoredLayer]) -> VariantDict {
        let metadata = VariantDict::new(None);
        metadata.insert(VERSION_KEY, VERSION);
        metadata.insert(DIGEST, self.digest.to_string());
        metadata.insert(MANIFEST, self.manifest);
        metadata.insert(CONFIG, self.config);
        metadata.insert(SOURCE, self.provenance.source.as_str());
        metadata.insert(ARCHITECTURE, self.provenance.architecture.as_str());
        metadata.insert(TITLE, self.title);
        if layers.iter().all(|layer| layer.has_times) {
            metadata.insert(TIMES, true);
        }
        metadata
    }
}
