//! A pull: from a source to an image in the store.
//!
//! Layers first, each in a transaction of its own; then the merged tree and the image's ref in one. Killed in between, the
//! store holds layers that the next pull uses, and no half image.

use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};

use super::image::{self, Image};
use super::layer::{self, Expected};
use super::reference::{self, Reference};
use super::transport::{Manifest, Source};
use super::tree::{self, Layer};
use super::{NEVER, Store};
use crate::error::{Context, Error, Result};

/// What becomes known while pulling.
pub enum Event<'a> {
    /// A layer is being fetched.
    Fetching(&'a Descriptor),
    /// A layer was there already.
    Present(&'a Descriptor),
    /// A layer holds devices, fifos or sockets, so many, which were left out.
    LeftOut(&'a Descriptor, usize),
}

/// Pulls an image. Nothing is fetched that is there; tells whether the image was there already, unchanged.
pub fn pull(store: &Store, reference: &Reference, report: &mut dyn FnMut(Event)) -> Result<(Image, bool)> {
    let name = reference.name()?;
    let what = || format!("cannot pull {name}");
    let source = Source::open(reference).context(what)?;
    let manifest = source.manifest().context(what)?;
    let existing = image::load(&store.repo, &name).ok().flatten();
    if let Some(existing) = existing.filter(|existing| existing.digest == manifest.digest) {
        return Ok((existing, true));
    }
    let config = source.config().context(what)?;
    let layers = expected_layers(&manifest, &config).context(what)?;
    let mut imported = Vec::new();
    for (descriptor, expected) in &layers {
        imported.push(obtain(store, &source, descriptor, expected, report).context(what)?);
    }
    commit(store, &name, reference, &manifest, &config, &imported).context(what)?;
    let image = image::load(&store.repo, &name).context(what)?;
    Ok((image.ok_or_else(|| Error::new("it is gone again")).context(what)?, false))
}

/// What each layer must be; refuses what cannot be imported before anything is fetched.
fn expected_layers<'a>(manifest: &'a Manifest, config: &str) -> Result<Vec<(&'a Descriptor, Expected)>> {
    let config: ImageConfiguration =
        serde_json::from_str(config).context(|| "its configuration is not that of an OCI image".into())?;
    let (layers, diff_ids) = (manifest.oci.layers(), config.rootfs().diff_ids());
    if layers.len() != diff_ids.len() {
        let why = format!("its configuration names {} diffIDs for {} layers", diff_ids.len(), layers.len());
        return Err(Error::new(why));
    }
    let expected = layers.iter().zip(diff_ids).map(|(descriptor, diff_id)| {
        check_media_type(descriptor)?;
        let digest = hex_digest(descriptor.digest().as_ref())?;
        Ok((descriptor, Expected { digest, diff_id: hex_digest(diff_id)? }))
    });
    expected.collect()
}

fn check_media_type(descriptor: &Descriptor) -> Result<()> {
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    match descriptor.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerGzip => Ok(()),
        MediaType::Other(kind) if kind == docker || *kind == format!("{docker}.gzip") => Ok(()),
        other => Err(Error::new(format!("layer {} is of unsupported type {other:?}", descriptor.digest()))),
    }
}

fn hex_digest(digest: &str) -> Result<String> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(hex.to_owned());
    }
    Err(Error::new(format!("digest {digest:?} is no SHA-256, or is none at all")))
}

fn obtain(
    store: &Store,
    source: &Source,
    descriptor: &Descriptor,
    expected: &Expected,
    report: &mut dyn FnMut(Event),
) -> Result<Layer> {
    if let Some(layer) = layer::find(&store.repo, expected)? {
        report(Event::Present(descriptor));
        return Ok(layer);
    }
    report(Event::Fetching(descriptor));
    let (repo, expected) = (store.repo.clone(), expected.clone());
    let (layer, left_out) = source.blob(descriptor, move |blob| layer::import(&repo, blob, &expected))?;
    if left_out > 0 {
        report(Event::LeftOut(descriptor, left_out));
    }
    Ok(layer)
}

fn commit(
    store: &Store,
    name: &str,
    reference: &Reference,
    manifest: &Manifest,
    config: &str,
    layers: &[Layer],
) -> Result<()> {
    let what = || "cannot write the image".to_string();
    let transaction = store.repo.auto_transaction(NEVER).context(what)?;
    let tree = tree::merge(&store.repo, layers)?;
    let metadata = image::metadata(&manifest.digest, &manifest.raw, config, &reference.to_skopeo());
    let commit = layer::commit(&store.repo, &tree, &metadata)?;
    store.repo.transaction_set_ref(None, &reference::image_ref(name), Some(&commit));
    transaction.commit(NEVER).context(what)?;
    Ok(())
}
