//! Fetching images from their sources, through skopeo's image proxy. This is the only asynchronous code: it has one
//! thread, and another one for the consumer of a blob.
//!
//! skopeo talks to registries and reads archives; its own configuration has credentials, mirrors and proxies.

use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::pin;

use containers_image_proxy::{Error as ProxyError, ImageProxy, OpenedImage};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::io::SyncIoBridge;

use super::access::Access;
use super::engine;
use super::expected;
use super::failure::{Failure, Reason};
use super::limits;
use super::pace::Pace;
use super::policy::SignaturePolicy;
use super::reference::Reference;
use super::skopeo::{self, Process, TICK, Watch};
use super::source_files;
use super::space::Space;
use super::staging::Staging;
use super::stream::{Stream, Verdict};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::paths;
use crate::program::transports::{Digests, Layers, Location};

/// What a copy of an image may have besides its layers, in bytes: manifest, configuration, signatures and the like.
const BESIDES: u64 = 32 << 20;

/// An open image at its source.
pub struct ImageSource {
    // Dropped in this order: the runtime waits for skopeo, which is ended before that.
    proxy: ImageProxy,
    image: OpenedImage,
    process: Process,
    reference: Reference,
    access: Access,
    runtime: Runtime,
    /// The reference of the original, if this is a copy.
    original: Option<Reference>,
    staging: Option<Staging>,
}

/// What a source is opened with.
pub struct Means<'a> {
    /// How it is reached.
    pub access: &'a Access,
    /// The policy that images from it have to meet.
    pub policy: &'a SignaturePolicy,
    /// Where temporary files go.
    pub temporary: &'a Path,
    /// The file system of that directory.
    pub space: &'a Space,
    /// Called with the size of a copy, again and again while it is made.
    pub tell: &'a dyn Fn(u64),
}

/// What is known about an image before it is opened under a policy.
pub struct Prospect {
    /// Digest of its manifest.
    pub digest: Digest,
    /// The manifest, if layers are as it names them.
    pub manifest: Option<ImageManifest>,
}

/// The manifest of an image at its source.
pub struct FetchedManifest {
    /// Digest of the manifest as the source serves it.
    pub digest: Digest,
    /// Content of the manifest, converted to OCI's format.
    pub oci: ImageManifest,
    /// Text of the manifest in either format.
    text: Vec<u8>,
}

impl ImageSource {
    /// Opens an image under a policy. If a copy is needed, it is made; `prospect` is the image as it was a moment ago,
    /// which limits the copy's size.
    pub fn open(
        reference: &Reference,
        means: &Means<'_>,
        prospect: Option<&Prospect>,
    ) -> Result<ImageSource> {
        let reference = &resolve(reference)?;
        source_files::check(reference)?;
        let staging = || Staging::new(means.temporary, means.space.clone());
        if reference.is_layout_archive() {
            return ImageSource::unpacked(reference, means.access, means.policy, staging()?, means.tell);
        }
        if !needs_copy(reference, means.policy) {
            let staging = if is_unpacked_by_skopeo(reference) { Some(staging()?) } else { None };
            return ImageSource::connect(reference, means.access, staging, None);
        }
        let staging = staging()?;
        let declared = prospect.and_then(|prospect| prospect.manifest.as_ref());
        let limit =
            declared.map_or(u64::MAX, |manifest| expected::size(manifest.layers()).saturating_add(BESIDES));
        // Archives are unpacked beside the copy.
        let limit = if is_unpacked_by_skopeo(reference) { u64::MAX } else { limit };
        staging.copy(reference, means.access, means.policy, limit, means.tell)?;
        let copy = staging.reference();
        let access = staging.access(means.access)?;
        ImageSource::connect(&copy, &access, Some(staging), Some(reference))
    }

    /// Opens an image in a layout that is unpacked for it.
    fn unpacked(
        reference: &Reference,
        access: &Access,
        policy: &SignaturePolicy,
        staging: Staging,
        tell: &dyn Fn(u64),
    ) -> Result<ImageSource> {
        let layout = staging.unpack(reference, policy, tell)?;
        let access = staging.access(access)?;
        ImageSource::connect(&layout, &access, Some(staging), Some(reference))
    }

    fn connect(
        reference: &Reference,
        access: &Access,
        staging: Option<Staging>,
        original: Option<&Reference>,
    ) -> Result<ImageSource> {
        let what = || format!("cannot open {}", original.unwrap_or(reference).to_skopeo());
        let runtime = Builder::new_current_thread().enable_all().build().context(what)?;
        let temporary = staging.as_ref().map(Staging::temporary);
        let (config, process) = access.proxy(temporary.as_deref()).context(what)?;
        let watch = || Watch::new(access.patience, staging.as_ref().map(|s| s.growth(u64::MAX, &|_| {})));
        let proxy = request(&runtime, &process, watch(), ImageProxy::new_with_config(config));
        let proxy = proxy.context(what)?;
        let image = request(&runtime, &process, watch(), proxy.open_image(&reference.to_skopeo()));
        let image = image.context(what)?;
        let (reference, access, original) = (reference.clone(), access.clone(), original.cloned());
        Ok(ImageSource { proxy, image, process, reference, access, runtime, original, staging })
    }

    /// What the user calls it.
    fn shown(&self) -> String {
        self.original.as_ref().unwrap_or(&self.reference).to_skopeo()
    }

    /// Waits for the answer to a request.
    fn request<T>(&self, answer: impl Future<Output = Result<T, ProxyError>>) -> Result<T, Failure> {
        let growth = self.staging.as_ref().map(|staging| staging.growth(u64::MAX, &|_| {}));
        request(&self.runtime, &self.process, Watch::new(self.access.patience, growth), answer)
    }

    /// Fetches the manifest.
    pub fn manifest(&self) -> Result<FetchedManifest> {
        let what = || format!("cannot fetch the manifest of {}", self.shown());
        let fetched = self.request(self.proxy.fetch_manifest_raw_oci(&self.image));
        let (digest, converted) = fetched.context(what)?;
        check_document(&converted).context(what)?;
        let oci = serde_json::from_slice(&converted).context(what)?;
        if let Some(original) = &self.original {
            match original.transport().layers {
                Layers::Original => {}
                // The manifest of the copy names other blobs.
                Layers::Unpacked => {
                    let text = self.inspect(original).context(what)?;
                    return Ok(FetchedManifest { digest: Digest::of(&text), oci, text });
                }
            }
        }
        Ok(FetchedManifest { digest: digest.parse().context(what)?, oci, text: converted })
    }

    /// Returns the manifest's text as the source serves it. The proxy converts manifests to OCI's format, but
    /// signatures and digests are about the original, which takes another request.
    pub fn original_text(&self, manifest: &FetchedManifest) -> Result<String> {
        let what = || format!("cannot fetch the manifest of {}", self.shown());
        let mut text = manifest.text.clone();
        if manifest.digest != Digest::of(&text) {
            let digest = &manifest.digest;
            let reference = self.reference.with_digest(digest).unwrap_or_else(|| self.reference.clone());
            text = self.inspect(&reference).context(what)?;
        }
        String::from_utf8(text).context(what)
    }

    /// Fetches the image's configuration, raw JSON, as the source serves it; `text` is the manifest's. The proxy would
    /// leave out what OCI's format does not know, such as health checks.
    pub fn config(&self, manifest: &FetchedManifest, text: &str) -> Result<String> {
        let what = || format!("cannot fetch the configuration of {}", self.shown());
        let is_same = |descriptor: &Descriptor| descriptor.digest() == manifest.oci.config().digest();
        let mut config = match (config_descriptor(text), &self.original) {
            (Some(served), original) if original.is_none() || is_same(&served) => self.document(&served)?,
            (Some(served), Some(original)) if original.transport().digests == Digests::Served => {
                let exact = original.with_digest(&manifest.digest).unwrap_or_else(|| original.clone());
                let config = self.inspect_config(&exact).context(what)?;
                check_digest(&config, &served).context(what)?;
                config
            }
            _ => self.request(self.proxy.fetch_config_raw(&self.image)).context(what)?,
        };
        check_document(&config).context(what)?;
        if serde_json::from_slice::<ImageConfiguration>(&config).is_err() {
            // Converted, it has everything that the format demands.
            config = self.request(self.proxy.fetch_config_raw(&self.image)).context(what)?;
            check_document(&config).context(what)?;
        }
        String::from_utf8(config).context(what)
    }

    /// Fetches a blob of moderate size.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let content = self.blob(descriptor, |blob| {
            let mut content = Vec::new();
            blob.take(limits::DOCUMENT + 1).read_to_end(&mut content).context(|| "cannot read it".into())?;
            check_document(&content)?;
            Ok(content)
        })?;
        check_digest(&content, descriptor)
            .context(|| format!("cannot fetch {} of {}", descriptor.digest(), self.shown()))?;
        Ok(content)
    }

    fn inspect_config(&self, reference: &Reference) -> Result<Vec<u8>> {
        inspect(reference, &["--raw", "--config"], &self.access, self.staging.as_ref())
    }

    fn inspect(&self, reference: &Reference) -> Result<Vec<u8>> {
        inspect(reference, &["--raw"], &self.access, self.staging.as_ref())
    }

    /// Streams a blob to `consume`, which runs in a thread of its own.
    pub fn blob<T: Send>(
        &self,
        descriptor: &Descriptor,
        consume: impl FnOnce(Box<dyn Read + Send>) -> Result<T> + Send,
    ) -> Result<T> {
        let what = || format!("cannot fetch {} of {}", descriptor.digest(), self.shown());
        let opened = self.request(self.proxy.get_blob(&self.image, descriptor.digest(), descriptor.size()));
        let (reader, driver) = opened.context(what)?;
        let (handle, stream) = (self.runtime.handle().clone(), Stream::default());
        let reader = stream.reader(SyncIoBridge::new_with_handle(reader, handle));
        std::thread::scope(|scope| {
            let consumer = scope.spawn(move || consume(Box::new(reader)));
            let driven = self.drive(driver, &stream);
            let consumed = consumer.join().unwrap_or_else(|_| Err(Error::new("the import panicked")));
            match (consumed, driven) {
                (consumed, Ok(())) => consumed,
                // The consumer stopped reading, and its error is the cause.
                (Err(e), Err(failure)) if failure.reason() == Reason::BrokenPipe => Err(e),
                (_, Err(failure)) => Err(failure).context(what),
            }
        })
    }

    /// Waits until skopeo has written a stream; ends it if nobody wants the rest, or if the source is too slow.
    fn drive(
        &self,
        driver: impl Future<Output = Result<(), ProxyError>>,
        stream: &Stream,
    ) -> Result<(), Failure> {
        let (patience, mut driver) = (self.access.patience, pin!(driver));
        let mut pace = Pace::new(patience);
        loop {
            let answered = self.runtime.block_on(async { timeout(TICK, driver.as_mut()).await });
            let failure = match (answered, stream.judge(patience, &mut pace)) {
                (Ok(answer), _) => return answer.map_err(Failure::from),
                (Err(_), Ok(Verdict::Wait)) => continue,
                (Err(_), Ok(Verdict::Unwanted)) => Failure::unwanted(),
                (Err(_), Err(slow)) => Failure::given_up(slow),
            };
            self.process.kill();
            return Err(failure);
        }
    }
}

/// Waits for the answer to a request as long as the watch allows; then skopeo is killed.
fn request<T>(
    runtime: &Runtime,
    process: &Process,
    mut watch: Watch<'_>,
    answer: impl Future<Output = Result<T, ProxyError>>,
) -> Result<T, Failure> {
    let mut answer = pin!(answer);
    loop {
        if let Ok(answer) = runtime.block_on(async { timeout(TICK, answer.as_mut()).await }) {
            return answer.map_err(Failure::from);
        }
        if let Err(why) = watch.check() {
            process.kill();
            return Err(Failure::given_up(why));
        }
    }
}

/// The descriptor of the configuration in a manifest, of OCI's format or of Docker's version 2.
fn config_descriptor(manifest: &str) -> Option<Descriptor> {
    let manifest: serde_json::Value = serde_json::from_str(manifest).ok()?;
    serde_json::from_value(manifest.get("config")?.clone()).ok()
}

fn check_digest(content: &[u8], descriptor: &Descriptor) -> Result<()> {
    let found = Digest::of(content);
    if found.as_ref() == descriptor.digest().to_string() {
        return Ok(());
    }
    Err(Error::new(format!("its digest is {found}")))
}

fn check_document(text: &[u8]) -> Result<()> {
    if text.len() as u64 > limits::DOCUMENT {
        return Err(Error::new(format!("it is larger than {} MiB", limits::DOCUMENT >> 20)));
    }
    Ok(())
}

/// Whether opening an image writes anything: a copy, or temporary files.
pub fn writes(reference: &Reference, policy: &SignaturePolicy) -> bool {
    needs_copy(reference, policy) || is_unpacked_by_skopeo(reference)
}

/// Whether skopeo unpacks a source to temporary files when it opens it.
pub fn is_unpacked_by_skopeo(reference: &Reference) -> bool {
    let transport = reference.transport();
    matches!(transport.location, Location::Archive(_)) || transport.digests == Digests::AskEngine
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

/// Whether skopeo has to copy an image before any of it is used.
pub fn needs_copy(reference: &Reference, policy: &SignaturePolicy) -> bool {
    if reference.is_layout_archive() {
        return false;
    }
    match reference.transport().layers {
        Layers::Original => policy.demands(reference.transport()),
        Layers::Unpacked => true,
    }
}

/// Fetches an image's manifest. The policy does not apply, since nothing else of the image is used, unless it is in an
/// archive that has to be unpacked for it.
pub fn peek(reference: &Reference, access: &Access) -> Result<Prospect> {
    let reference = &resolve(reference)?;
    source_files::check(reference)?;
    let staging = if is_unpacked_by_skopeo(reference) {
        let parent = paths::from_env("TMPDIR").unwrap_or_else(|| PathBuf::from("/var/tmp"));
        let space = Space::at(&parent)?;
        Some(Staging::new(&parent, space)?)
    } else {
        None
    };
    match reference.transport().layers {
        Layers::Original => {
            let source = match staging {
                Some(staging) if reference.is_layout_archive() => {
                    let policy = SignaturePolicy::find(access);
                    ImageSource::unpacked(reference, access, &policy, staging, &|_| {})?
                }
                staging => ImageSource::connect(reference, access, staging, None)?,
            };
            let manifest = source.manifest()?;
            Ok(Prospect { digest: manifest.digest, manifest: Some(manifest.oci) })
        }
        Layers::Unpacked => {
            let digest = Digest::of(&inspect(reference, &["--raw"], access, staging.as_ref())?);
            Ok(Prospect { digest, manifest: None })
        }
    }
}

/// Fetches the manifest as it is at its source, or what other options of skopeo ask for.
fn inspect(
    reference: &Reference,
    options: &[&str],
    access: &Access,
    staging: Option<&Staging>,
) -> Result<Vec<u8>> {
    let temporary = staging.map(Staging::temporary);
    let mut command = access.verb("inspect", "", temporary.as_deref());
    command.args(options).arg(reference.to_skopeo());
    let growth = staging.map(|staging| staging.growth(u64::MAX, &|_| {}));
    let what = || format!("cannot inspect {}", reference.to_skopeo());
    let text = skopeo::output(&mut command, Watch::new(access.patience, growth)).context(what)?;
    check_document(&text).context(what)?;
    Ok(text)
}
