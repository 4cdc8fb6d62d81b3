//! Adopting images that containers/image wrote to a repository for Atomic, to the store or to the host's own: their
//! layers are merged as in a pull, and those of the host's repository are taken over first.
//!
//! Nothing is fetched, and its files have no modification times. An image that lacks a layer or the configuration has to be pulled again. The repository that it
//! comes from keeps its refs.

use oci_spec::image::ImageManifest;
use ostree::glib::VariantDict;
use ostree::prelude::*;
use ostree::{MutableTree, ObjectType, RepoFile};

use super::commit::{self, CommitContent};
use super::contents;
use super::expected::{self, Expected};
use super::host::HostRepository;
use super::image;
use super::layer::{self, StoredLayer};
use super::reference::Reference;
use super::refs;
use super::repository::{NEVER, Store};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::provenance::host_architecture;

/// Name of the file in the commit of a configuration.
const CONTENT: &str = "content";

/// Turns an image that Atomic pulled into the repository `from` into one of ours, under the same name.
pub fn adopt(store: &Store, from: &ostree::Repo, name: &str) -> Result<Image> {
    let what = || format!("cannot adopt image {name}, which Atomic pulled; pull it again");
    write(store, from, name).context(what)
}

fn write(store: &Store, from: &ostree::Repo, name: &str) -> Result<Image> {
    let commit = from.resolve_rev(&refs::image_ref(name), false);
    let commit = commit.context(|| "cannot find its commit".into())?.unwrap_or_default();
    let (variant, _) = from.load_commit(&commit).context(|| format!("cannot read commit {commit}"))?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let text = |key: &str| metadata.lookup::<String>(key).ok().flatten();
    let manifest = text(image::MANIFEST).ok_or_else(|| Error::new("it has no manifest"))?;
    let digest: Digest = text(image::DIGEST).ok_or_else(|| Error::new("it has no digest"))?.parse()?;
    let parsed: ImageManifest =
        serde_json::from_str(&manifest).context(|| "cannot read its manifest".into())?;
    let config = config(from, parsed.config().digest())?;
    let mut layers = Vec::new();
    for (descriptor, expected) in expected::layers(&parsed, &config)? {
        let missing = || Error::new(format!("layer {} is missing", descriptor.digest()));
        let found = match layer::find(&store.repo, &expected)? {
            Some(layer) => Some(layer),
            None => take_layer(store, &expected)?,
        };
        layers.push(found.ok_or_else(missing)?);
    }
    // Atomic did not record where images came from; by their names, it was a registry.
    let provenance = name.parse::<Reference>()?.provenance(host_architecture(), None)?;
    let (digest, manifest, config) = (&digest, manifest.as_str(), config.as_str());
    let description = image::Description { digest, manifest, config, provenance: &provenance, title: name };
    image::write(store, name, &description, &layers)
}

fn config(from: &ostree::Repo, digest: &oci_spec::image::Digest) -> Result<String> {
    let what = || format!("cannot read the configuration {digest}");
    let reference = refs::layer_ref(&digest.clone().try_into().context(what)?);
    let commit = from.resolve_rev(&reference, true).context(what)?;
    let commit = commit.ok_or_else(|| Error::new("it is missing")).context(what)?;
    let (root, _) = from.read_commit(&commit, NEVER).context(what)?;
    let content = contents::read(from, &root, CONTENT).context(what)?;
    let content = content.ok_or_else(|| Error::new("it has no content")).context(what)?;
    String::from_utf8(content).context(what)
}

/// Takes a layer over from the host's repository; `None` if that does not have it.
fn take_layer(store: &Store, expected: &Expected) -> Result<Option<StoredLayer>> {
    let Some(host) = &store.host else { return Ok(None) };
    let Some(found) = layer::find(&host.repo, expected)? else { return Ok(None) };
    let reference = refs::layer_ref(&expected.digest);
    let (commit, ()) = commit::publish(&store.repo, &reference, || copy(store, host, &found.commit))
        .context(|| format!("cannot take over layer {} from {}", expected.digest, host.path().display()))?;
    Ok(Some(StoredLayer { commit, ..found }))
}

/// Copies the objects of a commit, or links them; the checksum of each is verified.
fn copy(store: &Store, host: &HostRepository, commit: &str) -> Result<CommitContent<()>> {
    let what = || format!("cannot read commit {commit}");
    for object in host.repo.traverse_commit(commit, 0, NEVER).context(what)? {
        let (kind, checksum) = (object.object_type(), object.checksum());
        let copied = match kind {
            // It is written last.
            ObjectType::Commit => Ok(()),
            _ if store.repo.has_object(kind, checksum, NEVER).context(what)? => Ok(()),
            ObjectType::File if host.link(checksum) => Ok(()),
            // The function for all kinds would link it.
            ObjectType::File => host.copy(checksum, &store.repo),
            _ => store
                .repo
                .import_object_from_with_trust(&host.repo, kind, checksum, false, NEVER)
                .context(|| "its checksum may be wrong".into()),
        };
        copied.context(|| format!("cannot copy object {checksum}"))?;
    }
    let (root, _) = host.repo.read_commit(commit, NEVER).context(what)?;
    let root = root.downcast::<RepoFile>().map_err(|_| Error::new("its root is not a directory"))?;
    root.ensure_resolved().context(what)?;
    let content = root.tree_get_contents_checksum().unwrap_or_default();
    let metadata = root.tree_get_metadata_checksum().unwrap_or_default();
    let tree = MutableTree::from_checksum(&store.repo, &content, &metadata);
    let (variant, _) = host.repo.load_commit(commit).context(what)?;
    let root = commit::write_tree(&store.repo, &tree)?;
    Ok(CommitContent { root, metadata: variant.child_value(0), result: () })
}
