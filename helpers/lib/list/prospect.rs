//! What an update of a container would do, asked of the source of its image: `syscontainer-pull --check`.

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::install::site::Site;
use crate::name::Name;
use crate::paths::Root;
use crate::store::Store;
use crate::store::access::Access;
use crate::store::pull::{self, PullObserver};
use crate::store::reference::Reference;
use crate::store::source_files;
use crate::update::availability::{Prospect, Updates};

/// What a container came from if nothing is there now, so that no update can come from it.
pub fn lost_source(updates: &Updates) -> Option<String> {
    let source = &updates.provenance.as_ref()?.source;
    let reference: Reference = source.parse().ok()?;
    source_files::is_gone(&reference).then(|| source.clone())
}

/// Where the image of a container is pulled from again: the source that was recorded, for the same architecture. Atomic
/// recorded neither, and took images from registries. A path that others can change is refused.
pub fn source(name: &Name, updates: &Updates, access: &Access) -> Result<(Reference, Access)> {
    let (source, arch) = match &updates.provenance {
        None => (&updates.image, access.arch.clone()),
        Some(provenance) => (&provenance.source, Some(provenance.architecture.clone())),
    };
    let reference = source.parse().context(|| format!("cannot find out where {name} came from"))?;
    // Nobody looks at what is there now before it runs.
    source_files::check_owner(&Root::default(), &reference).map_err(|e| {
        Error::new(format!(
            "cannot update {name} from {}: {e}; move it to a directory that only root may write to, pull it from there, and run 'syscontainer-checkout --update --rebase=IMAGE {name}'",
            reference.to_skopeo()
        ))
    })?;
    Ok((reference, Access { arch, ..access.clone() }))
}

/// The digest of the image at its source, and what an update to it would do. What an update would refuse, and whether a new
/// image has `/exports`, is known from its layers: where they decide that, they are fetched into the store.
pub fn find(
    (root, name): (&Root, &Name),
    updates: &Updates,
    (reference, access): (&Reference, &Access),
    store: impl FnOnce() -> Result<Store>,
    observer: &dyn PullObserver,
) -> Result<(Digest, Prospect)> {
    let digest = pull::peek(reference, access, observer)?;
    let prospect = updates.prospect(&digest);
    if prospect != Prospect::Newer {
        return Ok((digest, prospect));
    }
    let look = || {
        let (store, site) = (store()?, Site::new(root));
        let examine = |image: &Image| updates.prospect_of(&site, name, image, &store.tree(image));
        {
            let _lock = store.lock_shared()?;
            let stored = store.lookup(&reference.name()?).ok().flatten();
            if let Some(image) = stored.filter(|image| image.digest == digest) {
                return examine(&image);
            }
        }
        if !updates.is_choosy() {
            return Ok(Prospect::Newer);
        }
        pull::look_at(&store, reference, access, observer, examine)
    };
    // An update would fail as well.
    let what = || format!("cannot find out what an update of {name} to {digest} would do");
    let found = look().context(what)?;
    Ok((digest, found))
}

/// The result of a check as JSON, see syscontainer-pull(8).
pub fn to_json(image: &str, digest: &Digest, prospect: &Prospect) -> Value {
    let mut value = json!({"image": image, "digest": digest, "update": prospect.word()});
    match prospect {
        Prospect::Staged(deployment) => value["deployment"] = json!(deployment),
        Prospect::Failed(reason) | Prospect::Unusable(reason) => value["reason"] = json!(reason),
        Prospect::Unaccepted(added) => value["brings"] = json!(added),
        Prospect::Current | Prospect::Held | Prospect::Newer => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prospect_has_a_word_and_what_belongs_to_it() {
        let digest = Digest::of(b"");
        for (prospect, expected) in [
            (Prospect::Current, r#"{"update":"current"}"#),
            (Prospect::Held, r#"{"update":"held"}"#),
            (Prospect::Newer, r#"{"update":"newer"}"#),
            (Prospect::Failed("x".into()), r#"{"update":"skipped","reason":"x"}"#),
            (Prospect::Unusable("x".into()), r#"{"update":"unusable","reason":"x"}"#),
            (Prospect::Staged("x.1".parse().unwrap()), r#"{"update":"staged","deployment":"x.1"}"#),
            (Prospect::Unaccepted(vec!["a"]), r#"{"update":"unaccepted","brings":["a"]}"#),
        ] {
            let mut expected: Value = serde_json::from_str(expected).unwrap();
            (expected["image"], expected["digest"]) = (json!("r/x:1"), json!(digest));
            assert_eq!(to_json("r/x:1", &digest, &prospect), expected);
        }
    }
}
