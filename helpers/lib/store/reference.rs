//! Image references: where an image comes from, and its name in the store.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::docker_archive;
use super::refs;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::program::credentials;
use crate::program::reference::{self as syntax, Parts};
use crate::program::transports::{
    self, DAEMON, DIRECTORY, DOCKER_ARCHIVE, Digests, LAYOUT, LAYOUT_ARCHIVE, Location, REGISTRY, Selector,
    Transport,
};
use crate::provenance::Provenance;

/// Suffixes of archives, which are not part of an image's name.
const SUFFIXES: [&str; 3] = [".tar.gz", ".tgz", ".tar"];

/// An image at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    transport: &'static Transport,
    /// A name with tag or digest, or a path.
    location: String,
    /// Which of the images at a path.
    image: Option<String>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        let shown = || credentials::concealed_reference(text);
        parse(text).map_err(|why| Error::usage(format!("invalid image reference {:?}: {why}", shown())))
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    let Parts { transport, location, image } = syntax::parse(text)?;
    Ok(Reference { transport, location, image })
}

impl Reference {
    /// The transport of the image.
    pub(super) fn transport(&self) -> &'static Transport {
        self.transport
    }

    /// A name with tag or digest, or a path.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The name in the store: the absolute reference, so that images of different sources have different names. Only
    /// `docker://` is left out, unless that would make it another one. It can be parsed again.
    pub fn name(&self) -> Result<String> {
        let absolute = self.absolute()?;
        // The host of a registry may be called like another transport.
        let is_plain = self.transport == &REGISTRY && transports::of(&self.location).is_none();
        let name = if is_plain { absolute.location } else { absolute.to_skopeo() };
        if refs::is_too_long(&name) {
            return Err(Error::usage(format!(
                "the reference {name} is too long for a name in the image store; shorten its path"
            )));
        }
        Ok(name)
    }

    /// What the image is called without its source. If only an archive itself has the name of its image, it is opened where
    /// `place` says that it is.
    pub fn title(&self, place: &Reference) -> Result<String> {
        match self.transport.location {
            Location::Name => Ok(self.location.clone()),
            Location::Directory(selector) | Location::Archive(selector) => match (selector, &self.image) {
                (Selector::Name, Some(name)) => Ok(name.clone()),
                (Selector::Name, None) => self.title_in_archive(place),
                (Selector::None | Selector::Tag, tag) => {
                    Ok(format!("{}:{}", self.stem(), tag.as_deref().unwrap_or("latest")))
                }
            },
        }
    }

    fn title_in_archive(&self, place: &Reference) -> Result<String> {
        let what = || format!("cannot read {}", place.location);
        let Some(tag) = docker_archive::first_tag(Path::new(&place.location))? else {
            return Ok(format!("{}:latest", self.stem()));
        };
        // The name is printed, and may become that of a container.
        let invalid =
            |why| format!("its name {:?} is invalid: {why}", credentials::concealed_reference(&tag));
        syntax::check_name(&tag).map_err(invalid).context(what)?;
        Ok(syntax::canonical(&tag))
    }

    /// The last part of a path, and that of an archive without its suffix.
    fn stem(&self) -> String {
        let path = PathBuf::from(&self.location);
        let name = path.file_name().map_or("image".into(), |name| name.to_string_lossy());
        let stem = match self.transport.location {
            Location::Archive(_) => SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)),
            Location::Name | Location::Directory(_) => None,
        };
        stem.unwrap_or(&name).to_owned()
    }

    /// The reference as skopeo takes it.
    pub fn to_skopeo(&self) -> String {
        let image = self.image.as_ref().map(|image| format!(":{image}")).unwrap_or_default();
        format!("{}{}{image}", self.transport.prefix(), self.location)
    }

    /// Where an image comes from that is pulled by this reference.
    pub fn provenance(&self, architecture: &str, policy_scope: Option<String>) -> Result<Provenance> {
        let (transport, source) = (self.transport.name.to_owned(), self.absolute()?.to_skopeo());
        Ok(Provenance { transport, source, architecture: architecture.to_owned(), policy_scope })
    }

    /// The same image, independent of the working directory.
    pub fn absolute(&self) -> Result<Reference> {
        if self.transport.has_names() {
            return Ok(self.clone());
        }
        let what = || format!("cannot use {}", self.to_skopeo());
        let path = std::path::absolute(Path::new(&self.location)).context(what)?;
        // Without slashes that mean nothing.
        let path: PathBuf = path.components().collect();
        let location = path.to_str().map(str::to_owned);
        let absolute = location.map(|location| Reference { location, ..self.clone() });
        // The working directory may contain what no reference can.
        absolute.filter(|absolute| parse(&absolute.to_skopeo()).as_ref() == Ok(absolute)).ok_or_else(|| {
            let path = path.display();
            Error::new(format!(
                "{}: its path {path} cannot be part of an image reference; use a path without colons, blanks and control characters",
                what()
            ))
        })
    }

    /// The same image by the digest of its manifest, if its source supports that.
    pub fn with_digest(&self, digest: &Digest) -> Option<Reference> {
        match self.transport.digests {
            Digests::Served => {}
            Digests::LookedUp | Digests::AskEngine | Digests::None => return None,
        }
        let location = format!("{}@{digest}", syntax::repository(&self.location));
        Some(Reference { transport: self.transport, location, image: None })
    }

    /// Whether the reference names an image by the digest of its manifest.
    pub fn has_digest(&self) -> bool {
        self.transport.has_names() && self.location.contains('@')
    }

    /// An image of the local engine, by its ID.
    pub fn of_engine(id: &Digest) -> Reference {
        Reference { transport: &DAEMON, location: id.to_string(), image: None }
    }

    /// Why the image cannot be opened, in place of what skopeo says, if it is not in its archive.
    pub(super) fn explain(&self, error: Error) -> Error {
        let wanted = self.image.as_deref().filter(|_| self.transport == &DOCKER_ARCHIVE);
        let absence = wanted.and_then(|wanted| docker_archive::absence(Path::new(&self.location), wanted));
        absence.map_or(error, Error::new)
    }

    /// Whether its image is at a registry.
    pub(super) fn is_remote(&self) -> bool {
        self.transport == &REGISTRY
    }

    /// Whether it is a layout in an archive, which skopeo must not unpack.
    pub(super) fn is_layout_archive(&self) -> bool {
        self.transport == &LAYOUT_ARCHIVE
    }

    /// The same image in a layout that was made of its archive.
    pub(super) fn unpacked(&self, path: &Path) -> Reference {
        Reference { transport: &LAYOUT, ..self.at(path) }
    }

    /// The same image at another path.
    pub(super) fn at(&self, path: &Path) -> Reference {
        Reference { location: path.to_string_lossy().into_owned(), ..self.clone() }
    }

    /// The files of one image in a directory.
    pub fn directory(path: &Path) -> Reference {
        let location = path.to_string_lossy().into_owned();
        Reference { transport: &DIRECTORY, location, image: None }
    }
}

#[cfg(test)]
mod tests;
