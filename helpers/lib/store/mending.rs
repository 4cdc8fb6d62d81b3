//! Mending the store: damaged objects are replaced by those of the layers that they came in, which are fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::access::Access;
use super::commit;
use super::dirtree;
use super::image;
use super::integrity::{self, Damage, ObjectKind, ObjectName};
use super::layer::StoredLayer;
use super::merge;
use super::pull::{self, PullObserver};
use super::refs;
use super::replaced::Replaced;
use super::repository::{NEVER, Store};
use crate::commit::Commit;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;

/// Who has a damaged object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Names of images.
    pub images: BTreeSet<String>,
    /// Layers, by the digests of their blobs.
    pub layers: BTreeSet<Digest>,
}

/// An image in the store whose parts were looked at.
pub struct Whole {
    /// Its name.
    pub name: String,
    /// Its commit.
    pub commit: Commit,
    /// What of it is damaged, its layers included.
    pub damaged: BTreeSet<ObjectName>,
    /// The layers of which something is damaged.
    layers: BTreeSet<Digest>,
}

/// What is damaged in the store, and who has it.
pub struct Survey {
    /// What is damaged.
    pub damage: Damage,
    /// All images of which anything is damaged.
    pub images: Vec<Whole>,
    /// Who has what.
    pub users: BTreeMap<ObjectName, Users>,
}

/// Looks at the store, or, if `only` names some, at these images; `deployed` are those that containers were made from, with their
/// names, which need not have them any more.
pub fn survey(
    store: &Store,
    only: Option<&BTreeSet<Commit>>,
    deployed: &[(String, Commit)],
) -> Result<Survey> {
    let mut all: BTreeMap<Commit, String> = BTreeMap::new();
    for (name, commit) in deployed {
        all.insert(commit.clone(), name.clone());
    }
    let mut layers = BTreeMap::new();
    let what = || format!("cannot list the refs in {}", store.path.display());
    for (reference, commit) in store.repo.list_refs(None, NEVER).context(what)? {
        if let Some(name) = refs::image_name(&reference) {
            all.insert(Commit::new(commit.as_str()), name);
        } else if let Some(digest) = refs::layer_digest(&reference) {
            layers.insert(digest, commit.to_string());
        }
    }
    all.retain(|commit, _| only.is_none_or(|only| only.contains(commit)));
    let mut damage = if only.is_some() { Damage::new() } else { integrity::check(store, None)? };
    let mut survey = Survey { damage: Damage::new(), images: Vec::new(), users: BTreeMap::new() };
    let mut checked: BTreeSet<ObjectName> = BTreeSet::new();
    for (commit, name) in all {
        let own = of_image(store, &commit, &layers);
        let commits = own.iter().map(|(_, commit)| commit.as_str());
        // Most images have parts of others.
        let parts = integrity::parts(store, commits, &damage).difference(&checked).cloned().collect();
        damage.extend(match only {
            Some(_) => integrity::check(store, Some(&parts))?,
            None => integrity::missing(store, &parts)?,
        });
        checked.extend(parts);
        let mut image = Whole { name, commit, damaged: BTreeSet::new(), layers: BTreeSet::new() };
        for (layer, commit) in own {
            let damaged = integrity::parts(store, [commit.as_str()], &damage).into_iter();
            for object in damaged.filter(|object| damage.contains_key(object)) {
                let users = survey.users.entry(object.clone()).or_default();
                users.images.insert(image.name.clone());
                image.layers.extend(layer.clone());
                users.layers.extend(layer.clone());
                image.damaged.insert(object);
            }
        }
        if !image.damaged.is_empty() {
            survey.images.push(image);
        }
    }
    survey.damage = damage;
    Ok(survey)
}

/// The commit of an image, and those of its layers, as far as its manifest can be read.
fn of_image(
    store: &Store,
    commit: &Commit,
    layers: &BTreeMap<Digest, String>,
) -> Vec<(Option<Digest>, String)> {
    let mut all = vec![(None, commit.to_string())];
    let manifest = image::manifest(&store.repo, commit).ok();
    let digests = manifest.map(|manifest| image::layer_digests(&manifest)).unwrap_or_default();
    let known = digests.into_iter().filter_map(|digest| {
        let commit = layers.get(&digest)?.clone();
        Some((Some(digest), commit))
    });
    all.extend(known);
    all
}

/// Mends all images of which anything is damaged. Returns why one could not be mended, with what is damaged of it. The caller has
/// locked the store.
pub fn mend<'a>(
    store: &Store,
    survey: &'a Survey,
    access: &Access,
    observer: &dyn PullObserver,
) -> Vec<(&'a Whole, Error)> {
    // What was mended for one image is not replaced again for the next one.
    let replaced = Arc::new(Replaced::of(&survey.damage));
    let images = survey.images.iter();
    images
        .filter_map(|image| Some((image, mend_one(store, image, &replaced, (access, observer)).err()?)))
        .collect()
}

/// Fetches the layers again that have damaged objects, and makes the tree of the image again.
fn mend_one(
    store: &Store,
    damaged: &Whole,
    replaced: &Arc<Replaced>,
    means: (&Access, &dyn PullObserver),
) -> Result<()> {
    let what = || format!("cannot mend image {}", damaged.name);
    let image = image::load_commit(&store.repo, &damaged.name, &damaged.commit).context(what)?;
    let image = image
        .ok_or_else(|| {
            Error::new(format!("its commit is gone; pull it again with 'syscontainer-pull {}'", damaged.name))
        })
        .context(what)?;
    try_mend(store, &image, damaged, replaced, means).context(what)
}

fn try_mend(
    store: &Store,
    image: &Image,
    damaged: &Whole,
    replaced: &Arc<Replaced>,
    means: (&Access, &dyn PullObserver),
) -> Result<()> {
    let digests = image::layer_digests(&image.manifest);
    let mut again = damaged.layers.clone();
    // Without its layers, its tree cannot be made.
    again.extend(digests.iter().filter(|digest| !has_layer(store, digest)).cloned());
    if !again.is_empty() {
        pull::fetch_again(store, image, &again, replaced, means)?;
    }
    replaced.remove_metadata(&store.repo).context(|| "cannot replace damaged objects".into())?;
    let layers = digests.iter().map(|digest| {
        let commit =
            store.repo.resolve_rev(&refs::layer_ref(digest), false).context(|| format!("layer {digest}"));
        Ok(StoredLayer { commit: commit?.map(Into::into).unwrap_or_default(), has_times: true })
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    write_tree_again(store, image, &layers)?;
    let parts = integrity::parts(store, [image.commit.as_str()], &Damage::new());
    match integrity::check(store, Some(&parts))?.into_iter().next() {
        None => Ok(()),
        Some((object, wrong)) => Err(Error::new(format!("{object} is damaged still: {wrong}"))),
    }
}

fn has_layer(store: &Store, digest: &Digest) -> bool {
    store.repo.resolve_rev(&refs::layer_ref(digest), true).is_ok_and(|commit| commit.is_some())
}

/// Writes the tree of an image again, as far as anything of it is missing. It must be the same.
fn write_tree_again(store: &Store, image: &Image, layers: &[StoredLayer]) -> Result<()> {
    let commits: Vec<String> = layers.iter().map(|layer| layer.commit.clone()).collect();
    let found = commit::write_only_tree(&store.repo, || merge::merge(&store.repo, &commits))?;
    let wanted = dirtree::root(&store.repo, image.commit.as_str())?;
    if found == wanted {
        return Ok(());
    }
    Err(Error::new(format!(
        "its layers make another tree than the one of commit {}; pull it again, and update the containers that were made from it",
        image.commit
    )))
}

/// What a kind of object is called.
pub fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::File => "file",
        ObjectKind::DirTree => "directory",
        ObjectKind::DirMeta => "metadata of a directory",
        ObjectKind::Commit => "commit",
    }
}
