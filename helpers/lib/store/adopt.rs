//! Adopting images that containers/image wrote to the repository for Atomic: their layers are merged as in a pull.
//!
//! Nothing is fetched. An image that lacks a layer or the configuration has to be pulled again.

use oci_spec::image::ImageManifest;
use ostree::glib::VariantDict;

use super::expected;
use super::image;
use super::layer;
use super::reference::Reference;
use super::refs;
use super::repository::{NEVER, Store};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::provenance::host_architecture;

/// Name of the file in the commit of a configuration.
const CONTENT: &str = "content";

/// Turns an image that Atomic pulled into one of ours, under the same name.
pub fn adopt(store: &Store, name: &str) -> Result<Image> {
    let what = || format!("cannot adopt image {name}, which Atomic pulled; pull it again");
    write(store, name).context(what)
}

fn write(store: &Store, name: &str) -> Result<Image> {
    let commit = store.repo.resolve_rev(&refs::image_ref(name), false);
    let commit = commit.context(|| "cannot find its commit".into())?.unwrap_or_default();
    let (variant, _) = store.repo.load_commit(&commit).context(|| format!("cannot read commit {commit}"))?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let text = |key: &str| metadata.lookup::<String>(key).ok().flatten();
    let manifest = text(image::MANIFEST).ok_or_else(|| Error::new("it has no manifest"))?;
    let digest: Digest = text(image::DIGEST).ok_or_else(|| Error::new("it has no digest"))?.parse()?;
    let parsed: ImageManifest =
        serde_json::from_str(&manifest).context(|| "cannot read its manifest".into())?;
    let config = config(store, parsed.config().digest())?;
    let mut layers = Vec::new();
    for (descriptor, expected) in expected::layers(&parsed, &config)? {
        let missing = || Error::new(format!("layer {} is missing", descriptor.digest()));
        layers.push(layer::find(&store.repo, &expected)?.ok_or_else(missing)?);
    }
    // Atomic did not record where images came from; by their names, it was a registry.
    let provenance = name.parse::<Reference>()?.provenance(host_architecture(), None)?;
    let (digest, manifest, config) = (&digest, manifest.as_str(), config.as_str());
    let description = image::Description { digest, manifest, config, provenance: &provenance, title: name };
    image::write(store, name, &description, &layers)
}

fn config(store: &Store, digest: &oci_spec::image::Digest) -> Result<String> {
    let what = || format!("cannot read the configuration {digest}");
    let reference = refs::layer_ref(&digest.clone().try_into().context(what)?);
    let commit = store.repo.resolve_rev(&reference, true).context(what)?;
    let commit = commit.ok_or_else(|| Error::new("it is missing")).context(what)?;
    let (root, _) = store.repo.read_commit(&commit, NEVER).context(what)?;
    let content = store.content(&root, CONTENT).context(what)?;
    let content = content.ok_or_else(|| Error::new("it has no content")).context(what)?;
    String::from_utf8(content).context(what)
}
