//! What the layers of an image must be, according to its manifest and its configuration.

use std::collections::BTreeSet;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};

use super::limits;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// Docker's media type of layers, without the suffix for their compression.
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// What a layer's blob must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    /// Digest of the blob as transported.
    pub digest: Digest,
    /// Digest of the archive in it.
    pub diff_id: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
}

/// Returns what each layer must be. Refuses what cannot be imported, before anything is fetched.
pub fn layers<'a>(manifest: &'a ImageManifest, config: &str) -> Result<Vec<(&'a Descriptor, Expected)>> {
    check_manifest(manifest)?;
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
        Ok((descriptor, Expected { digest, diff_id: diff_id.parse()?, size: descriptor.size() }))
    });
    expected.collect()
}

/// Refuses a manifest that asks for more than any image needs.
pub fn check_manifest(manifest: &ImageManifest) -> Result<()> {
    let (layers, limit) = (manifest.layers().len(), limits::LAYERS);
    if layers > limit {
        return Err(Error::new(format!(
            "it has {layers} layers, more than {limit}; none of them was fetched"
        )));
    }
    let (size, limit) = (manifest.config().size(), limits::DOCUMENT);
    if size > limit {
        return Err(Error::new(format!("its configuration is {size} bytes, more than {} MiB", limit >> 20)));
    }
    Ok(())
}

/// Size in bytes of the layers that a manifest names; what it names twice counts once.
pub fn size<'a>(layers: impl IntoIterator<Item = &'a Descriptor>) -> u64 {
    let mut seen = BTreeSet::new();
    let layers = layers.into_iter().filter(|layer| seen.insert(layer.digest().to_string()));
    // Sizes are what the registry says, and may be anything.
    layers.map(Descriptor::size).fold(0, u64::saturating_add)
}

fn check_media_type(descriptor: &Descriptor) -> Result<()> {
    let other = match descriptor.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd => return Ok(()),
        MediaType::Other(kind) if kind == DOCKER || kind.strip_prefix(DOCKER) == Some(".gzip") => {
            return Ok(());
        }
        other => other,
    };
    let why = match other {
        MediaType::Other(kind) if kind.ends_with("+encrypted") => "is encrypted",
        _ => "has an unsupported media type",
    };
    Err(Error::new(format!("layer {} {why}: {other:?}", descriptor.digest())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest with so many layers of this size, which are all the same.
    fn manifest(layers: usize, size: u64, config: u64) -> ImageManifest {
        let digest = Digest::of(b"");
        let kind = "application/vnd.oci.image";
        let layer =
            serde_json::json!({"mediaType": format!("{kind}.layer.v1.tar"), "digest": digest, "size": size});
        serde_json::from_value(serde_json::json!({
            "schemaVersion": 2,
            "config": {"mediaType": format!("{kind}.config.v1+json"), "digest": digest, "size": config},
            "layers": vec![layer; layers],
        }))
        .unwrap()
    }

    #[test]
    fn manifests_that_ask_for_too_much_are_refused() {
        assert!(check_manifest(&manifest(limits::LAYERS, u64::MAX, limits::DOCUMENT)).is_ok());
        let refused = |manifest| check_manifest(&manifest).unwrap_err().to_string();
        let layers = refused(manifest(limits::LAYERS + 1, 1, 1));
        assert!(layers.contains("it has 501 layers, more than 500"), "{layers}");
        let config = refused(manifest(1, 1, limits::DOCUMENT + 1));
        assert!(config.contains("more than 4 MiB"), "{config}");
        assert!(layers_of(&manifest(501, 1, 1)).is_err());
    }

    fn layers_of(manifest: &ImageManifest) -> Result<usize> {
        layers(manifest, "{}").map(|layers| layers.len())
    }

    #[test]
    fn layers_that_cannot_be_read_are_refused() {
        let refused = |kind: &str| {
            let descriptor = Descriptor::new(MediaType::from(kind), 1, Digest::of(b""));
            check_media_type(&descriptor).err().map(|e| e.to_string())
        };
        let oci = "application/vnd.oci.image.layer.v1.tar";
        for kind in ["", "+gzip", "+zstd"] {
            assert_eq!(refused(&format!("{oci}{kind}")), None, "{kind}");
            let why = refused(&format!("{oci}{kind}+encrypted")).unwrap();
            assert!(why.contains(" is encrypted: "), "{why}");
        }
        assert_eq!((refused(DOCKER), refused(&format!("{DOCKER}.gzip"))), (None, None));
        let why = refused("application/x-encrypted-notes").unwrap();
        assert!(why.contains("unsupported media type"), "{why}");
    }

    #[test]
    fn sizes_are_added_without_overflow_and_count_once() {
        let mut manifest = manifest(3, 1 << 63, 1);
        assert_eq!(size(manifest.layers()), 1 << 63);
        let mut layers = manifest.layers().clone();
        layers[0] = Descriptor::new(layers[0].media_type().clone(), u64::MAX, Digest::of(b"x"));
        manifest.set_layers(layers);
        assert_eq!(size(manifest.layers()), u64::MAX);
    }
}
