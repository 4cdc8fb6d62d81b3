//! Finding images in the store by the names that people give.

use super::adopt;
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
        self.lookup(&name)?.ok_or_else(|| {
            let place = self.path.display();
            Error::new(format!(
                "cannot find image {name} in {place}: pull it with 'syscontainer-pull {image}'"
            ))
        })
    }

    /// Finds an image by its name in the store; returns `None` if there is none.
    pub fn lookup(&self, name: &str) -> Result<Option<Image>> {
        image::load(&self.repo, name).context(|| format!("cannot read image {name}"))
    }

    /// As [`Store::find`]; an image that Atomic pulled becomes one of ours.
    pub fn find_or_adopt(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        if image::is_foreign(&self.repo, &name)? { adopt::adopt(self, &name) } else { self.find(image) }
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
