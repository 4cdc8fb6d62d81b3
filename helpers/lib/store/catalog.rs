//! What is in the store: its images, and how much of the store each takes.

use std::collections::{HashMap, HashSet};

use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::image;
use super::{NEVER, Store, reference};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::image::Image;

/// An image, with what it takes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The image.
    pub image: Image,
    /// When it was built, RFC 3339, if its configuration says so.
    pub created: Option<String>,
    /// Bytes of its objects in the store.
    pub size: u64,
    /// Bytes that no other image has a part in.
    pub unique: u64,
    /// The signature policy that let it through, if that demanded anything.
    pub signer: Option<String>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its blob.
    pub digest: Digest,
    /// Bytes of its blob.
    pub size: u64,
    /// What the blob is.
    pub media_type: String,
}

/// Something in the store that is called as an image is, but cannot be read as one.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its name.
    pub name: String,
    /// Why.
    pub problem: String,
}

/// Names of all that is called as images are, in order.
pub fn names(store: &Store) -> Result<Vec<String>> {
    let refs = store.repo.list_refs(None, NEVER);
    let refs = refs.context(|| format!("cannot list the images in {}", store.path.display()))?;
    let mut names: Vec<String> = refs.keys().filter_map(|name| reference::image_name(name)).collect();
    names.sort();
    Ok(names)
}

/// All images, by name, and what is none.
pub fn list(store: &Store) -> Result<(Vec<Entry>, Vec<Broken>)> {
    let what = || format!("cannot list the images in {}", store.path.display());
    let (mut images, mut broken) = (Vec::new(), Vec::new());
    for name in names(store)? {
        match image::load(&store.repo, &name) {
            Ok(Some(image)) => images.push(image),
            // It went meanwhile.
            Ok(None) => {}
            Err(e) => broken.push(Broken { name, problem: e.to_string() }),
        }
    }
    let objects =
        images.iter().map(|image| objects(store, image)).collect::<Result<Vec<_>>>().context(what)?;
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

fn entry(store: &Store, image: Image, size: u64, unique: u64) -> Result<Entry> {
    // What cannot be read was not made by a pull of ours; the rest is worth showing all the same.
    let config: Option<ImageConfiguration> = serde_json::from_str(&image.config).ok();
    let created = config.and_then(|config| config.created().clone());
    let signer = image::signer(&store.repo, &image)?;
    let layers = layers(&image.manifest);
    Ok(Entry { image, created, size, unique, signer, layers })
}

fn layers(manifest: &str) -> Vec<Layer> {
    let manifest: Option<ImageManifest> = serde_json::from_str(manifest).ok();
    let layers = manifest.map(|manifest| manifest.layers().clone()).unwrap_or_default();
    // A pull takes none with other digests.
    let layer = |descriptor: &oci_spec::image::Descriptor| {
        let digest = descriptor.digest().clone().try_into().ok()?;
        let (size, media_type) = (descriptor.size(), descriptor.media_type().to_string());
        Some(Layer { digest, size, media_type })
    };
    layers.iter().filter_map(layer).collect()
}

/// Objects of an image's tree and of its layers, with their sizes.
fn objects(store: &Store, image: &Image) -> Result<HashMap<String, u64>> {
    let mut commits = HashSet::from([image.commit.clone()]);
    for layer in layers(&image.manifest) {
        let reference = reference::layer_ref(&layer.digest);
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
