//! What the text of a reference tells of an image, for programs without the store.

/// Prefixes of references to images that are on this host. Those of registries are the others: `store::transports`, which
/// not every program has, knows all of them.
const LOCAL: [&str; 8] = [
    "containers-storage:",
    "dir:",
    "docker-archive:",
    "docker-daemon:",
    "docker:",
    "dockertar:",
    "oci-archive:",
    "oci:",
];
/// What begins like one of these, but is of a registry.
const REGISTRY: &str = "docker://";

/// Whether an image is on this host.
pub fn is_local(image: &str) -> bool {
    !image.starts_with(REGISTRY) && LOCAL.iter().any(|prefix| image.starts_with(prefix))
}

/// Whether a reference and the name of an image in the store are of the same image. References to what is on this host are
/// the same if they are written alike.
pub fn is_same(reference: &str, name: &str) -> bool {
    canonical(reference) == canonical(name)
}

/// The one form of all names of an image, as `store::reference` has it.
fn canonical(image: &str) -> String {
    if is_local(image) {
        return image.to_owned();
    }
    let name = image.strip_prefix(REGISTRY).unwrap_or(image);
    let (path, digest) = name.split_once('@').map_or((name, None), |(path, digest)| (path, Some(digest)));
    let slash = path.rfind('/').map_or(0, |slash| slash + 1);
    let tag = path[slash..].find(':').map(|colon| slash + colon);
    match (digest, tag) {
        (Some(digest), tag) => format!("{}@{digest}", &path[..tag.unwrap_or(path.len())]),
        (None, Some(_)) => name.to_owned(),
        (None, None) => format!("{name}:latest"),
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
        for transport in crate::store::transports::ALL {
            for prefix in transport.prefixes {
                assert_eq!(is_local(&format!("{prefix}x")), transport.name != "docker", "{prefix}");
            }
        }
        let digest = format!("localhost:5000/web:2@sha256:{}", "a".repeat(64));
        for reference in REMOTE.into_iter().chain([digest.as_str(), "localhost:5000/web", "oci:/srv/web:1"]) {
            let parsed: crate::store::reference::Reference = reference.parse().unwrap();
            assert!(is_same(reference, &parsed.name().unwrap()), "{reference}");
        }
    }
}
