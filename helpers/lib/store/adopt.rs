//! Images that containers/image wrote to the repository, for the original: their layers are merged as a pull would.
//!
//! Nothing is fetched. An image of which a layer or the configuration is missing has to be pulled again.

use oci_spec::image::ImageManifest;
use ostree::glib::VariantDict;

use super::image::{self, Image};
use super::layer;
use super::pull;
use super::{NEVER, Store, reference};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// File of a configuration blob's commit.
const CONTENT: &str = "content";

/// Makes an image of the original's one of ours, under the same name.
pub fn adopt(store: &Store, name: &str) -> Result<Image> {
    let what = || format!("cannot use image {name} as the original pulled it; pull it again");
    let reference = reference::image_ref(name);
    let commit = store.repo.resolve_rev(&reference, false).context(what)?.unwrap_or_default();
    let (variant, _) = store.repo.load_commit(&commit).context(what)?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let text = |key: &str| metadata.lookup::<String>(key).ok().flatten();
    let manifest = text(image::MANIFEST).ok_or_else(|| Error::new("it has no manifest")).context(what)?;
    let digest = text(image::DIGEST).ok_or_else(|| Error::new("it has no digest")).context(what)?;
    let digest: Digest = digest.parse().context(what)?;
    let parsed: ImageManifest = serde_json::from_str(&manifest).context(what)?;
    let config = config(store, parsed.config().digest()).context(what)?;
    let mut layers = Vec::new();
    for (descriptor, expected) in pull::expected_layers(&parsed, &config).context(what)? {
        let layer = layer::find(&store.repo, &expected).context(what)?;
        layers.push(
            layer
                .ok_or_else(|| Error::new(format!("layer {} is missing", descriptor.digest())))
                .context(what)?,
        );
    }
    let metadata = image::metadata(&digest, &manifest, &config, "");
    pull::commit(store, name, &metadata, &layers).context(what)?;
    let image = image::load(&store.repo, name).context(what)?;
    image.ok_or_else(|| Error::new("it is gone again")).context(what)
}

fn config(store: &Store, digest: &oci_spec::image::Digest) -> Result<String> {
    let what = || format!("cannot read the configuration {digest}");
    let reference = reference::layer_ref(&digest.clone().try_into().context(what)?);
    let commit = store.repo.resolve_rev(&reference, true).context(what)?;
    let commit = commit.ok_or_else(|| Error::new("it is missing")).context(what)?;
    let (root, _) = store.repo.read_commit(&commit, NEVER).context(what)?;
    let content = store.content(&root, CONTENT).context(what)?;
    let content = content.ok_or_else(|| Error::new("it has no content")).context(what)?;
    String::from_utf8(content).context(what)
}
