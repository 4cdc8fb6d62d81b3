//! Fetching from a source through skopeo's image proxy. The only asynchronous code: one thread, and one for the consumer.
//!
//! skopeo speaks to registries and reads archives, with policy, credentials, mirrors and proxies as its own configuration
//! says.

use std::fmt::Display;
use std::io::Read;
use std::process::Command;

use containers_image_proxy::{ImageProxy, ImageProxyConfig, OpenedImage};
use oci_spec::image::{Descriptor, ImageManifest};
use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};
use tokio_util::io::SyncIoBridge;

use super::reference::Reference;
use super::tree;
use crate::error::{Context, Error, Result};
use crate::systemd;

const SKOPEO: &str = "skopeo";

/// An open image at its source.
pub struct Source {
    // Dropped in this order: the runtime waits for skopeo, which waits for the proxy's socket to be closed.
    proxy: ImageProxy,
    image: OpenedImage,
    reference: Reference,
    runtime: Runtime,
}

/// An image's manifest.
pub struct Manifest {
    /// Its digest as the source served it.
    pub digest: String,
    /// As the source served it.
    pub raw: String,
    /// In OCI form, whatever it was.
    pub oci: ImageManifest,
}

impl Source {
    /// Opens an image; the source is asked for its manifest.
    pub fn open(reference: &Reference) -> Result<Source> {
        let what = || format!("cannot open {}", reference.to_skopeo());
        let runtime = Builder::new_current_thread().enable_all().build().context(what)?;
        let config = ImageProxyConfig::default();
        let proxy = runtime.block_on(ImageProxy::new_with_config(config)).map_err(started).context(what)?;
        let image =
            runtime.block_on(proxy.open_image(&reference.to_skopeo())).map_err(cleaned).context(what)?;
        Ok(Source { proxy, image, reference: reference.clone(), runtime })
    }

    /// Fetches the manifest.
    pub fn manifest(&self) -> Result<Manifest> {
        let what = || format!("cannot fetch the manifest of {}", self.reference.to_skopeo());
        let fetched = self.runtime.block_on(self.proxy.fetch_manifest_raw_oci(&self.image));
        let (digest, converted) = fetched.map_err(cleaned).context(what)?;
        let oci = serde_json::from_slice(&converted).context(what)?;
        let raw = if digest == sha256(&converted) {
            converted
        } else {
            self.unconverted(&digest).unwrap_or(converted)
        };
        let raw = String::from_utf8(raw).context(what)?;
        Ok(Manifest { digest, raw, oci })
    }

    /// The proxy converts manifests to OCI; what a registry signed and what digests name is the original.
    fn unconverted(&self, digest: &str) -> Option<Vec<u8>> {
        let Reference::Registry { name } = &self.reference else { return None };
        let repository = name.split('@').next().unwrap_or(name);
        let repository = match repository.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => repository,
        };
        let source = format!("docker://{repository}@{digest}");
        let raw = systemd::output(Command::new(SKOPEO).args(["inspect", "--raw", &source])).ok()?;
        (sha256(&raw) == digest).then_some(raw)
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

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", tree::hex(&Sha256::digest(bytes)))
}
