//! What is to be done for a declaration: a comparison of what is wanted with what is installed, and nothing else.

use std::path::Path;

use crate::apply::wanted::Wanted;
use crate::container::declared::Declared;
use crate::container::info::{ExportsUse, Info};
use crate::container::registration::Registration;
use crate::container::state::State;
use crate::declaration::Declaration;
use crate::declaration::choices::Pull;
use crate::declaration::files::Place;
use crate::image::Image;
use crate::install::acceptance::Wish;
use crate::install::same;

/// A container as it is.
pub struct Installed {
    /// The `info` of its current deployment.
    pub info: Info,
    /// Its registration, if that can be read.
    pub registration: Option<Registration>,
}

/// What is known of a host.
pub struct Facts<'a> {
    /// The container; `None` if it is not installed.
    pub installed: Option<&'a Installed>,
    /// What is remembered of it.
    pub state: &'a State,
    /// The runtime that is taken where none is chosen.
    pub runtime: Option<&'a Path>,
    /// Whether its unit is masked: then systemctl changes no links of it.
    pub is_masked: bool,
    /// Whether its daily updates are turned on.
    pub has_updates: bool,
    /// Whether the unit of a container whose deployments are gone is enabled; `None` if there is none.
    pub was_enabled: Option<bool>,
}

/// Which image counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that the container was made from, whatever has its name by now.
    Installed,
    /// The one in the store that has the name.
    Named,
}

/// What becomes of the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deploy {
    /// It is the first one.
    Install,
    /// It stays.
    Keep,
    /// The next one is current at once, and is run by the next start.
    Values,
    /// The next one has another image: it is run at once, watched, and reverted if it fails.
    Watched,
    /// The next one has another image, and nothing to be watched.
    AtOnce,
    /// The next one would have an image that failed before, for this reason.
    Failed(String),
}

/// What becomes of the links of `[Install]` after an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabling {
    /// They stay as they are.
    Keep,
    /// They are made, or removed.
    To(bool),
    /// They are made or removed as presets say.
    Preset,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What becomes of the deployment.
    pub deploy: Deploy,
    /// Whether `/exports` of the image may come.
    pub exports: Wish,
    /// Whether what the state says of updates is something else.
    pub settings: bool,
    /// What becomes of the links of `[Install]`.
    pub enabling: Enabling,
    /// Whether the timer of updates is turned on or off.
    pub timer: Option<bool>,
    /// Whether links of `[Install]` are to be changed once the unit is not masked.
    pub puts_off: bool,
    /// Whether what was applied is to be recorded.
    pub record: bool,
    /// Whether the container was never declared before.
    pub is_new: bool,
    /// Whether another image is declared, and held back.
    pub is_held: bool,
}

impl Installed {
    /// Whether it was made from the image that is wanted, of whatever version.
    fn has(&self, wanted: &Wanted) -> bool {
        self.info.image == wanted.image
    }

    fn is_from(&self, image: &Image) -> bool {
        let provenance = self.info.ours().and_then(|ours| ours.provenance.as_ref());
        self.info.image == image.name
            && self.info.digest().as_ref() == Some(&image.digest)
            && provenance.is_some_and(|before| before.is_same(&image.provenance))
    }
}

impl Facts<'_> {
    /// Whether this declaration was applied, and nothing of it was left to be done.
    pub fn is_settled(&self, wanted: &Wanted) -> bool {
        let registration = self.installed.and_then(|it| it.registration.as_ref());
        let Some(declared) = self.state.declared.as_ref() else { return false };
        // What has to wait for a mask to go is all that is left to be done.
        let puts_off = self.is_masked && declared.installing;
        // What came with the operating system stays as it came.
        let is_registered = registration.is_some_and(|it| {
            it.is_preinstalled() || puts_off || it.declared.as_ref() == Some(&wanted.digest)
        });
        *declared == Declared { installing: puts_off, ..wanted.record() } && is_registered
    }

    /// Whether the image may be another one by now, though the reference is the same: what it is in was replaced.
    fn is_replaced(&self, wanted: &Wanted) -> bool {
        let Declaration { choices, image_file, .. } = wanted.declaration;
        choices.pull == Pull::Missing && image_file.is_some() && !self.is_settled(wanted)
    }

    /// Which image counts. It moves only where the declaration says so, and not while it holds updates.
    pub fn which(&self, wanted: &Wanted) -> Which {
        let choices = &wanted.declaration.choices;
        match self.installed {
            None => Which::Named,
            Some(installed) if choices.hold && !installed.info.is_from_atomic() => Which::Installed,
            Some(installed)
                if installed.has(wanted) && choices.pull != Pull::Always && !self.is_replaced(wanted) =>
            {
                Which::Installed
            }
            Some(_) => Which::Named,
        }
    }

    /// Whether the image is to be pulled, which is in the store or not.
    pub fn needs_pull(&self, wanted: &Wanted, is_stored: bool) -> bool {
        match wanted.declaration.choices.pull {
            Pull::Never => false,
            Pull::Always => self.which(wanted) == Which::Named,
            Pull::Missing => match (self.which(wanted), self.installed) {
                (Which::Named, _) => !is_stored || self.is_replaced(wanted),
                // The files of a container stay, whatever becomes of the store: only another deployment needs the image.
                (Which::Installed, Some(installed)) => !is_stored && !self.has_choices(installed, wanted),
                (Which::Installed, None) => false,
            },
        }
    }

    /// Compares. `image` is the one in the store that has the name, if that is the one that counts.
    pub fn task(&self, wanted: &Wanted, image: Option<&Image>) -> Task {
        let choices = &wanted.declaration.choices;
        let (deploy, exports) = match self.installed {
            None => (Deploy::Install, if choices.plain { Wish::Ignore } else { Wish::AsBefore }),
            Some(installed) => self.deploy(installed, wanted, image),
        };
        let declared = self.state.declared.as_ref();
        let is_installing = self.installed.is_none() || declared.is_some_and(|it| it.installing);
        let enabling = if let Some(was_enabled) = self.was_enabled {
            Enabling::To(was_enabled)
        } else if is_installing || declared.is_some_and(|it| it.enable != choices.enable) {
            enabling(wanted)
        } else if declared.is_none() {
            choices.enable.map_or(Enabling::Keep, Enabling::To)
        } else {
            Enabling::Keep
        };
        let puts_off = self.is_masked && enabling != Enabling::Keep;
        Task {
            deploy,
            exports,
            settings: (self.state.hold, self.state.keep, self.state.soak)
                != (choices.hold, choices.keep, wanted.soak()),
            enabling: if puts_off { Enabling::Keep } else { enabling },
            timer: (self.has_updates != choices.auto_update).then_some(choices.auto_update),
            puts_off,
            record: !self.is_settled(wanted),
            is_new: declared.is_none(),
            is_held: self.installed.is_some_and(|it| choices.hold && !it.has(wanted)),
        }
    }

    fn deploy(&self, installed: &Installed, wanted: &Wanted, image: Option<&Image>) -> (Deploy, Wish) {
        let choices = &wanted.declaration.choices;
        let was_ignored = installed.info.ours().is_some_and(|ours| ours.exports == ExportsUse::Ignored);
        let other_image = image.filter(|image| !installed.is_from(image));
        let exports = match choices.plain {
            true => Wish::Ignore,
            // Whoever declares another image, or no longer ignores it, wants what it has.
            false if was_ignored || !installed.has(wanted) => Wish::Admit,
            false => Wish::AsBefore,
        };
        let deploy = match other_image {
            _ if installed.info.is_from_atomic() => Deploy::AtOnce,
            Some(image) => match self.state.failed_before(&image.digest, &wanted.choices()) {
                Some(failure) => Deploy::Failed(failure.reason.clone()),
                None if self.is_masked => Deploy::AtOnce,
                None => Deploy::Watched,
            },
            None if self.has_choices(installed, wanted) => Deploy::Keep,
            None => Deploy::Values,
        };
        (deploy, exports)
    }

    /// Whether the container has the values, keys and so on that are wanted, from whatever image it is.
    fn has_choices(&self, installed: &Installed, wanted: &Wanted) -> bool {
        let info = &installed.info;
        let Some(ours) = info.ours() else { return false };
        let choices = &wanted.declaration.choices;
        // One that was found need not be the one that would be found now. Some images run without.
        let chosen = choices.runtime.as_deref().or(self.runtime.filter(|_| !self.is_settled(wanted)));
        let wanted = same::Wanted {
            image: &info.image,
            digest: &ours.digest,
            user_values: &wanted.values,
            user_secrets: &choices.secrets,
            settings: &wanted.settings,
            user_notify: None,
            remote: wanted.rootfs(),
            runtime: chosen.filter(|_| info.runtime.is_some()),
            provenance: None,
            plain: choices.plain,
            user_install: &wanted.declaration.install,
        };
        same::is_same(info, &wanted)
    }
}

/// Whether a container is enabled when it is installed: a declaration on the host says that by being there.
pub fn enabling(wanted: &Wanted) -> Enabling {
    match (wanted.declaration.choices.enable, wanted.declaration.source.place) {
        (Some(enable), _) => Enabling::To(enable),
        (None, Place::Host) => Enabling::To(true),
        (None, Place::Vendor) => Enabling::Preset,
    }
}
