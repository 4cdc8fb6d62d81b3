//! What the text of a reference tells of an image, for programs without the store.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::paths::{self, Root};
use crate::program::reference;
use crate::program::transports::{self, Location, REGISTRY, Selector};

/// Whether an image is on this host.
pub fn is_local(image: &str) -> bool {
    transports::of(image).is_some_and(|(transport, _)| *transport != REGISTRY)
}

/// What comes with packages, and is there whenever the host boots.
const PACKAGED: &str = "/usr";

/// Tells the file that an image is in from others that had its name before, or may have it later; `None` if it is in none below
/// /usr. Nothing is opened, and no link is followed, which might lead to what is not mounted yet.
pub fn file(root: &Root, image: &str) -> Option<String> {
    let reference = reference::parse(image).ok()?;
    // Where in a directory the file is that says which image it has.
    let below = match reference.transport.location {
        Location::Name => return None,
        Location::Archive(_) => "",
        Location::Directory(Selector::None) => "manifest.json",
        Location::Directory(Selector::Tag | Selector::Name) => "index.json",
    };
    let path = Path::new(&reference.location).join(below);
    let parts = paths::components(&path)?;
    let (mut place, mut found) = (root.path().to_path_buf(), None);
    for part in parts.iter().filter(|_| path.starts_with(PACKAGED)) {
        place.push(part);
        let metadata = place.symlink_metadata().ok().filter(|metadata| !metadata.is_symlink())?;
        found = Some(metadata);
    }
    let found = found.filter(Metadata::is_file)?;
    Some(format!("{}-{}-{}.{:09}", found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Whether a reference and the name of an image in the store are of the same image. Paths are the same if they are written
/// alike.
pub fn is_same(reference: &str, name: &str) -> bool {
    match (reference::parse(reference), reference::parse(name)) {
        (Ok(reference), Ok(name)) => reference == name,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: [&str; 5] =
        ["docker://quay.io/web", "quay.io/web:1", "web", "oci.example/web", "docker.io/x"];

    #[test]
    fn what_is_on_this_host_needs_no_network() {
        for local in ["oci:/srv/web:1", "oci-archive:/usr/share/web.tar", "dir:/x", "docker:x"] {
            assert!(is_local(local), "{local}");
        }
        for remote in REMOTE {
            assert!(!is_local(remote), "{remote}");
        }
    }

    #[test]
    fn images_have_several_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (reference, name) in [
            ("web", "web:latest".to_owned()),
            ("docker://localhost:5000/web", "localhost:5000/web:latest".into()),
            (&format!("quay.io/web:1@{digest}"), format!("quay.io/web@{digest}")),
            ("oci:/srv/web", "oci:/srv/web".into()),
            ("docker:r.io/web", "docker-daemon:r.io/web:latest".into()),
            ("docker-archive:/srv/web.tar:web", "docker-archive:/srv/web.tar:web:latest".into()),
        ] {
            assert!(is_same(reference, &name), "{reference}");
        }
        for (reference, name) in
            [("web:1", "web:latest"), ("localhost:5000/web", "localhost:web"), ("dir:/x", "x")]
        {
            assert!(!is_same(reference, name), "{reference}");
        }
    }

    #[test]
    fn files_of_packages_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for place in ["usr/share/x/layout", "srv"] {
            std::fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        for path in ["usr/share/x/a.tar", "usr/share/x/layout/index.json", "srv/a.tar"] {
            write(path, "1");
        }
        std::os::unix::fs::symlink("/srv", dir.path().join("usr/link")).unwrap();
        let file = |image: &str| file(&root, image);
        for image in ["oci-archive:/usr/share/x/a.tar", "oci:/usr/share/x/layout:1"] {
            let before = file(image);
            assert!(before.is_some() && before == file(image), "{image}");
            std::fs::rename(dir.path().join("srv/a.tar"), dir.path().join("usr/share/x/a.tar")).unwrap();
            write("usr/share/x/layout/index.json", "other");
            assert_ne!(file(image), before, "{image}");
            write("srv/a.tar", "2");
        }
        for image in [
            "oci-archive:/srv/a.tar",
            "oci-archive:/usr/link/a.tar",
            "oci-archive:/usr/none",
            "web",
            "oci:/usr/share/x",
        ] {
            assert_eq!(file(image), None, "{image}");
        }
    }

    /// The store says the same of each of them.
    #[cfg(feature = "store")]
    #[test]
    fn the_store_says_the_same() {
        let digest = format!("localhost:5000/web:2@sha256:{}", "a".repeat(64));
        for reference in REMOTE.into_iter().chain([digest.as_str(), "localhost:5000/web", "oci:/srv/web:1"]) {
            let parsed: crate::store::reference::Reference = reference.parse().unwrap();
            assert!(is_same(reference, &parsed.name().unwrap()), "{reference}");
        }
    }
}
