//! Image references: where an image comes from, and what it is called in the store.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::bufread::GzDecoder;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// Prefix of all refs in the repository.
const PREFIX: &str = "ociimage/";
/// Longest manifest of an archive.
const MANIFEST_MAX: u64 = 4 << 20;

/// How skopeo reaches an image, containers-transports(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A registry: `docker://NAME`, or NAME alone.
    Registry,
    /// The local engine with docker's interface: `docker-daemon:NAME`.
    Daemon,
    /// The local storage of podman and its kin: `containers-storage:NAME`.
    Storage,
    /// An OCI layout: `oci:DIRECTORY[:TAG]`.
    Layout,
    /// An OCI layout in a tar archive: `oci-archive:FILE[:TAG]`.
    LayoutArchive,
    /// What `docker save` writes: `docker-archive:FILE[:NAME]`.
    Archive,
    /// A directory with the files of one image: `dir:DIRECTORY`.
    Directory,
}

impl Transport {
    /// Its name in references and in policy.json.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Registry => "docker",
            Transport::Daemon => "docker-daemon",
            Transport::Storage => "containers-storage",
            Transport::Layout => "oci",
            Transport::LayoutArchive => "oci-archive",
            Transport::Archive => "docker-archive",
            Transport::Directory => "dir",
        }
    }

    fn has_names(self) -> bool {
        matches!(self, Transport::Registry | Transport::Daemon | Transport::Storage)
    }
}

/// Prefixes of references, the longest first where one begins like another. The last two are the original's: `docker:` is
/// the local engine, which nobody else calls so.
const PREFIXES: [(&str, Transport); 9] = [
    ("docker://", Transport::Registry),
    ("docker-daemon:", Transport::Daemon),
    ("docker-archive:", Transport::Archive),
    ("containers-storage:", Transport::Storage),
    ("oci-archive:", Transport::LayoutArchive),
    ("oci:", Transport::Layout),
    ("dir:", Transport::Directory),
    ("dockertar:", Transport::Archive),
    ("docker:", Transport::Daemon),
];

/// An image at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    transport: Transport,
    /// A name with tag or digest, or a path.
    location: String,
    /// Which of the images in a file or directory.
    image: Option<String>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        parse(text).map_err(|why| Error::usage(format!("invalid image reference {text:?}: {why}")))
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it holds blanks or control characters".into());
    }
    let found = PREFIXES.iter().find_map(|(prefix, t)| text.strip_prefix(prefix).map(|rest| (*t, rest)));
    let (transport, rest) = match (found, text.split_once("://")) {
        (Some(found), _) => found,
        (None, Some((other, _))) => return Err(format!("unknown transport {other:?}")),
        (None, None) => (Transport::Registry, text),
    };
    if transport.has_names() {
        check_name(rest)?;
        return Ok(Reference { transport, location: with_tag(rest), image: None });
    }
    let (path, image) = match rest.split_once(':') {
        Some((path, image)) if transport != Transport::Directory => (path, Some(image)),
        _ => (rest, None),
    };
    if path.is_empty() || image == Some("") {
        return Err(format!(
            "expected {}:PATH, or {0}:PATH:NAME where it holds several images",
            transport.name()
        ));
    }
    let image =
        image.map(|image| if transport == Transport::Archive { with_tag(image) } else { image.to_owned() });
    Ok(Reference { transport, location: path.to_owned(), image })
}

impl Reference {
    /// How the image is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// A name with tag or digest, or a path.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The name in the store. An archive is opened if nothing else tells it.
    pub fn name(&self) -> Result<String> {
        if self.transport.has_names() {
            return Ok(self.location.clone());
        }
        match (self.transport, &self.image) {
            (Transport::Archive, Some(name)) => Ok(name.clone()),
            (Transport::Archive, None) => {
                let file = Path::new(&self.location);
                let what = || format!("cannot read {}", self.location);
                let tag = first_tag(file).context(what)?;
                // It is printed, and may be a container's name.
                let check = |tag: &String| {
                    check_name(tag).map_err(|why| format!("its name {tag:?} is invalid: {why}"))
                };
                tag.iter().try_for_each(check).context(what)?;
                Ok(tag.map_or_else(|| format!("{}:latest", self.stem()), |tag| with_tag(&tag)))
            }
            (_, tag) => Ok(format!("{}:{}", self.stem(), tag.as_deref().unwrap_or("latest"))),
        }
    }

    /// The last part of a path; of an archive, without its suffixes.
    fn stem(&self) -> String {
        let path = PathBuf::from(&self.location);
        let name = path.file_name().map_or("image".into(), |name| name.to_string_lossy());
        let is_file = matches!(self.transport, Transport::Archive | Transport::LayoutArchive);
        let suffixes = [".tar.gz", ".tgz", ".tar"];
        let stem = suffixes.iter().filter(|_| is_file).find_map(|suffix| name.strip_suffix(suffix));
        stem.unwrap_or(&name).to_owned()
    }

    /// As skopeo takes it.
    pub fn to_skopeo(&self) -> String {
        let slashes = if self.transport == Transport::Registry { "//" } else { "" };
        let image = self.image.as_ref().map(|image| format!(":{image}")).unwrap_or_default();
        format!("{}:{slashes}{}{image}", self.transport.name(), self.location)
    }

    /// The same image for whoever is in another directory.
    pub fn absolute(&self) -> Reference {
        let path = Path::new(&self.location);
        let absolute = std::path::absolute(path).ok().filter(|_| !self.transport.has_names());
        let location = absolute.and_then(|path| path.into_os_string().into_string().ok());
        Reference { location: location.unwrap_or_else(|| self.location.clone()), ..self.clone() }
    }

    /// The same image by the digest of its manifest; for registries only.
    pub fn with_digest(&self, digest: &Digest) -> Option<Reference> {
        let repository = self.location.split('@').next().unwrap_or_default();
        let repository = match repository.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => repository,
        };
        let location = format!("{repository}@{digest}");
        let reference = Reference { transport: Transport::Registry, location, image: None };
        (self.transport == Transport::Registry).then_some(reference)
    }

    /// Whether it names an image by the digest of its manifest.
    pub fn has_digest(&self) -> bool {
        self.transport.has_names() && self.location.contains('@')
    }

    /// An image of the local engine by its ID.
    pub fn of_engine(id: &Digest) -> Reference {
        Reference { transport: Transport::Daemon, location: id.to_string(), image: None }
    }

    /// The files of one image in a directory.
    pub fn directory(path: &Path) -> Reference {
        let location = path.to_string_lossy().into_owned();
        Reference { transport: Transport::Directory, location, image: None }
    }
}

/// The part behind the last slash, where tag and digest are: a registry's port is before it.
fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn with_tag(name: &str) -> String {
    if last_part(name).contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

fn check_name(name: &str) -> Result<(), String> {
    let last = last_part(name);
    let (path, digest) = match name.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => (name, None),
    };
    if let Some(digest) = digest {
        digest.parse::<Digest>().map_err(|e| e.to_string())?;
        if last_part(path).contains(':') {
            return Err("it has both a tag and a digest; leave one out".into());
        }
    }
    if last.starts_with([':', '@']) || name.split('/').any(str::is_empty) {
        return Err("a part of the name is empty".into());
    }
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | '[' | ']');
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("{c:?} is not allowed in a name")),
        None if name.ends_with(':') => Err("the tag is empty".into()),
        None => Ok(()),
    }
}

/// The first tag of the last image of an archive: the one that the original took.
fn first_tag(file: &Path) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
    let mut reader = BufReader::new(File::open(file)?);
    let gzipped = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if gzipped { Box::new(GzDecoder::new(reader)) } else { Box::new(reader) };
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        if &*entry.path_bytes() == b"manifest.json" {
            let manifest: serde_json::Value = serde_json::from_reader(entry.take(MANIFEST_MAX))?;
            let last = manifest.as_array().and_then(|images| images.last());
            let tag = last.and_then(|image| image.pointer("/RepoTags/0")).and_then(|tag| tag.as_str());
            return Ok(tag.map(str::to_owned));
        }
    }
    Err("it has no manifest.json, so it is no docker archive".into())
}

/// The ref of an image: bytes other than letters, digits, `.` and `-` become `_` and two hexadecimal digits.
pub fn image_ref(name: &str) -> String {
    let mut encoded = PREFIX.to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("_{byte:02X}"));
        }
    }
    encoded
}

/// The name of the image that a ref is of; `None` if it is none of an image's.
pub fn image_name(reference: &str) -> Option<String> {
    let encoded = reference.strip_prefix(PREFIX)?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    // Layers and configurations have digests only.
    (name.contains(':') && image_ref(&name) == reference).then_some(name)
}

/// The digest of the blob that a ref is of; `None` if it is none of a layer or configuration.
pub fn layer_digest(reference: &str) -> Option<Digest> {
    format!("sha256:{}", reference.strip_prefix(PREFIX)?).parse().ok()
}

/// Whether a ref is what libostree was killed on the way to one: it writes them under such names first.
pub fn is_temporary(reference: &str) -> bool {
    let random = reference.strip_prefix(PREFIX).and_then(|name| name.strip_prefix("tmp."));
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether a ref has a name as those of images and layers.
pub fn is_ours(reference: &str) -> bool {
    reference.starts_with(PREFIX)
}

/// The ref of a layer, by the digest of its blob.
pub fn layer_ref(digest: &Digest) -> String {
    format!("{PREFIX}{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_and_sources() {
        for (text, name, skopeo) in [
            ("docker://r.io/x/y:1", "r.io/x/y:1", "docker://r.io/x/y:1"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "docker://127.0.0.1:5000/x:latest"),
            ("busybox", "busybox:latest", "docker://busybox:latest"),
            ("docker-daemon:r.io/x", "r.io/x:latest", "docker-daemon:r.io/x:latest"),
            ("docker-daemon:sha256:12ab", "sha256:12ab", "docker-daemon:sha256:12ab"),
            ("docker:x", "x:latest", "docker-daemon:x:latest"),
            ("docker:x:1", "x:1", "docker-daemon:x:1"),
            ("containers-storage:r.io/x:1", "r.io/x:1", "containers-storage:r.io/x:1"),
            ("oci:/a/b", "b:latest", "oci:/a/b"),
            ("oci:/a/b:1.0", "b:1.0", "oci:/a/b:1.0"),
            ("oci-archive:/a/b.tar:1.0", "b:1.0", "oci-archive:/a/b.tar:1.0"),
            ("oci-archive:b.tgz", "b:latest", "oci-archive:b.tgz"),
            ("dir:/a/b.d", "b.d:latest", "dir:/a/b.d"),
            ("docker-archive:/a/b.tar:r.io/x", "r.io/x:latest", "docker-archive:/a/b.tar:r.io/x:latest"),
            ("dockertar:/a/b.tar:x:1", "x:1", "docker-archive:/a/b.tar:x:1"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.name().unwrap().as_str(), reference.to_skopeo().as_str()), (name, skopeo));
        }
        for transport in ["", "docker://", "containers-storage:"] {
            let name = format!("r.io/x@sha256:{HEX}");
            assert_eq!(format!("{transport}{name}").parse::<Reference>().unwrap().name().unwrap(), name);
        }
    }

    #[test]
    fn the_same_image_by_digest() {
        let digest = Digest::of(b"");
        for name in ["r.io:5000/x", "r.io:5000/x:1", &format!("r.io:5000/x@sha256:{HEX}")] {
            let reference = name.parse::<Reference>().unwrap().with_digest(&digest).unwrap();
            assert_eq!(reference.to_skopeo(), format!("docker://r.io:5000/x@{digest}"));
        }
        assert_eq!("dir:/x".parse::<Reference>().unwrap().with_digest(&digest), None);
    }

    #[test]
    fn refuses_with_a_reason() {
        let both = format!("r.io/x:1@sha256:{HEX}");
        let texts = [
            "",
            "a b",
            "x\n",
            "http://x",
            "ftp://y",
            "r/x@sha256:12",
            &both,
            "r//x",
            "r/",
            "x:",
            ":x",
            "@x",
            "r/x;y",
            "oci:",
            "oci:/x:",
            "docker-archive:",
            "dir:",
            "docker:",
            "docker-daemon:a//b",
        ];
        for text in texts {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.is_usage() && error.to_string().starts_with("invalid image reference"), "{text}");
        }
    }

    #[test]
    fn tells_refs_apart() {
        let digest = Digest::of(b"");
        assert_eq!(layer_digest(&layer_ref(&digest)), Some(digest));
        for other in [HEX, "ociimage/12ab", "ostree/0/1/0", &image_ref(HEX)[..70]] {
            assert_eq!(layer_digest(other), None, "{other}");
        }
        assert!(is_temporary("ociimage/tmp.a1B2c3"));
        for other in ["tmp.a1B2c3", "ociimage/tmp.a", "ociimage/tmp.a_3A12", "ociimage/x"] {
            assert!(!is_temporary(other), "{other}");
        }
    }

    #[test]
    fn encodes_as_containers_image_does() {
        assert_eq!(image_ref("docker.io/x_y/z:1"), "ociimage/docker.io_2Fx_5Fy_2Fz_3A1");
        assert_eq!(image_ref("ä"), "ociimage/_C3_A4");
    }

    /// Whatever is typed, parsing ends without a panic, and what it takes goes to skopeo as one word.
    #[test]
    fn never_panics() {
        let parts = [
            "docker", "oci", ":", "//", "/", "@", "sha256:", HEX, "x", ".", "-", " ", "\n", "ä", "dir", "tar",
        ];
        let mut state = 3u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..(state >> 60) {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                text.push_str(parts[(state >> 33) as usize % parts.len()]);
            }
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if let Ok(reference) = text.parse::<Reference>() {
                assert!(!reference.to_skopeo().contains(char::is_whitespace), "{text}");
            }
        }
    }
}
