//! What the layers of an image must be, as its manifest and its configuration say.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// Docker's media type of layers, without the suffix for their compression.
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// What a layer's blob must be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Digest of the blob as transported.
    pub digest: Digest,
    /// Digest of the archive in it.
    pub diff_id: Digest,
}

/// Returns what each layer must be. Refuses what cannot be imported, before anything is fetched.
pub fn layers<'a>(manifest: &'a ImageManifest, config: &str) -> Result<Vec<(&'a Descriptor, Expected)>> {
    let config: ImageConfiguration =
        serde_json::from_str(config).context(|| "its configuration is not that of an OCI image".into())?;
    let (layers, diff_ids) = (manifest.layers(), config.rootfs().diff_ids());
    if layers.len() != diff_ids.len() {
        let why = format!("its configuration names {} diffIDs for {} layers", diff_ids.len(), layers.len());
        return Err(Error::new(why));
    }
    let expected = layers.iter().zip(diff_ids).map(|(descriptor, diff_id)| {
        check_media_type(descriptor)?;
        let digest = descriptor.digest().clone().try_into()?;
        Ok((descriptor, Expected { digest, diff_id: diff_id.parse()? }))
    });
    expected.collect()
}

fn check_media_type(descriptor: &Descriptor) -> Result<()> {
    let other = match descriptor.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd => return Ok(()),
        MediaType::Other(kind) if kind == DOCKER || kind.strip_prefix(DOCKER) == Some(".gzip") => {
            return Ok(());
        }
        other => other,
    };
    let is_encrypted = other.to_string().contains("encrypted");
    let why = if is_encrypted { "is encrypted" } else { "has an unsupported media type" };
    Err(Error::new(format!("layer {} {why}: {other:?}", descriptor.digest())))
}
