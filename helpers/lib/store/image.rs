//! Images in the repository: commits of merged trees, and what their metadata says.

use ostree::glib::{Variant, VariantDict};

use super::reference;
use crate::error::{Context, Error, Result};

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in the store, as `registry/name:tag`.
    pub name: String,
    /// OSTree commit of its merged tree.
    pub commit: String,
    /// Digest of its manifest as the source served it: `sha256:…`.
    pub digest: String,
    /// Its OCI image configuration, raw JSON.
    pub config: String,
}

/// Marks image commits of ours, and says what their metadata means.
const VERSION_KEY: &str = "syscontainers.version";
const VERSION: u32 = 1;
const CONFIG: &str = "syscontainers.config";
const SOURCE: &str = "syscontainers.source";
/// Of containers/image: the manifest, raw JSON, and its digest.
const MANIFEST: &str = "docker.manifest";
const DIGEST: &str = "docker.digest";

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
        digest: text(DIGEST)?,
        config: text(CONFIG)?,
    }))
}

/// The metadata of an image's commit.
pub fn metadata(digest: &str, manifest: &str, config: &str, source: &str) -> Variant {
    let metadata = VariantDict::new(None);
    metadata.insert(VERSION_KEY, VERSION);
    metadata.insert(DIGEST, digest);
    metadata.insert(MANIFEST, manifest);
    metadata.insert(CONFIG, config);
    metadata.insert(SOURCE, source);
    metadata.end()
}
