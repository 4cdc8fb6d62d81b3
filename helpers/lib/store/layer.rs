//! Layers: tar archives, streamed into commits that contain them as they were packed, including markers of whiteouts.

use std::collections::BTreeSet;
use std::io::{self, Read};

use ostree::glib::{Variant, VariantDict};

use super::archive::Archive;
use super::blob::{Bounded, Meter, Observed, decompress};
use super::builder::{Builder, BuiltTree};
use super::commit::{self, CommitContent};
use super::expected::Expected;
use super::host::HostRepository;
use super::implicit;
use super::limits;
use super::refs;
use super::replaced::Replaced;
use crate::error::{Context, Error, Result};

/// Keys of containers/image in the metadata of a layer's commit.
const SIZE: &str = "docker.size";
const UNCOMPRESSED_SIZE: &str = "docker.uncompressed_size";
const UNCOMPRESSED_DIGEST: &str = "docker.uncompressed_digest";
/// Our own key: see [`StoredLayer::has_times`].
const TIMES: &str = "syscontainers.times";

/// A layer in the repository.
#[derive(Clone)]
pub struct StoredLayer {
    /// The commit that contains the layer as it was packed.
    pub commit: String,
    /// Whether its files have modification times: those of layers that Atomic pulled have none.
    pub has_times: bool,
}

/// A layer that was imported.
pub struct Import {
    /// The layer.
    pub layer: StoredLayer,
    /// How many device nodes were skipped.
    pub skipped: usize,
}

/// Finds a layer that was imported before.
pub fn find(repo: &ostree::Repo, expected: &Expected) -> Result<Option<StoredLayer>> {
    let reference = refs::layer_ref(&expected.digest);
    let what = || format!("cannot read layer {reference}");
    let Some(commit) = repo.resolve_rev(&reference, true).context(what)? else { return Ok(None) };
    let (variant, _) = repo.load_commit(&commit).context(what)?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let diff_id = metadata.lookup::<String>(UNCOMPRESSED_DIGEST).ok().flatten();
    if diff_id.as_deref() != Some(expected.diff_id.as_ref()) {
        // It is incomplete, or does not match its name: it is fetched again.
        return Ok(None);
    }
    let has_times = metadata.contains(TIMES);
    Ok(Some(StoredLayer { commit: commit.to_string(), has_times }))
}

/// Imports a layer as a commit of its own, so that it need not be fetched again if something fails later. `on_read` is
/// called with the size of every read of the blob. Objects that the host's repository has are shared with it; those that are to
/// be `replaced` are written again.
pub fn import(
    (repo, host): (&ostree::Repo, Option<&HostRepository>),
    blob: impl Read,
    expected: &Expected,
    replaced: &Replaced,
    on_read: &dyn Fn(u64),
) -> Result<Import> {
    let write = || write((repo, host), blob, expected, replaced, on_read);
    let published = commit::publish(repo, &refs::layer_ref(&expected.digest), write);
    let (commit, skipped) = published.context(|| format!("cannot import layer {}", expected.digest))?;
    Ok(Import { layer: StoredLayer { commit, has_times: true }, skipped })
}

/// Writes the layer's tree, if its blob is what it must be. The result is how many members were skipped.
fn write(
    (repo, host): (&ostree::Repo, Option<&HostRepository>),
    blob: impl Read,
    expected: &Expected,
    replaced: &Replaced,
    on_read: &dyn Fn(u64),
) -> Result<CommitContent<usize>> {
    let size = expected.size;
    let refusal = format!("there are more bytes than the {size} that the manifest declares");
    let (packed, blob) = Meter::new(Bounded::new(Observed { inner: blob, on_read }, size, refusal));
    let archive = decompress(blob).context(|| "cannot unpack it".into())?;
    let limit = limits::unpacked(size);
    let refusal = format!("it is larger than {limit} bytes when unpacked, from a blob of {size} bytes");
    let (unpacked, archive) = Meter::new(Bounded::new(archive, limit, refusal));
    let mut archive = Archive::new(archive);
    replaced.remove_metadata(repo).context(|| "cannot replace damaged objects".into())?;
    let mut builder = Builder::new(repo, host, replaced)?;
    while let Some(member) = archive.next_member().context(|| "not a readable tar archive".into())? {
        builder.add(&member, &mut archive)?;
    }
    // What follows the archive's end counts for the digests; decompressors may stop before the blob ends.
    let rest = || "cannot read what follows the archive".to_string();
    let mut archive = archive.into_inner();
    io::copy(&mut archive, &mut io::sink()).context(rest)?;
    io::copy(&mut archive.into_inner().into_inner().into_rest(), &mut io::sink()).context(rest)?;
    if packed.count() < size {
        let why = format!("it ends after {} of the {size} bytes that the manifest declares", packed.count());
        return Err(Error::new(why));
    }
    for (name, meter, digest) in
        [("digest", &packed, &expected.digest), ("diffID", &unpacked, &expected.diff_id)]
    {
        let found = meter.digest();
        if found != *digest {
            return Err(Error::new(format!("its {name} is {found}, not {digest}; none of it was kept")));
        }
    }
    let BuiltTree { root, implicit, skipped } = builder.finish()?;
    let metadata = metadata(expected, implicit, packed.count(), unpacked.count());
    Ok(CommitContent { root, metadata, result: skipped })
}

/// The metadata of a layer's commit.
fn metadata(expected: &Expected, implicit: BTreeSet<String>, packed: u64, unpacked: u64) -> Variant {
    let metadata = VariantDict::new(None);
    metadata.insert(SIZE, packed.to_string());
    metadata.insert(UNCOMPRESSED_SIZE, unpacked.to_string());
    metadata.insert(UNCOMPRESSED_DIGEST, expected.diff_id.to_string());
    metadata.insert(TIMES, true);
    implicit::record(&metadata, implicit);
    metadata.end()
}
