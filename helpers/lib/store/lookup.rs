//! Finding images in the store by the names that users type.

use super::adopt;
use super::catalog;
use super::host::HostRepository;
use super::image;
use super::reference::Reference;
use super::repository::Store;
use crate::error::{Context, Error, Result};
use crate::image::Image;

impl Store {
    /// Finds an image by the reference that it was pulled by, or by its name in the store.
    pub fn find(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        if let Some(found) = self.lookup(&name)? {
            return Ok(found);
        }
        let (place, text) = (self.path.display(), format!("pull it with 'syscontainer-pull {image}'"));
        let remedy = match &self.host {
            Some(host) if host.has_image(image)? => format!(
                "Atomic pulled it into {}, where 'syscontainer-checkout {image}' finds it; or {text}",
                host.path().display()
            ),
            _ => text,
        };
        Err(Error::new(format!("cannot find image {name} in {place}: {remedy}")))
    }

    /// Finds an image by its name in the store; returns `None` if there is none.
    pub fn lookup(&self, name: &str) -> Result<Option<Image>> {
        image::load(&self.repo, name).context(|| format!("cannot read image {name}"))
    }

    /// Names of the images that Atomic pulled into the host's repository and that the store does not have.
    pub fn unadopted(&self) -> Result<Vec<String>> {
        let mut names = self.host.as_ref().map(HostRepository::images).transpose()?.unwrap_or_default();
        let ours = catalog::names(self)?;
        names.retain(|name| !ours.contains(name));
        Ok(names)
    }

    /// Like [`Store::find`], but adopts an image that Atomic pulled.
    pub fn find_or_adopt(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        if image::is_foreign(&self.repo, &name)? {
            return adopt::adopt(self, &self.repo, &name);
        }
        match &self.host {
            Some(host) if self.lookup(&name)?.is_none() && host.has_image(image)? => {
                host.allow_links();
                adopt::adopt(self, &host.repo, &name)
            }
            _ => self.find(image),
        }
    }

    /// The reference that an image in the store can be pulled from again.
    pub fn source(&self, name: &str) -> Result<Reference> {
        let source = match self.lookup(name)? {
            Some(image) => image::source(&self.repo, &image)?,
            None => None,
        };
        source.as_deref().unwrap_or(name).parse()
    }
}
