//! What a declaration wants of a host.

use std::path::Path;

use crate::container::declared::Declared;
use crate::container::info::Values;
use crate::container::settings::Settings;
use crate::container::state::Choices;
use crate::declaration::Declaration;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::install::plan::Options;
use crate::install::value_file;
use crate::paths::{Root, TreePath};
use crate::store::reference::Reference;
use crate::system::tree;

/// What a declaration wants.
pub struct Wanted<'a> {
    /// The declaration.
    pub declaration: &'a Declaration,
    /// Digest of what it chooses.
    pub digest: Digest,
    /// Where the image comes from.
    pub reference: Reference,
    /// Name of the image in the store.
    pub image: String,
    /// Values of variables, those in files included.
    pub values: Values,
    /// What the container's keys are.
    pub settings: Settings,
}

impl Wanted<'_> {
    /// Reads what is wanted, files with values included.
    pub fn of<'a>(root: &Root, declaration: &'a Declaration) -> Result<Wanted<'a>> {
        let choices = &declaration.choices;
        let reference: Reference = choices.image.parse()?;
        let image = reference.name()?;
        let mut values: Values = choices.values.clone();
        for (variable, path) in &choices.value_files {
            let what = || format!("cannot read the value of {variable} from {}", path.display());
            let file = tree::place(root, &TreePath::new(path)).context(what)?;
            values.insert(variable.clone(), value_file::read_regular(variable, &file)?);
        }
        let mut settings = Settings::default();
        choices.settings.iter().for_each(|assignment| settings.assign(assignment));
        let digest = declaration.digest();
        Ok(Wanted { declaration, digest, reference, image, values, settings })
    }

    /// The same as a command would be told, as all that the user chose.
    pub fn options(&self) -> Options {
        let choices = &self.declaration.choices;
        Options {
            user_values: self.values.clone(),
            user_secrets: choices.secrets.clone(),
            settings: choices.settings.clone(),
            runtime: choices.runtime.clone(),
            rootfs: choices.rootfs.clone(),
            user_install: self.declaration.install.clone(),
            rebase: true,
            complete: true,
            ..Options::default()
        }
    }

    /// What decides whether an image that failed is tried again.
    pub fn choices(&self) -> Choices {
        Choices {
            user_values: self.values.clone(),
            settings: self.settings.clone(),
            ignores_exports: self.declaration.choices.plain,
        }
    }

    /// What is recorded once all is done.
    pub fn record(&self) -> Declared {
        let choices = &self.declaration.choices;
        Declared {
            digest: self.digest.clone(),
            path: self.declaration.source.path.clone(),
            enable: choices.enable,
            auto_update: choices.auto_update,
            installing: false,
            unconfirmed: false,
            replaces: None,
        }
    }

    /// How long updates are watched, in seconds, as the state has it.
    pub fn soak(&self) -> Option<u64> {
        let soak = self.declaration.choices.soak?;
        Some(soak.as_secs().saturating_add(u64::from(soak.subsec_nanos() > 0)))
    }

    /// The directory that takes the place of a checkout.
    pub fn rootfs(&self) -> Option<&Path> {
        self.declaration.choices.rootfs.as_deref()
    }
}
