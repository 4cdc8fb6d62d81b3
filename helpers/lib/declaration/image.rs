//! What the text of a reference tells of an image, for programs without the store.

use crate::program::reference;
use crate::program::transports::{self, REGISTRY};

/// Whether an image is on this host.
pub fn is_local(image: &str) -> bool {
    transports::of(image).is_some_and(|(transport, _)| *transport != REGISTRY)
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
