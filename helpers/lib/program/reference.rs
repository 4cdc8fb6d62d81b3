//! The syntax of image references, which every program knows, whether it can pull images or not.

use crate::digest::Digest;
use crate::program::credentials;
use crate::program::transports::{self, Location, REGISTRY, Selector, Transport};

/// What a reference says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// How the image is reached.
    pub transport: &'static Transport,
    /// A name with tag or digest, in the one form that all names of the same image have; or a path.
    pub location: String,
    /// Which of the images at a path.
    pub image: Option<String>,
}

/// Parses a reference. The error is a reason, without credentials.
pub fn parse(text: &str) -> Result<Parts, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it contains blanks or control characters".into());
    }
    let (transport, rest) = match (transports::of(text), text.split_once("://")) {
        (Some(found), _) => found,
        (None, Some((other, _))) => {
            return Err(format!("unknown transport {:?}", credentials::concealed_reference(other)));
        }
        (None, None) => (&REGISTRY, text),
    };
    let selector = match transport.location {
        Location::Name => {
            check_name(rest)?;
            return Ok(Parts { transport, location: canonical(rest), image: None });
        }
        Location::Directory(selector) | Location::Archive(selector) => selector,
    };
    let (path, image) = match (selector, rest.split_once(':')) {
        (Selector::None, _) | (_, None) => (rest, None),
        (Selector::Tag | Selector::Name, Some((path, image))) => (path, Some(image)),
    };
    if path.is_empty() || image == Some("") {
        let prefix = transport.prefix();
        return Err(match selector {
            Selector::None => format!("expected {prefix}PATH"),
            Selector::Tag => {
                format!("expected {prefix}PATH, or {prefix}PATH:TAG if there are several images")
            }
            Selector::Name => {
                format!("expected {prefix}PATH, or {prefix}PATH:NAME if there are several images")
            }
        });
    }
    let image = match selector {
        Selector::None | Selector::Tag => image.map(str::to_owned),
        Selector::Name => {
            image.map_or(Ok(()), refuse_credentials)?;
            image.map(with_tag)
        }
    };
    Ok(Parts { transport, location: path.to_owned(), image })
}

/// A name without its tag or digest.
pub fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The part after the last slash, which has the tag and digest; a registry's port is before it.
fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The one form of all names of the same image: a digest decides, whatever tag is before it.
pub fn canonical(name: &str) -> String {
    match name.split_once('@') {
        Some((_, digest)) => format!("{}@{digest}", repository(name)),
        None => with_tag(name),
    }
}

fn with_tag(name: &str) -> String {
    if last_part(name).contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// A reference is shown and recorded, so it must not contain credentials; skopeo does not take them either.
fn refuse_credentials(name: &str) -> Result<(), String> {
    if credentials::are_in(name) {
        return Err(
            "it contains a user name or a password; run 'skopeo login', or use --authfile=FILE".into()
        );
    }
    Ok(())
}

/// Checks a name with its tag or digest.
pub fn check_name(name: &str) -> Result<(), String> {
    refuse_credentials(name)?;
    let last = last_part(name);
    let (path, digest) = match name.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => (name, None),
    };
    if let Some(digest) = digest {
        digest.parse::<Digest>().map_err(|e| e.to_string())?;
        if path.ends_with(':') {
            return Err("the tag is empty".into());
        }
    }
    if last.starts_with([':', '@']) || name.split('/').any(str::is_empty) {
        return Err("a part of the name is empty".into());
    }
    if name.contains(":/") {
        return Err("a port in the name is empty".into());
    }
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | '[' | ']');
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("{c:?} is not allowed in a name")),
        None if name.ends_with(':') => Err("the tag is empty".into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed_without_a_store() {
        let parts = |text: &str| parse(text).map(|parts| (parts.transport.name, parts.location, parts.image));
        for (text, transport, location, image) in [
            ("quay.io/web", "docker", "quay.io/web:latest", None),
            ("docker://localhost:5000/web:1", "docker", "localhost:5000/web:1", None),
            ("oci:/srv/web:1", "oci", "/srv/web", Some("1")),
            ("docker-archive:/srv/web.tar:web", "docker-archive", "/srv/web.tar", Some("web:latest")),
        ] {
            assert_eq!(parts(text), Ok((transport, location.to_owned(), image.map(str::to_owned))), "{text}");
        }
        for (text, why) in [
            ("https://quay.io/x", "unknown transport \"https\""),
            ("Docker://quay.io/x", "unknown transport \"Docker\""),
            ("a//b", "a part of the name is empty"),
            ("OCI:/x", "a port in the name is empty"),
            ("oci:", "expected oci:PATH, or oci:PATH:TAG if there are several images"),
            ("a b", "it contains blanks or control characters"),
            ("x@sha256:12", "invalid digest \"sha256:12\""),
            ("x:", "the tag is empty"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.starts_with(why), "{text}: {found}");
        }
        let found = parse("user:hunter2@r.io/x").unwrap_err();
        assert!(found.contains("a password") && !found.contains("hunter2"), "{found}");
    }
}
