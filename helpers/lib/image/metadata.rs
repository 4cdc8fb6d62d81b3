//! What is known about an image without its files.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;

use crate::commit::Commit;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::provenance::Provenance;

/// An image: its names, and the JSON documents that came with it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name in the store: the reference that it is pulled by, without `docker://`.
    pub name: String,
    /// What it is called without its source: `registry/name:tag`. An archive decides that itself, so nothing is found
    /// by it.
    pub title: String,
    /// Where it comes from.
    pub provenance: Provenance,
    /// OSTree commit of the merged tree.
    pub commit: Commit,
    /// Digest of the manifest as the source served it.
    pub digest: Digest,
    /// Manifest as the source served it, raw JSON.
    pub manifest: String,
    /// OCI image configuration, raw JSON.
    pub config: String,
}

impl Image {
    /// Parses the OCI image configuration.
    pub fn configuration(&self) -> Result<ImageConfiguration> {
        serde_json::from_str(&self.config)
            .context(|| format!("cannot read the configuration of {}", self.name))
    }

    /// The labels of the configuration.
    pub fn labels(&self) -> Result<BTreeMap<String, String>> {
        let config = self.configuration()?;
        Ok(config.labels_of_config().cloned().unwrap_or_default().into_iter().collect())
    }
}
