//! Transports of images, containers-transports(5), and all properties in which they differ.
//!
//! To add a transport, describe it in a static of its own and add that to [`ALL`]. The compiler requires each property,
//! and a branch wherever a property gets a new value; the test below names the documents that do not mention the
//! transport yet.

/// A transport.
#[derive(Debug, PartialEq, Eq)]
pub struct Transport {
    /// Name in policy.json.
    pub name: &'static str,
    /// Prefixes of references. The first one is skopeo's; the others are accepted as well.
    pub prefixes: &'static [&'static str],
    /// What follows the prefix.
    pub location: Location,
    /// How images are found by the digests of their manifests.
    pub digests: Digests,
    /// The form of layers at the source.
    pub layers: Layers,
    /// How the scopes of policy.json are made from a location.
    pub scopes: Scopes,
}

/// What follows the prefix of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A name with a tag or a digest, which is the name in the store as well.
    Name,
    /// The path of a directory.
    Directory(Selector),
    /// The path of an archive, whose name has a suffix.
    Archive(Selector),
}

/// What follows a path, to choose from several images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Nothing: there is only one image.
    None,
    /// A tag. With the last part of the path it is the name in the store.
    Tag,
    /// A name, which is the name in the store. Without one, it is read from the archive.
    Name,
}

/// How images are found by the digests of their manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// Every image can be fetched by its digest.
    Served,
    /// A reference may have a digest, which skopeo looks up.
    LookedUp,
    /// A reference may have a digest, which means nothing to skopeo: the engine is asked for the image's ID.
    AskEngine,
    /// Images have no digests in references.
    None,
}

/// The form of layers at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// As the manifest names them.
    Original,
    /// Unpacked: the image proxy cannot serve what the manifest names, so skopeo has to make a copy, with other
    /// digests.
    Unpacked,
}

/// How the scopes of policy.json are made from a location, containers-policy.json(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Repositories and their parents, then `*.DOMAIN`.
    Registry,
    /// Locations and their parents.
    Path,
}

/// A registry: `docker://NAME`, or NAME alone.
pub static REGISTRY: Transport = Transport {
    name: "docker",
    prefixes: &["docker://"],
    location: Location::Name,
    digests: Digests::Served,
    layers: Layers::Original,
    scopes: Scopes::Registry,
};

/// The local engine with docker's interface. Only Atomic calls it `docker:`.
pub static DAEMON: Transport = Transport {
    name: "docker-daemon",
    prefixes: &["docker-daemon:", "docker:"],
    location: Location::Name,
    digests: Digests::AskEngine,
    layers: Layers::Original,
    scopes: Scopes::Path,
};

/// The local storage of podman and related tools.
static STORAGE: Transport = Transport {
    name: "containers-storage",
    prefixes: &["containers-storage:"],
    location: Location::Name,
    digests: Digests::LookedUp,
    layers: Layers::Unpacked,
    scopes: Scopes::Path,
};

/// An OCI layout: `oci:DIRECTORY[:TAG]`.
pub static LAYOUT: Transport = Transport {
    name: "oci",
    prefixes: &["oci:"],
    location: Location::Directory(Selector::Tag),
    digests: Digests::None,
    layers: Layers::Original,
    scopes: Scopes::Path,
};

/// An OCI layout in a tar archive: `oci-archive:FILE[:TAG]`.
pub static LAYOUT_ARCHIVE: Transport = Transport {
    name: "oci-archive",
    prefixes: &["oci-archive:"],
    location: Location::Archive(Selector::Tag),
    digests: Digests::None,
    layers: Layers::Original,
    scopes: Scopes::Path,
};

/// An archive that `docker save` wrote: `docker-archive:FILE[:NAME]`. `dockertar:` is Atomic's prefix.
pub static DOCKER_ARCHIVE: Transport = Transport {
    name: "docker-archive",
    prefixes: &["docker-archive:", "dockertar:"],
    location: Location::Archive(Selector::Name),
    digests: Digests::None,
    layers: Layers::Original,
    scopes: Scopes::Path,
};

/// The files of one image: `dir:DIRECTORY`.
pub static DIRECTORY: Transport = Transport {
    name: "dir",
    prefixes: &["dir:"],
    location: Location::Directory(Selector::None),
    digests: Digests::None,
    layers: Layers::Original,
    scopes: Scopes::Path,
};

/// All transports.
pub static ALL: [&Transport; 7] =
    [&REGISTRY, &DAEMON, &STORAGE, &LAYOUT, &LAYOUT_ARCHIVE, &DOCKER_ARCHIVE, &DIRECTORY];

impl Transport {
    /// The prefix that skopeo uses.
    pub fn prefix(&self) -> &'static str {
        self.prefixes.first().expect("every transport has a prefix")
    }

    /// Whether a location is a name rather than a path.
    pub fn has_names(&self) -> bool {
        match self.location {
            Location::Name => true,
            Location::Directory(_) | Location::Archive(_) => false,
        }
    }
}

/// The transport that a reference begins with, and what follows its prefix.
pub fn of(reference: &str) -> Option<(&'static Transport, &str)> {
    let prefixes =
        ALL.iter().flat_map(|transport| transport.prefixes.iter().map(|prefix| (*transport, *prefix)));
    let matching = prefixes.filter(|(_, prefix)| reference.starts_with(prefix));
    // One prefix may begin with another.
    let (transport, prefix) = matching.max_by_key(|(_, prefix)| prefix.len())?;
    Some((transport, &reference[prefix.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Says which documents have to be written when a transport is added.
    #[test]
    fn every_transport_is_documented() {
        let read = |path: &str| {
            let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
            text.replace('\\', "")
        };
        for path in ["helpers/syscontainer-pull.8", "tests/pull.md", "tests/stories/31-sources.sh"] {
            let text = read(path);
            for prefix in ALL.iter().flat_map(|transport| transport.prefixes) {
                assert!(text.contains(prefix), "{path} does not mention {prefix}");
            }
        }
        let usage = read("helpers/syscontainer-pull.rs");
        // Completions are generated from the table of options, and offer what usage texts mention.
        for prefix in ALL.map(Transport::prefix) {
            assert!(usage.contains(prefix), "the usage of syscontainer-pull does not mention {prefix}");
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        assert_eq!(of("docker://x"), Some((&REGISTRY, "x")));
        assert_eq!(of("docker:x"), Some((&DAEMON, "x")));
        assert_eq!(of("oci-archive:x"), Some((&LAYOUT_ARCHIVE, "x")));
        assert_eq!(of("x"), None);
    }
}
