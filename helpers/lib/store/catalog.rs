//! The images in the store, and how much space each of them takes.

use std::collections::{HashMap, HashSet};

use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::image;
use super::integrity;
use super::refs;
use super::repository::{NEVER, Store};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::image::Image;

/// An image in the store.
#[derive(Clone, Debug)]
pub struct CatalogEntry {
    /// The image itself.
    pub image: Image,
    /// When it was built, if its configuration says so; RFC 3339.
    pub created: Option<String>,
    /// Size of its objects in the store, in bytes.
    pub size: u64,
    /// Size in bytes of those objects that no other image has.
    pub unique: u64,
    /// Who had to sign it, if the signature policy required a signature.
    pub signer: Option<String>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerBlob>,
}

/// The blob of a layer, as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the blob, by which a registry serves it.
    pub digest: Digest,
    /// Its size as transported, in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// An image that cannot be read.
#[derive(Clone, Debug)]
pub struct BrokenImage {
    /// Its name in the store.
    pub name: String,
    /// Why it cannot be read.
    pub problem: String,
}

/// Names of all images, and of other refs with the name of one, in order.
pub fn names(store: &Store) -> Result<Vec<String>> {
    let refs = store.repo.list_refs(None, NEVER);
    let refs = refs.context(|| format!("cannot list the images in {}", store.path.display()))?;
    let mut names: Vec<String> = refs.keys().filter_map(|name| refs::image_name(name)).collect();
    names.sort();
    Ok(names)
}

/// Lists all images by name, and those that cannot be read.
pub fn list(store: &Store) -> Result<(Vec<CatalogEntry>, Vec<BrokenImage>)> {
    let what = || format!("cannot list the images in {}", store.path.display());
    let (mut images, mut broken) = (Vec::new(), Vec::new());
    for name in names(store)? {
        match image::load(&store.repo, &name) {
            Ok(Some(image)) => images.push(image),
            // It was removed meanwhile.
            Ok(None) => {}
            Err(e) => broken.push(BrokenImage { name, problem: e.to_string() }),
        }
    }
    let (mut whole, mut sizes) = (Vec::new(), Vec::new());
    for image in images {
        match objects(store, &image) {
            Ok(objects) => {
                whole.push(image);
                sizes.push(objects);
            }
            Err(e) => {
                broken.push(BrokenImage { problem: integrity::damaged(&image.name, e), name: image.name })
            }
        }
    }
    let (images, objects) = (whole, sizes);
    let mut users: HashMap<&str, u32> = HashMap::new();
    for checksum in objects.iter().flat_map(|sizes| sizes.keys()) {
        *users.entry(checksum).or_default() += 1;
    }
    let entries = images.into_iter().zip(&objects).map(|(image, sizes)| {
        let unique = sizes.iter().filter(|(checksum, _)| users.get(checksum.as_str()) == Some(&1));
        entry(store, image, sizes.values().sum(), unique.map(|(_, size)| size).sum())
    });
    Ok((entries.collect::<Result<_>>().context(what)?, broken))
}

fn entry(store: &Store, image: Image, size: u64, unique: u64) -> Result<CatalogEntry> {
    // A configuration that cannot be read was not pulled by us; the rest is worth showing nevertheless.
    let config: Option<ImageConfiguration> = serde_json::from_str(&image.config).ok();
    let created = config.and_then(|config| config.created().clone());
    let signer = image::signer(&store.repo, &image)?;
    let layers = layers(&image.manifest);
    Ok(CatalogEntry { image, created, size, unique, signer, layers })
}

fn layers(manifest: &str) -> Vec<LayerBlob> {
    let manifest: Option<ImageManifest> = serde_json::from_str(manifest).ok();
    let layers = manifest.map(|manifest| manifest.layers().clone()).unwrap_or_default();
    // A pull takes none with other digests.
    let layer = |descriptor: &oci_spec::image::Descriptor| {
        let digest = descriptor.digest().clone().try_into().ok()?;
        let (size, media_type) = (descriptor.size(), descriptor.media_type().to_string());
        Some(LayerBlob { digest, size, media_type })
    };
    layers.iter().filter_map(layer).collect()
}

/// The objects of an image's tree and of its layers, with their sizes.
fn objects(store: &Store, image: &Image) -> Result<HashMap<String, u64>> {
    let mut commits = HashSet::from([image.commit.to_string()]);
    for layer in layers(&image.manifest) {
        let reference = refs::layer_ref(&layer.digest);
        let commit = store.repo.resolve_rev(&reference, true).ok().flatten();
        commits.extend(commit.map(|commit| commit.to_string()));
    }
    let mut sizes = HashMap::new();
    for commit in commits {
        let what = || format!("commit {commit}");
        for object in store.repo.traverse_commit(&commit, 0, NEVER).context(what)? {
            if !sizes.contains_key(object.checksum()) {
                let size =
                    store.repo.query_object_storage_size(object.object_type(), object.checksum(), NEVER);
                sizes.insert(object.checksum().to_owned(), size.context(what)?);
            }
        }
    }
    Ok(sizes)
}
