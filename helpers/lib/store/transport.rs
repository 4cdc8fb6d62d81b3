//! Fetching from a source through skopeo's image proxy. The only asynchronous code: one thread, and one for the consumer.
//!
//! skopeo speaks to registries and reads archives, with credentials, mirrors and proxies as its own configuration says.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use containers_image_proxy::{ImageProxy, OpenedImage};
use oci_spec::image::{Descriptor, ImageManifest};
use tokio::runtime::{Builder, Runtime};
use tokio_util::io::SyncIoBridge;

use super::access::{Access, SKOPEO};
use super::engine;
use super::policy::Policy;
use super::reference::{Reference, Transport};
use super::staging::Staging;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::system::command;

/// An open image at its source.
pub struct Source {
    // Dropped in this order: the runtime waits for skopeo, which waits for the proxy's socket to be closed.
    proxy: ImageProxy,
    image: OpenedImage,
    reference: Reference,
    access: Access,
    runtime: Runtime,
    /// What a copy is of.
    original: Option<Reference>,
    _staging: Option<Staging>,
}

/// An image's manifest.
pub struct Manifest {
    /// Its digest as the source served it.
    pub digest: Digest,
    /// In OCI form, whatever it was.
    pub oci: ImageManifest,
    /// The text of either form.
    text: Vec<u8>,
}

impl Source {
    /// Opens an image under a policy; the source is asked for its manifest. Copies are made below `temporary`, if they have to
    /// be.
    pub fn open(reference: &Reference, access: &Access, policy: &Policy, temporary: &Path) -> Result<Source> {
        let by_digest = reference.transport() == Transport::Daemon && reference.has_digest();
        let reference = &match by_digest {
            true => Reference::of_engine(&engine::image_id(reference.location())?),
            false => reference.clone(),
        };
        if !needs_copy(reference, policy) {
            return Source::connect(reference, access, None);
        }
        let staging = Staging::copy(reference, access, policy, temporary)?;
        let copy = staging.reference();
        // The policy was for the original, and may know nothing of copies.
        let source = Source::connect(&copy, &Access::default(), Some(staging))?;
        Ok(Source { original: Some(reference.clone()), ..source })
    }

    fn connect(reference: &Reference, access: &Access, staging: Option<Staging>) -> Result<Source> {
        let what = || format!("cannot open {}", reference.to_skopeo());
        let runtime = Builder::new_current_thread().enable_all().build().context(what)?;
        let proxy =
            runtime.block_on(ImageProxy::new_with_config(access.proxy())).map_err(started).context(what)?;
        let image =
            runtime.block_on(proxy.open_image(&reference.to_skopeo())).map_err(cleaned).context(what)?;
        let (reference, access) = (reference.clone(), access.clone());
        Ok(Source { proxy, image, reference, access, runtime, original: None, _staging: staging })
    }

    /// Fetches the manifest.
    pub fn manifest(&self) -> Result<Manifest> {
        let what = || format!("cannot fetch the manifest of {}", self.reference.to_skopeo());
        let fetched = self.runtime.block_on(self.proxy.fetch_manifest_raw_oci(&self.image));
        let (digest, converted) = fetched.map_err(cleaned).context(what)?;
        let oci = serde_json::from_slice(&converted).context(what)?;
        let stored = self.original.as_ref().filter(|original| original.transport() == Transport::Storage);
        Ok(match stored {
            // The copy's manifest names other blobs.
            Some(original) => {
                let text = inspect(original, &self.access).context(what)?;
                Manifest { digest: Digest::of(&text), oci, text }
            }
            None => Manifest { digest: digest.parse().context(what)?, oci, text: converted },
        })
    }

    /// The manifest's text as the source served it, which is another request if it was converted. The proxy converts to OCI;
    /// what a registry signed and what digests name is the original.
    pub fn original(&self, manifest: &Manifest) -> Result<String> {
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
        String::from_utf8(config.map_err(cleaned).context(what)?).context(what)
    }

    /// Streams a blob into `consume`, which runs beside.
    pub fn blob<T: Send>(
        &self,
        descriptor: &Descriptor,
        consume: impl FnOnce(Box<dyn Read + Send>) -> Result<T> + Send,
    ) -> Result<T> {
        let what = || format!("cannot fetch {} of {}", descriptor.digest(), self.reference.to_skopeo());
        let opened =
            self.runtime.block_on(self.proxy.get_blob(&self.image, descriptor.digest(), descriptor.size()));
        let (reader, driver) = opened.map_err(cleaned).context(what)?;
        let handle = self.runtime.handle().clone();
        std::thread::scope(|scope| {
            let consumer =
                scope.spawn(move || consume(Box::new(SyncIoBridge::new_with_handle(reader, handle))));
            let driven = self.runtime.block_on(driver).map_err(cleaned);
            let consumed = consumer.join().unwrap_or_else(|_| Err(Error::new("the import panicked")));
            match (consumed, driven) {
                (consumed, Ok(())) => consumed,
                // The consumer went away first, and knows why.
                (Err(e), Err(broken)) if is_broken_pipe(&broken) => Err(e),
                (_, Err(e)) => Err(e).context(what),
            }
        })
    }
}

/// Whether skopeo has to copy an image before anything is taken of it.
pub fn needs_copy(reference: &Reference, policy: &Policy) -> bool {
    // Layers in storage have lost the form that the manifest names, and the proxy knows no other.
    policy.demands(reference.transport()) || reference.transport() == Transport::Storage
}

/// The digest of an image's manifest, of which nothing else is taken: no policy was asked.
pub fn peek(reference: &Reference, access: &Access) -> Result<Digest> {
    if reference.transport() == Transport::Storage {
        return Ok(Digest::of(&inspect(reference, access)?));
    }
    Ok(Source::connect(reference, access, None)?.manifest()?.digest)
}

/// The manifest as it is at its source.
fn inspect(reference: &Reference, access: &Access) -> Result<Vec<u8>> {
    command::output(access.verb("inspect", "").arg("--raw").arg(reference.to_skopeo()))
}

fn is_broken_pipe(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("broken pipe") || text.contains("epipe")
}

fn started(error: containers_image_proxy::Error) -> Error {
    match error {
        containers_image_proxy::Error::SkopeoSpawnError(e) => {
            Error::new(format!("cannot run {SKOPEO}: {e}; install the package skopeo"))
        }
        other => cleaned(other),
    }
}

/// What skopeo said, without what its protocol says around it.
fn cleaned(error: impl Display) -> Error {
    let text = error.to_string();
    let mut text = text.trim();
    for prefix in ["failed to invoke method ", "proxy request returned error: ", "remote error: "] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    for method in ["OpenImage: ", "GetManifest: ", "GetFullConfig: ", "GetBlob: ", "FinishPipe: "] {
        text = text.strip_prefix(method).unwrap_or(text);
    }
    Error::new(text)
}

/// The message of skopeo's last line on stderr, which is logfmt: `time=… level=fatal msg="…"`.
pub fn message(stderr: &str) -> String {
    let line = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    let Some((_, quoted)) = line.split_once("msg=") else { return line.trim().to_owned() };
    // Go quotes as JSON does, but for what is not printable, which the log replaces anyway.
    serde_json::from_str::<String>(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_skopeo() {
        for (stderr, text) in [
            ("a\ntime=\"2026\" level=fatal msg=\"x \\\"y\\\": z\"\n", "x \"y\": z"),
            ("level=fatal msg=word\n", "word"),
            ("plain\n\n", "plain"),
            ("", "it failed without a word"),
        ] {
            assert_eq!(message(stderr), text);
        }
    }
}
