//! Fetching images from their sources, through skopeo's image proxy. This is the only asynchronous code: one thread, and one
//! for whoever consumes a blob.
//!
//! skopeo speaks to registries and reads archives, with credentials, mirrors and proxies as its own configuration says.

use std::io::Read;
use std::path::Path;

use containers_image_proxy::{ImageProxy, OpenedImage};
use oci_spec::image::{Descriptor, ImageManifest};
use tokio::runtime::{Builder, Runtime};
use tokio_util::io::SyncIoBridge;

use super::access::{self, Access};
use super::engine;
use super::failure::{Failure, Reason};
use super::policy::SignaturePolicy;
use super::reference::Reference;
use super::staging::Staging;
use super::transports::{Digests, Layers};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// An open image at its source.
pub struct ImageSource {
    // Dropped in this order: the runtime waits for skopeo, which waits for the proxy's socket to be closed.
    proxy: ImageProxy,
    image: OpenedImage,
    reference: Reference,
    access: Access,
    runtime: Runtime,
    /// The reference that a copy was made of.
    original: Option<Reference>,
    _staging: Option<Staging>,
}

/// The manifest of an image at its source.
pub struct FetchedManifest {
    /// Its digest as the source serves it.
    pub digest: Digest,
    /// Its content, converted to OCI's form.
    pub oci: ImageManifest,
    /// Its text in either form.
    text: Vec<u8>,
}

impl ImageSource {
    /// Opens an image under a policy. If a copy is needed, it is made in the directory `temporary`.
    pub fn open(
        reference: &Reference,
        access: &Access,
        policy: &SignaturePolicy,
        temporary: &Path,
    ) -> Result<ImageSource> {
        let reference = &resolve(reference)?;
        if !needs_copy(reference, policy) {
            return ImageSource::connect(reference, access, None);
        }
        let staging = Staging::copy(reference, access, policy, temporary)?;
        let copy = staging.reference();
        // The policy was for the original, and may know nothing of copies.
        let source = ImageSource::connect(&copy, &Access::default(), Some(staging))?;
        Ok(ImageSource { original: Some(reference.clone()), ..source })
    }

    fn connect(reference: &Reference, access: &Access, staging: Option<Staging>) -> Result<ImageSource> {
        let what = || format!("cannot open {}", reference.to_skopeo());
        let runtime = Builder::new_current_thread().enable_all().build().context(what)?;
        let proxy = runtime.block_on(ImageProxy::new_with_config(access.proxy()));
        let proxy = proxy.map_err(Failure::from).context(what)?;
        let image = runtime.block_on(proxy.open_image(&reference.to_skopeo()));
        let image = image.map_err(Failure::from).context(what)?;
        let (reference, access) = (reference.clone(), access.clone());
        Ok(ImageSource { proxy, image, reference, access, runtime, original: None, _staging: staging })
    }

    /// Fetches the manifest.
    pub fn manifest(&self) -> Result<FetchedManifest> {
        let what = || format!("cannot fetch the manifest of {}", self.reference.to_skopeo());
        let fetched = self.runtime.block_on(self.proxy.fetch_manifest_raw_oci(&self.image));
        let (digest, converted) = fetched.map_err(Failure::from).context(what)?;
        let oci = serde_json::from_slice(&converted).context(what)?;
        if let Some(original) = &self.original {
            match original.transport().layers {
                Layers::Original => {}
                // The manifest of the copy names other blobs.
                Layers::Unpacked => {
                    let text = inspect(original, &self.access).context(what)?;
                    return Ok(FetchedManifest { digest: Digest::of(&text), oci, text });
                }
            }
        }
        Ok(FetchedManifest { digest: digest.parse().context(what)?, oci, text: converted })
    }

    /// Returns the manifest's text as the source serves it. The proxy converts to OCI's form, but what a registry signed and
    /// what digests name is the original, which takes another request.
    pub fn original_text(&self, manifest: &FetchedManifest) -> Result<String> {
        let what = || format!("cannot fetch the manifest of {}", self.reference.to_skopeo());
        let mut text = manifest.text.clone();
        if manifest.digest != Digest::of(&text) {
            let digest = &manifest.digest;
            let reference = self.reference.with_digest(digest).unwrap_or_else(|| self.reference.clone());
            text = inspect(&reference, &self.access).context(what)?;
        }
        String::from_utf8(text).context(what)
    }

    /// Fetches the image's configuration, raw JSON.
    pub fn config(&self) -> Result<String> {
        let what = || format!("cannot fetch the configuration of {}", self.reference.to_skopeo());
        let config = self.runtime.block_on(self.proxy.fetch_config_raw(&self.image));
        String::from_utf8(config.map_err(Failure::from).context(what)?).context(what)
    }

    /// Streams a blob to `consume`, which runs in a thread of its own.
    pub fn blob<T: Send>(
        &self,
        descriptor: &Descriptor,
        consume: impl FnOnce(Box<dyn Read + Send>) -> Result<T> + Send,
    ) -> Result<T> {
        let what = || format!("cannot fetch {} of {}", descriptor.digest(), self.reference.to_skopeo());
        let opened =
            self.runtime.block_on(self.proxy.get_blob(&self.image, descriptor.digest(), descriptor.size()));
        let (reader, driver) = opened.map_err(Failure::from).context(what)?;
        let handle = self.runtime.handle().clone();
        std::thread::scope(|scope| {
            let consumer =
                scope.spawn(move || consume(Box::new(SyncIoBridge::new_with_handle(reader, handle))));
            let driven = self.runtime.block_on(driver).map_err(Failure::from);
            let consumed = consumer.join().unwrap_or_else(|_| Err(Error::new("the import panicked")));
            match (consumed, driven) {
                (consumed, Ok(())) => consumed,
                // The consumer stopped reading, and knows why.
                (Err(e), Err(failure)) if failure.reason() == Reason::BrokenPipe => Err(e),
                (_, Err(failure)) => Err(failure).context(what),
            }
        })
    }
}

/// The reference that skopeo can open.
fn resolve(reference: &Reference) -> Result<Reference> {
    match reference.transport().digests {
        Digests::AskEngine if reference.has_digest() => {
            Ok(Reference::of_engine(&engine::image_id(reference.location())?))
        }
        Digests::AskEngine | Digests::Served | Digests::LookedUp | Digests::None => Ok(reference.clone()),
    }
}

/// Whether skopeo has to copy an image before anything of it is used.
pub fn needs_copy(reference: &Reference, policy: &SignaturePolicy) -> bool {
    match reference.transport().layers {
        Layers::Original => policy.demands(reference.transport()),
        Layers::Unpacked => true,
    }
}

/// Fetches the digest of an image's manifest. The policy is not asked: nothing else of the image is used.
pub fn peek(reference: &Reference, access: &Access) -> Result<Digest> {
    match reference.transport().layers {
        Layers::Original => Ok(ImageSource::connect(reference, access, None)?.manifest()?.digest),
        Layers::Unpacked => Ok(Digest::of(&inspect(reference, access)?)),
    }
}

/// Fetches the manifest as it is at its source.
fn inspect(reference: &Reference, access: &Access) -> Result<Vec<u8>> {
    let output = access::output(access.verb("inspect", "").arg("--raw").arg(reference.to_skopeo()));
    output.context(|| format!("cannot inspect {}", reference.to_skopeo()))
}
