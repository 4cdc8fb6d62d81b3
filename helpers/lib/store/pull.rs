//! A pull: from a source to an image in the store.
//!
//! Layers come first, each as a commit with a ref of its own; then the merged tree and the image's ref. If this is
//! killed in between, the store has layers that the next pull uses, but never half an image.

use nix::sys::statvfs::statvfs;
use oci_spec::image::Descriptor;

use super::access::Access;
use super::expected::{self, Expected};
use super::image;
use super::layer::{self, Import};
use super::merge::StoredLayer;
use super::policy::SignaturePolicy;
use super::reference::Reference;
use super::repository::Store;
use super::retry::with_retries;
use super::source::{self, FetchedManifest, ImageSource};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::provenance::Provenance;

/// Receives the progress of a pull.
pub trait PullObserver {
    /// A layer is in the store already.
    fn present(&self, layer: &Descriptor);
    /// A layer is being fetched, perhaps not for the first time. The returned function is called with the size of every
    /// read.
    fn fetching(&self, layer: &Descriptor) -> Box<dyn Fn(u64) + Send>;
    /// A layer was fetched completely.
    fn fetched(&self, layer: &Descriptor);
    /// Something failed and will be tried again.
    fn retrying(&self, text: &str);
    /// Something is wrong, but the pull continues.
    fn warning(&self, text: &str);
}

/// The result of a pull.
pub struct Pulled {
    /// The image in the store.
    pub image: Image,
    /// Whether the store had no image, or another one, under this name.
    pub changed: bool,
    /// How many layers were fetched.
    pub fetched: usize,
    /// How many layers were in the store already.
    pub reused: usize,
    /// Size of the fetched blobs in bytes.
    pub bytes: u64,
}

/// Pulls an image. What is in the store already is not fetched.
pub fn pull(
    store: &Store,
    reference: &Reference,
    access: &Access,
    observer: &dyn PullObserver,
) -> Result<Pulled> {
    let name = reference.name()?;
    let what = || format!("cannot pull {name}");
    let _lock = store.lock_shared().context(what)?;
    Pull::new(store, reference, access, observer, &name).and_then(|pull| pull.run()).context(what)
}

/// Fetches an image as [`pull`] does and examines it, without making it the one of its name. What was fetched is there
/// for the next pull.
pub fn look_at<T>(
    store: &Store,
    reference: &Reference,
    access: &Access,
    observer: &dyn PullObserver,
    examine: impl FnOnce(&Image) -> Result<T>,
) -> Result<T> {
    let name = reference.name()?;
    let what = || format!("cannot look at {name}");
    let _lock = store.lock_shared().context(what)?;
    let pull = Pull::new(store, reference, access, observer, &name).context(what)?;
    let (source, manifest) = pull.open().context(what)?;
    let image = pull.import(&source, &manifest, image::write_nameless).context(what)?.image;
    let examined = examine(&image);
    image::forget(store, &image);
    examined
}

/// Fetches the digest that an image has at its source now. Nothing but its manifest is fetched.
pub fn peek(reference: &Reference, access: &Access, observer: &dyn PullObserver) -> Result<Digest> {
    with_retries(&|text| observer.retrying(text), || source::peek(reference, access))
        .context(|| format!("cannot look for {}", reference.location()))
}

/// A pull that is under way.
struct Pull<'a> {
    store: &'a Store,
    reference: &'a Reference,
    access: &'a Access,
    observer: &'a dyn PullObserver,
    /// The image's name in the store.
    name: &'a str,
    /// What it is called.
    title: String,
    provenance: Provenance,
    policy: SignaturePolicy,
    /// Fingerprint of the policy.
    fingerprint: String,
}

/// Writes an image of merged layers.
type Write = fn(&Store, &str, &image::Description, &[StoredLayer]) -> Result<Image>;

impl<'a> Pull<'a> {
    fn new(
        store: &'a Store,
        reference: &'a Reference,
        access: &'a Access,
        observer: &'a dyn PullObserver,
        name: &'a str,
    ) -> Result<Pull<'a>> {
        let policy = SignaturePolicy::find(access);
        let fingerprint = policy.fingerprint().unwrap_or_default();
        let title = reference.title()?;
        let provenance = reference.provenance(access.architecture(), Some(policy.scope(reference)))?;
        Ok(Pull { store, reference, access, observer, name, title, provenance, policy, fingerprint })
    }

    fn run(&self) -> Result<Pulled> {
        // An image that cannot be read is replaced.
        let existing = image::load(&self.store.repo, self.name).ok().flatten();
        let existing = existing.filter(|image| image.provenance.is_same(&self.provenance));
        if let Some(image) = &existing {
            if self.is_known_to_be_current(image)? {
                return self.unchanged(image.clone());
            }
        }
        let (source, manifest) = self.open()?;
        match existing.filter(|image| image.digest == manifest.digest) {
            Some(image) => {
                self.record_policy(&image)?;
                self.unchanged(image)
            }
            None => self.import(&source, &manifest, image::write),
        }
    }

    /// Whether an image is the same as at its source, and was allowed by the same policy. This is only checked to avoid
    /// a copy, which is needed to enforce a policy.
    fn is_known_to_be_current(&self, image: &Image) -> Result<bool> {
        if !source::needs_copy(self.reference, &self.policy)
            || image::policy(&self.store.repo, image)?.as_ref() != Some(&self.fingerprint)
        {
            return Ok(false);
        }
        let digest = self.with_retries(|| source::peek(self.reference, self.access))?;
        Ok(digest == image.digest)
    }

    fn unchanged(&self, image: Image) -> Result<Pulled> {
        image::touch(self.store, self.name)?;
        let manifest: serde_json::Value = serde_json::from_str(&image.manifest).unwrap_or_default();
        let reused = manifest["layers"].as_array().map_or(0, Vec::len);
        Ok(Pulled { image, changed: false, fetched: 0, reused, bytes: 0 })
    }

    fn open(&self) -> Result<(ImageSource, FetchedManifest)> {
        self.with_retries(|| {
            let temporary = self.store.temporary_directory();
            let source = ImageSource::open(self.reference, self.access, &self.policy, &temporary)?;
            source.manifest().map(|manifest| (source, manifest))
        })
    }

    fn import(&self, source: &ImageSource, manifest: &FetchedManifest, write: Write) -> Result<Pulled> {
        let config = self.with_retries(|| source.config())?;
        let text = self.with_retries(|| source.original_text(manifest))?;
        let expected = expected::layers(&manifest.oci, &config)?;
        let present = expected.iter().map(|(_, expected)| layer::find(&self.store.repo, expected));
        let present: Vec<Option<StoredLayer>> = present.collect::<Result<_>>()?;
        let missing = expected.iter().zip(&present).filter(|(_, layer)| layer.is_none());
        let bytes = missing.map(|((descriptor, _), _)| descriptor.size()).sum();
        self.check_space(bytes)?;
        let reused = present.iter().flatten().count();
        let mut layers = Vec::new();
        for ((descriptor, expected), layer) in expected.iter().zip(present) {
            layers.push(match layer {
                Some(layer) => {
                    self.observer.present(descriptor);
                    layer
                }
                None => self.fetch(source, descriptor, expected)?,
            });
        }
        let description = image::Description {
            digest: &manifest.digest,
            manifest: &text,
            config: &config,
            provenance: &self.provenance,
            title: &self.title,
        };
        let image = write(self.store, self.name, &description, &layers)?;
        self.record_policy(&image)?;
        Ok(Pulled { image, changed: true, fetched: layers.len() - reused, reused, bytes })
    }

    /// Refuses layers that cannot fit on the disk, and warns about those that may not. Their unpacked size is not
    /// known.
    fn check_space(&self, bytes: u64) -> Result<()> {
        let place = self.store.path.display();
        let stat = statvfs(&self.store.path);
        let stat = stat.context(|| format!("cannot find out how much space is free in {place}"))?;
        let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
        let (need, have) = (bytes.div_ceil(1 << 20), free >> 20);
        if free < bytes {
            let why =
                format!("its layers are {need} MiB, and {have} MiB are free in {place}; nothing was fetched");
            return Err(Error::new(why));
        }
        if free < bytes.saturating_mul(3) {
            self.observer.warning(&format!(
                "the layers are {need} MiB packed, and {have} MiB are free in {place}: this may not be enough"
            ));
        }
        Ok(())
    }

    fn fetch(
        &self,
        source: &ImageSource,
        descriptor: &Descriptor,
        expected: &Expected,
    ) -> Result<StoredLayer> {
        let Import { layer, skipped } = self.with_retries(|| {
            let (repo, expected) = (self.store.repo.clone(), expected.clone());
            let on_read = self.observer.fetching(descriptor);
            source.blob(descriptor, move |blob| layer::import(&repo, blob, &expected, &on_read))
        })?;
        self.observer.fetched(descriptor);
        if skipped > 0 {
            self.observer.warning(&format!(
                "skipped {skipped} device nodes, FIFOs or sockets of layer {}",
                descriptor.digest()
            ));
        }
        Ok(layer)
    }

    fn record_policy(&self, image: &Image) -> Result<()> {
        let (signer, scope) = (self.policy.signer(self.reference), self.policy.scope(self.reference));
        let judgement =
            image::Judgement { policy: &self.fingerprint, scope: &scope, signer: signer.as_deref() };
        image::set_policy(&self.store.repo, image, &judgement)
    }

    fn with_retries<T>(&self, attempt: impl FnMut() -> Result<T>) -> Result<T> {
        with_retries(&|text| self.observer.retrying(text), attempt)
    }
}
