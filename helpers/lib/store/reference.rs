//! Image references: where an image comes from, and what it is called in the store.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::bufread::GzDecoder;

use crate::error::{Context, Error, Result};

/// Prefix of all refs in the repository.
const PREFIX: &str = "ociimage/";
/// Longest manifest of an archive.
const MANIFEST_MAX: u64 = 4 << 20;

/// An image at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// In a registry: `docker://NAME`, or NAME alone.
    Registry {
        /// `registry/name:tag` or `registry/name@digest`.
        name: String,
    },
    /// An OCI layout: `oci:DIRECTORY[:TAG]`.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// The image in it, if there are several.
        tag: Option<String>,
    },
    /// What `docker save` writes: `docker-archive:FILE[:NAME]`.
    Archive {
        /// The file.
        file: PathBuf,
        /// The image in it.
        name: Option<String>,
    },
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        let invalid = |why: &str| Error::usage(format!("invalid image reference {text:?}: {why}"));
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("it holds blanks or control characters"));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (directory, tag) =
                path_and_name(rest).ok_or_else(|| invalid("expected oci:DIRECTORY[:TAG]"))?;
            return Ok(Reference::Layout { directory, tag });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, name) =
                path_and_name(rest).ok_or_else(|| invalid("expected docker-archive:FILE[:NAME]"))?;
            return Ok(Reference::Archive { file, name: name.map(|name| with_tag(&name)) });
        }
        let name = match text.split_once("://") {
            Some(("docker", name)) => name,
            Some((other, _)) => return Err(invalid(&format!("unknown transport {other:?}"))),
            None => text,
        };
        check_name(name).map_err(|why| invalid(&why))?;
        Ok(Reference::Registry { name: with_tag(name) })
    }
}

impl Reference {
    /// The name in the store. An archive is opened if nothing else tells it.
    pub fn name(&self) -> Result<String> {
        match self {
            Reference::Registry { name } | Reference::Archive { name: Some(name), .. } => Ok(name.clone()),
            Reference::Layout { directory, tag } => {
                Ok(format!("{}:{}", base_name(directory), tag.as_deref().unwrap_or("latest")))
            }
            Reference::Archive { file, name: None } => {
                let what = || format!("cannot read {}", file.display());
                match first_tag(file).context(what)? {
                    Some(name) => Ok(with_tag(&name)),
                    None => Ok(format!("{}:latest", base_name(&file.with_extension("")))),
                }
            }
        }
    }

    /// As skopeo takes it, containers-transports(5).
    pub fn to_skopeo(&self) -> String {
        match self {
            Reference::Registry { name } => format!("docker://{name}"),
            Reference::Layout { directory, tag } => with_suffix(format!("oci:{}", directory.display()), tag),
            Reference::Archive { file, name } => {
                with_suffix(format!("docker-archive:{}", file.display()), name)
            }
        }
    }
}

fn with_suffix(text: String, suffix: &Option<String>) -> String {
    match suffix {
        Some(suffix) => format!("{text}:{suffix}"),
        None => text,
    }
}

fn path_and_name(text: &str) -> Option<(PathBuf, Option<String>)> {
    let (path, name) = match text.split_once(':') {
        Some((path, name)) => (path, Some(name.to_owned())),
        None => (text, None),
    };
    (!path.is_empty() && name.as_deref() != Some("")).then(|| (PathBuf::from(path), name))
}

fn base_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "image".into(), |name| name.to_string_lossy().into_owned())
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
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!("{digest:?} is not 'sha256:' and 64 hexadecimal digits"));
        }
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
    let gzipped = std::io::BufRead::fill_buf(&mut reader)?.starts_with(&[0x1f, 0x8b]);
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

/// The ref of a layer, by the digest of its blob without `sha256:`.
pub fn layer_ref(hex: &str) -> String {
    format!("{PREFIX}{hex}")
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
            ("oci:/a/b", "b:latest", "oci:/a/b"),
            ("oci:/a/b:1.0", "b:1.0", "oci:/a/b:1.0"),
            ("docker-archive:/a/b.tar:r.io/x", "r.io/x:latest", "docker-archive:/a/b.tar:r.io/x:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.name().unwrap().as_str(), reference.to_skopeo().as_str()), (name, skopeo));
        }
        let digest = format!("r.io/x@sha256:{HEX}");
        assert_eq!(digest.parse::<Reference>().unwrap().name().unwrap(), digest);
    }

    #[test]
    fn refuses_with_a_reason() {
        let both = format!("r.io/x:1@sha256:{HEX}");
        for text in [
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
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.is_usage() && error.to_string().starts_with("invalid image reference"), "{text}");
        }
    }

    #[test]
    fn encodes_as_containers_image_does() {
        assert_eq!(image_ref("docker.io/x_y/z:1"), "ociimage/docker.io_2Fx_5Fy_2Fz_3A1");
        assert_eq!(image_ref("ä"), "ociimage/_C3_A4");
    }
}
