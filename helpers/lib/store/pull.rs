//! A pull: from a source to an image in the store.
//!
//! Layers first, each a commit with a ref of its own; then the merged tree and the image's ref. Killed in between, the store
//! holds layers that the next pull uses, and no half image.

use nix::sys::statvfs::statvfs;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use ostree::glib::Variant;

use super::Store;
use super::access::Access;
use super::commit::{self, Content};
use super::image::{self, Image};
use super::layer::{self, Expected};
use super::policy::Policy;
use super::reference::{self, Reference};
use super::retry::with_retries;
use super::transport::{self, Source};
use super::tree::{self, Layer};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// Who is told what a pull is doing.
pub trait Report {
    /// A layer was there already.
    fn present(&self, layer: &Descriptor);
    /// A layer is being fetched, perhaps once more; what this returns is told the number of bytes, as they come.
    fn fetching(&self, layer: &Descriptor) -> Box<dyn Fn(u64) + Send>;
    /// A layer was fetched, all of it.
    fn fetched(&self, layer: &Descriptor);
    /// Something failed, and is tried again.
    fn retrying(&self, text: &str);
    /// Something is not as it should be, but the pull goes on.
    fn warning(&self, text: &str);
}

/// What a pull came to.
pub struct Outcome {
    /// The image.
    pub image: Image,
    /// Whether the store has another image under its name than before.
    pub changed: bool,
    /// How many layers were fetched.
    pub fetched: usize,
    /// How many were there already.
    pub reused: usize,
    /// Size of the blobs that were fetched.
    pub bytes: u64,
}

impl Outcome {
    fn unchanged(image: Image) -> Outcome {
        let manifest: serde_json::Value = serde_json::from_str(&image.manifest).unwrap_or_default();
        let reused = manifest["layers"].as_array().map_or(0, Vec::len);
        Outcome { image, changed: false, fetched: 0, reused, bytes: 0 }
    }
}

/// Pulls an image. Nothing is fetched that is there.
pub fn pull(store: &Store, reference: &Reference, access: &Access, report: &dyn Report) -> Result<Outcome> {
    let name = reference.name()?;
    let what = || format!("cannot pull {name}");
    let tell = |text: &str| report.retrying(text);
    let _lock = store.keep().context(what)?;
    let policy = Policy::find(access);
    let fingerprint = policy.fingerprint().unwrap_or_default();
    let signer = policy.signer(reference);
    let existing = image::load(&store.repo, &name).ok().flatten();
    let copied = existing.as_ref().filter(|_| transport::needs_copy(reference, &policy));
    if let Some(image) = copied {
        // What the same policy let through already need not be copied once more.
        let is_let_through = image::policy(&store.repo, image).context(what)? == Some(fingerprint.clone());
        if is_let_through
            && with_retries(&tell, || transport::peek(reference, access)).context(what)? == image.digest
        {
            image::touch(store, &name).context(what)?;
            return Ok(Outcome::unchanged(image.clone()));
        }
    }
    let temporary = store.path.join("tmp");
    let (source, manifest) = with_retries(&tell, || {
        let source = Source::open(reference, access, &policy, &temporary)?;
        source.manifest().map(|manifest| (source, manifest))
    })
    .context(what)?;
    if let Some(image) = existing.filter(|existing| existing.digest == manifest.digest) {
        image::set_policy(&store.repo, &image, &fingerprint, signer.as_deref()).context(what)?;
        image::touch(store, &name).context(what)?;
        return Ok(Outcome::unchanged(image));
    }
    let config = with_retries(&tell, || source.config()).context(what)?;
    let original = with_retries(&tell, || source.original(&manifest)).context(what)?;
    let layers = expected_layers(&manifest.oci, &config).context(what)?;
    let present = layers.iter().map(|(_, expected)| layer::find(&store.repo, expected));
    let present: Vec<Option<Layer>> = present.collect::<Result<_>>().context(what)?;
    let bytes =
        layers.iter().zip(&present).filter(|(_, there)| there.is_none()).map(|(l, _)| l.0.size()).sum();
    check_space(store, bytes, report).context(what)?;
    let (mut imported, mut reused) = (Vec::new(), 0);
    for ((descriptor, expected), there) in layers.iter().zip(present) {
        imported.push(match there {
            Some(layer) => {
                report.present(descriptor);
                reused += 1;
                layer
            }
            None => fetch(store, &source, descriptor, expected, report).context(what)?,
        });
    }
    let metadata = image::metadata(&manifest.digest, &original, &config, &reference.absolute().to_skopeo());
    commit(store, &name, &metadata, &imported).context(what)?;
    let image = image::load(&store.repo, &name).context(what)?;
    let image = image.ok_or_else(|| Error::new("it is gone again")).context(what)?;
    image::set_policy(&store.repo, &image, &fingerprint, signer.as_deref()).context(what)?;
    Ok(Outcome { image, changed: true, fetched: layers.len() - reused, reused, bytes })
}

/// The digest that an image has at its source now. Nothing is fetched but its manifest.
pub fn peek(reference: &Reference, access: &Access, report: &dyn Report) -> Result<Digest> {
    let tell = |text: &str| report.retrying(text);
    with_retries(&tell, || transport::peek(reference, access))
        .context(|| format!("cannot look for {}", reference.location()))
}

/// What each layer must be; refuses what cannot be imported before anything is fetched.
pub fn expected_layers<'a>(
    manifest: &'a ImageManifest,
    config: &str,
) -> Result<Vec<(&'a Descriptor, Expected)>> {
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
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    match descriptor.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd => Ok(()),
        MediaType::Other(kind) if kind == docker || *kind == format!("{docker}.gzip") => Ok(()),
        other => {
            let why = if other.to_string().contains("encrypted") {
                "is encrypted"
            } else {
                "is of unsupported type"
            };
            Err(Error::new(format!("layer {} {why}: {other:?}", descriptor.digest())))
        }
    }
}

/// Layers are larger unpacked than as blobs, but never by how much is known: what cannot fit is refused, what may not is
/// warned of.
fn check_space(store: &Store, bytes: u64, report: &dyn Report) -> Result<()> {
    let place = store.path.display();
    let stat =
        statvfs(&store.path).context(|| format!("cannot find out how much space is free in {place}"))?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
    let (need, have) = (bytes.div_ceil(1 << 20), free >> 20);
    if free < bytes {
        let why =
            format!("its layers are {need} MiB, and {have} MiB are free in {place}; nothing was fetched");
        return Err(Error::new(why));
    }
    if free < bytes.saturating_mul(3) {
        let text =
            format!("the layers are {need} MiB packed, and {have} MiB are free in {place}: that may not do");
        report.warning(&text);
    }
    Ok(())
}

fn fetch(
    store: &Store,
    source: &Source,
    descriptor: &Descriptor,
    expected: &Expected,
    report: &dyn Report,
) -> Result<Layer> {
    let tell = |text: &str| report.retrying(text);
    let (layer, left_out) = with_retries(&tell, || {
        let (repo, expected, progress) = (store.repo.clone(), expected.clone(), report.fetching(descriptor));
        source.blob(descriptor, move |blob| layer::import(&repo, blob, &expected, &progress))
    })?;
    report.fetched(descriptor);
    if left_out > 0 {
        report.warning(&format!(
            "left {left_out} devices, fifos or sockets of layer {} out",
            descriptor.digest()
        ));
    }
    Ok(layer)
}

/// Merges layers, and makes that the image called `name`.
pub fn commit(store: &Store, name: &str, metadata: &Variant, layers: &[Layer]) -> Result<()> {
    let what = || "cannot write the image".to_string();
    commit::publish(&store.repo, &reference::image_ref(name), || {
        let root = commit::write_tree(&store.repo, &tree::merge(&store.repo, layers)?)?;
        Ok(Content { root, metadata: metadata.clone(), more: () })
    })
    .context(what)?;
    Ok(())
}
