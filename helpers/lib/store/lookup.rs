//! Finding images in the store by the names that users type.

use super::adopt;
use super::catalog;
use super::host::HostRepository;
use super::image;
use super::reference::Reference;
use super::repository::Store;
use crate::commit::Commit;
use crate::error::{Context, Error, Result};
use crate::image::Image;

impl Store {
    /// Finds an image by its name in the store, which is the reference that it was pulled by. One that was pulled from
    /// elsewhere is never taken for it, whatever that calls itself.
    pub fn find(&self, image: &str) -> Result<Image> {
        let reference: Reference = image.parse()?;
        let name = reference.name()?;
        if let Some(found) = self.lookup(&name)? {
            return Ok(found);
        }
        match &self.host {
            Some(host) if host.has_image(image)? => Err(Error::new(format!(
                "cannot find image {name} in {}: Atomic pulled it into {}, where 'syscontainer-checkout {image}' finds it; or pull it with 'syscontainer-pull {image}'",
                self.path.display(),
                host.path().display()
            ))),
            _ => Err(self.not_found(&name, &reference)),
        }
    }

    fn not_found(&self, name: &str, reference: &Reference) -> Error {
        let place = self.path.display();
        let others = self.called(reference.location());
        let others = match others.is_empty() {
            true => String::new(),
            false => format!("; {} has that title, but comes from another source", others.join(", ")),
        };
        Error::new(format!(
            "cannot find image {name} in {place}: pull it with 'syscontainer-pull {name}'{others}"
        ))
    }

    /// Names of images that call themselves so, and came from elsewhere.
    fn called(&self, title: &str) -> Vec<String> {
        let names = catalog::names(self).unwrap_or_default().into_iter();
        let images = names.filter_map(|name| image::load(&self.repo, &name).ok().flatten());
        images.filter(|image| image.title == title && image.name != title).map(|image| image.name).collect()
    }

    /// Finds an image by its name in the store; returns `None` if there is none.
    pub fn lookup(&self, name: &str) -> Result<Option<Image>> {
        image::load(&self.repo, name).context(|| format!("cannot read image {name}"))
    }

    /// The image that a deployment was made from, by its name and its commit, also if another one has the name by now; `None` if
    /// it is gone.
    pub fn of_commit(&self, name: &str, commit: &Commit) -> Result<Option<Image>> {
        image::load_commit(&self.repo, name, commit).context(|| format!("cannot read image {name}"))
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
}
