//! A pull: from a source to an image in the store.
//!
//! Layers come first, each as a commit with a ref of its own; then the merged tree and the image's ref. If this is
//! killed in between, the store has layers that the next pull uses, but never half an image.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use oci_spec::image::Descriptor;

use super::access::Access;
use super::expected::{self, Expected};
use super::image;
use super::integrity;
use super::layer::{self, Import, StoredLayer};
use super::policy::SignaturePolicy;
use super::reference::Reference;
use super::refs;
use super::replaced::Replaced;
use super::repository::Store;
use super::retry::Retries;
use super::source::{self, FetchedManifest, ImageSource, Means, Prospect};
use super::space::{self, Space};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::platform;
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
    /// skopeo is copying an image, and so many bytes of it are there.
    fn copying(&self, bytes: u64);
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
    let what = || format!("cannot examine {name}");
    let pull = Pull::new(store, reference, access, observer, &name).context(what)?;
    let prospect = pull.prospect().context(what)?;
    let _lock = store.lock_shared().context(what)?;
    pull.check_prospect(prospect.as_ref()).context(what)?;
    let (source, manifest) = pull.open(prospect.as_ref()).context(what)?;
    let image = pull.import(&source, &manifest, image::write_nameless).context(what)?.image;
    let examined = examine(&image);
    image::forget(store, &image);
    examined
}

/// Fetches the digest that an image has at its source now. Nothing but its manifest is fetched.
pub fn peek(reference: &Reference, access: &Access, observer: &dyn PullObserver) -> Result<Digest> {
    let place = access.place(reference)?;
    let prospect = Retries::default().run(&|text| observer.retrying(text), || source::peek(&place, access));
    let prospect = prospect.map_err(|e| place.explain(e));
    Ok(prospect.context(|| format!("cannot look for {}", reference.location()))?.digest)
}

/// Fetches layers of an image again, as it is in the store, and replaces what is damaged in them. The caller has locked the store.
pub fn fetch_again(
    store: &Store,
    image: &Image,
    layers: &BTreeSet<Digest>,
    replaced: &Arc<Replaced>,
    (access, observer): (&Access, &dyn PullObserver),
) -> Result<()> {
    let reference: Reference = image.provenance.source.parse()?;
    // What the name stands for by now may be another image.
    let exact = reference.with_digest(&image.digest).unwrap_or(reference);
    let mut pull = Pull::new(store, &exact, access, observer, &image.name)?;
    pull.replaced = replaced.clone();
    let (source, manifest) = pull.open(None)?;
    if manifest.digest != image.digest {
        let (now, before) = (&manifest.digest, &image.digest);
        return Err(Error::new(format!("{} has {now} by now, not {before}", exact.to_skopeo())));
    }
    let text = pull.with_retries(|| source.original_text(&manifest))?;
    let config = pull.with_retries(|| source.config(&manifest, &text))?;
    let expected = expected::layers(&manifest.oci, &config)?;
    for (descriptor, expected) in expected.iter().filter(|(_, expected)| layers.contains(&expected.digest)) {
        pull.fetch(&source, descriptor, expected)?;
    }
    Ok(())
}

/// A pull that is in progress.
struct Pull<'a> {
    store: &'a Store,
    /// Where it is opened.
    place: Reference,
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
    space: Space,
    retries: Retries,
    /// Objects that are damaged, and written again.
    replaced: Arc<Replaced>,
}

/// Writes an image of the layers in these commits.
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
        let place = access.place(reference)?;
        let title = reference.title(&place)?;
        let provenance = reference.provenance(access.architecture(), Some(policy.scope(reference)))?;
        let (space, retries) = (space::of(&store.repo)?, Retries::default());
        if let Some(host) = &store.host {
            host.allow_links();
        }
        Ok(Pull {
            store,
            place,
            access,
            observer,
            name,
            title,
            provenance,
            policy,
            fingerprint,
            space,
            retries,
            replaced: Arc::default(),
        })
    }

    fn run(&self) -> Result<Pulled> {
        // Without the lock, as far as nothing is written, so that a prune need not wait for a slow source.
        let prospect = self.prospect()?;
        let writes = source::writes(&self.place, &self.policy);
        let opened = if writes { None } else { Some(self.open(None)?) };
        let _lock = self.store.lock_shared()?;
        // An image that cannot be read is replaced.
        let existing = image::load(&self.store.repo, self.name).ok().flatten();
        let existing = existing.filter(|image| image.provenance.is_same(&self.provenance));
        // One that Atomic pulled is pulled again.
        let has_times = |image: &Image| image::has_times(&self.store.repo, image).unwrap_or(false);
        let existing = existing.filter(has_times);
        // Of one that is damaged, what is missing is pulled again.
        let existing = existing.filter(|image| self.is_whole(image));
        if let (Some(image), Some(prospect)) = (&existing, &prospect) {
            if self.is_known_to_be_current(image, prospect)? {
                return self.unchanged(image.clone());
            }
        }
        self.check_prospect(prospect.as_ref())?;
        let (source, manifest) = match opened {
            Some(opened) => opened,
            None => self.open(prospect.as_ref())?,
        };
        match existing.filter(|image| image.digest == manifest.digest) {
            Some(image) => {
                self.record_policy(&image)?;
                self.unchanged(image)
            }
            None => self.import(&source, &manifest, image::write),
        }
    }

    /// What the source has now, if a copy is going to be made of it, which may turn out not to be needed.
    fn prospect(&self) -> Result<Option<Prospect>> {
        let is_useful = || {
            // An archive is unpacked as a whole for it.
            !source::is_unpacked_by_skopeo(&self.place)
                || image::load(&self.store.repo, self.name).is_ok_and(|image| image.is_some())
        };
        if !source::needs_copy(&self.place, &self.policy) || !is_useful() {
            return Ok(None);
        }
        self.with_retries(|| source::peek(&self.place, self.access)).map(Some)
    }

    /// Refuses what is too large before a copy of it is made.
    fn check_prospect(&self, prospect: Option<&Prospect>) -> Result<()> {
        if let Some(manifest) = prospect.and_then(|prospect| prospect.manifest.as_ref()) {
            expected::check_manifest(manifest)?;
            self.check_space(expected::size(manifest.layers()))?;
        }
        Ok(())
    }

    /// Whether an image is the same as at its source, and was allowed by the same policy. This is only checked to avoid
    /// a copy, which is needed to enforce a policy.
    fn is_known_to_be_current(&self, image: &Image, prospect: &Prospect) -> Result<bool> {
        let policy = image::policy(&self.store.repo, image)?;
        Ok(policy.as_ref() == Some(&self.fingerprint) && prospect.digest == image.digest)
    }

    fn unchanged(&self, image: Image) -> Result<Pulled> {
        image::touch(self.store, self.name)?;
        let manifest: serde_json::Value = serde_json::from_str(&image.manifest).unwrap_or_default();
        let reused = manifest["layers"].as_array().map_or(0, Vec::len);
        Ok(Pulled { image, changed: false, fetched: 0, reused, bytes: 0 })
    }

    fn open(&self, prospect: Option<&Prospect>) -> Result<(ImageSource, FetchedManifest)> {
        let means = Means {
            access: self.access,
            policy: &self.policy,
            temporary: &self.store.temporary_directory(),
            space: &self.space,
            tell: &|bytes| self.observer.copying(bytes),
        };
        let opened = self.with_retries(|| {
            let source = ImageSource::open(&self.place, &means, prospect)?;
            source.manifest().map(|manifest| (source, manifest))
        });
        opened.map_err(|e| self.place.explain(e))
    }

    fn import(&self, source: &ImageSource, manifest: &FetchedManifest, write: Write) -> Result<Pulled> {
        expected::check_manifest(&manifest.oci)?;
        let text = self.with_retries(|| source.original_text(manifest))?;
        let config = self.with_retries(|| source.config(manifest, &text))?;
        platform::check(&config, self.access.architecture())?;
        let expected = expected::layers(&manifest.oci, &config)?;
        let present = expected.iter().map(|(_, expected)| self.find(expected));
        let present: Vec<Option<StoredLayer>> = present.collect::<Result<_>>()?;
        let missing = expected.iter().zip(&present).filter(|(_, layer)| layer.is_none());
        let bytes = expected::size(missing.map(|((descriptor, _), _)| *descriptor));
        self.warn_about_space(bytes, self.check_space(bytes)?);
        let (mut layers, mut fetched) = (Vec::new(), HashMap::new());
        for ((descriptor, expected), layer) in expected.iter().zip(present) {
            // Images may contain a layer several times, mostly an empty one.
            let again = fetched.get(expected).cloned();
            layers.push(match layer.or(again) {
                Some(layer) => {
                    self.observer.present(descriptor);
                    layer
                }
                None => {
                    let layer = self.fetch(source, descriptor, expected)?;
                    fetched.insert(expected, layer.clone());
                    layer
                }
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
        let reused = layers.len() - fetched.len();
        Ok(Pulled { image, changed: true, fetched: fetched.len(), reused, bytes })
    }

    /// Finds a layer in the store. One that Atomic pulled lacks the times of its files, so it is fetched again.
    fn find(&self, expected: &Expected) -> Result<Option<StoredLayer>> {
        let found = layer::find(&self.store.repo, expected).ok().flatten();
        let found = found.filter(|layer| layer.has_times);
        Ok(found.filter(|layer| integrity::are_whole(self.store, [layer.commit.as_str()])))
    }

    /// Whether all objects of an image and of its layers are there: without those of its layers, they are pulled again, and so are
    /// they where they are the image's own.
    fn is_whole(&self, image: &Image) -> bool {
        let layers = image::layer_digests(&image.manifest);
        let layers = layers.iter().map(|digest| self.store.repo.resolve_rev(&refs::layer_ref(digest), true));
        let Some(layers) = layers.map(|layer| layer.ok().flatten()).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let commits = layers.iter().map(|commit| commit.as_str());
        integrity::are_whole(self.store, commits.chain([image.commit.as_str()]))
    }

    /// Refuses layers that cannot fit on the disk, and returns how much can be written to it.
    fn check_space(&self, bytes: u64) -> Result<u64> {
        let (usable, reserve) = self.space.usable()?;
        if usable >= bytes {
            return Ok(usable);
        }
        let (need, have, reserve) = (bytes.div_ceil(1 << 20), usable >> 20, reserve.div_ceil(1 << 20));
        let place = self.store.path.display();
        Err(Error::new(format!(
            "its layers are {need} MiB, and {have} MiB are free in {place} besides {reserve} MiB that stay free; \
             nothing was fetched"
        )))
    }

    /// The unpacked size of layers is not known.
    fn warn_about_space(&self, bytes: u64, usable: u64) {
        if usable < bytes.saturating_mul(3) {
            let (need, have, place) = (bytes.div_ceil(1 << 20), usable >> 20, self.store.path.display());
            self.observer.warning(&format!(
                "the layers are {need} MiB packed, and {have} MiB are free in {place}: this may not be enough"
            ));
        }
    }

    fn fetch(
        &self,
        source: &ImageSource,
        descriptor: &Descriptor,
        expected: &Expected,
    ) -> Result<StoredLayer> {
        let Import { layer, skipped } = self.with_retries(|| {
            let (repo, host, expected) = (self.store.repo.clone(), self.store.host.clone(), expected.clone());
            let (on_read, replaced) = (self.observer.fetching(descriptor), self.replaced.clone());
            source.blob(descriptor, move |blob| {
                layer::import((&repo, host.as_ref()), blob, &expected, &replaced, &on_read)
            })
        })?;
        self.observer.fetched(descriptor);
        if skipped > 0 {
            self.observer
                .warning(&format!("skipped {skipped} device nodes of layer {}", descriptor.digest()));
        }
        Ok(layer)
    }

    fn record_policy(&self, image: &Image) -> Result<()> {
        let (signer, scope) = (self.policy.signer(&self.place), self.policy.scope(&self.place));
        let judgement =
            image::Judgement { policy: &self.fingerprint, scope: &scope, signer: signer.as_deref() };
        image::set_policy(&self.store.repo, image, &judgement)
    }

    fn with_retries<T>(&self, attempt: impl FnMut() -> Result<T>) -> Result<T> {
        self.retries.run(&|text| self.observer.retrying(text), attempt)
    }
}
