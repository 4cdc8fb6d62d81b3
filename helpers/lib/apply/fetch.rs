//! Pulling what declarations name.

use std::path::Path;

use crate::apply::wanted::Wanted;
use crate::error::{Context, Error, Result};
use crate::paths::Root;
use crate::store::Store;
use crate::store::access::Access;
use crate::store::progress::Progress;
use crate::store::pull::{self, PullObserver};
use crate::store::{retry, source_files};
use crate::system::journal::{self, Event, Subject};

/// How images are pulled.
pub struct Fetch<'a> {
    /// The tree whose store it is.
    pub root: &'a Root,
    /// The store, if not the default one.
    pub repo: Option<&'a Path>,
    /// Whether a network that is away is waited for.
    pub is_patient: bool,
    /// Whether no progress is shown.
    pub quiet: bool,
}

impl Fetch<'_> {
    /// Pulls the image of a declaration. Returns whether the store had none, or another one, under its name.
    pub fn pull(&self, wanted: &Wanted) -> Result<bool> {
        let reference = &wanted.reference;
        let what = || format!("cannot pull {}", wanted.image);
        // A path is that of whoever declares it, as is the name that the image has in the store.
        let access = Access { root: self.root.clone(), ..Access::default() };
        access.place(reference).context(what)?;
        // Nobody looks at what is there now before it runs.
        source_files::check_owner(self.root, reference).map_err(|e| {
            Error::new(format!("{}: {e}; move it to a directory that only root may write to", what()))
        })?;
        let store = Store::open_or_create(self.root, self.repo)?;
        let observer = Progress::new(self.quiet);
        let attempt = || pull::pull(&store, reference, &access, &observer);
        let pulled = match self.is_patient {
            true => retry::patiently(&|text| observer.retrying(text), attempt)?,
            false => attempt()?,
        };
        let image = &pulled.image;
        if pulled.changed {
            let message = format!("pulled {}", journal::shown(&image.name, &image.digest));
            let subject = Subject::of_image(&image.name, &image.digest);
            if self.quiet {
                journal::record(self.root, Event::Pulled, &subject, &message);
            } else {
                journal::tell(self.root, Event::Pulled, &subject, &message);
            }
        }
        Ok(pulled.changed)
    }

    /// Adds the remedy to the error of an image that is not in the store.
    pub fn missing(wanted: &Wanted) -> Error {
        Error::new(format!(
            "image {} is not in the store; pull it with 'syscontainer-pull {}'",
            wanted.image,
            wanted.reference.to_skopeo()
        ))
    }

    /// Whether the source of a declaration can be found at all: a path that is not there is said as such.
    pub fn check(&self, wanted: &Wanted) -> Result<()> {
        let access = Access { root: self.root.clone(), ..Access::default() };
        let place = access.place(&wanted.reference);
        place.and_then(|place| source_files::check(&place)).context(|| "cannot pull it".into())
    }
}
