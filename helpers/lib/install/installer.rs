//! The first installation of an image: from the store to an enabled unit.

use crate::container::deployment::Info;
use crate::error::{Context, Error, Result};
use crate::install::draft::Draft;
use crate::install::plan::Planner;
use crate::install::preview;
use crate::install::recovery;
use crate::install::register;
use crate::program::log;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd;

/// Installs one image as one container; the caller holds the container's lock.
pub struct Installer<'a> {
    /// What is installed, and where to.
    pub planner: Planner<'a>,
}

impl Installer<'_> {
    /// Makes deployment 0 and all that belongs to it. A failure leaves nothing behind.
    pub fn install(&self) -> Result<()> {
        let Planner { deployments, name, store, image, .. } = self.planner;
        let draft = Draft::new(deployments, name, 0);
        let planned = self.planner.plan(&draft)?;
        let has_service = planned.registration.service;
        planned.warn_of_host_files();
        let info = planned.info.clone();
        draft.make(store, image, &planned.content, planned.info)?;
        let done = self.commit(&draft.deployment());
        if let Err(e) = done {
            self.undo().context(|| format!("{e}; then it failed to remove what was made"))?;
            return Err(e);
        }
        let start = if has_service && systemd::is_running(deployments.root()) {
            format!("; start it with 'systemctl start {name}'")
        } else {
            String::new()
        };
        let deployment = draft.deployment();
        let subject = Subject {
            name: Some(name),
            image: &info.image,
            digest: &info.digest,
            deployment: &deployment,
            ..Subject::default()
        };
        let shown = journal::shown(&image.name, image.digest.as_ref());
        let message = format!("installed {name} from {shown}{start}");
        journal::tell(deployments.root(), Event::Installed, subject, &message);
        Ok(())
    }

    /// All that [`Installer::install`] would write and do, as text.
    pub fn preview(&self) -> Result<String> {
        let Planner { deployments, name, options, .. } = self.planner;
        if let Some(deployment) = deployments.current(name)? {
            self.check_same(&deployments.info(&deployment)?)?;
            let enable = !options.no_enable && register::is_installable(deployments.root(), name)?;
            return Ok(preview::same(&self.planner, "is installed already", enable, true, &[]));
        }
        let planned = self.planner.plan(&Draft::new(deployments, name, 0))?;
        preview::show(&self.planner, &planned, !options.no_enable, &[])
    }

    /// The deployment is whole: makes it the container. Each step may be repeated.
    fn commit(&self, deployment: &str) -> Result<()> {
        register::register(self.planner.deployments, self.planner.name, deployment)?;
        self.planner.deployments.switch(self.planner.name, deployment)?;
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        let root = self.planner.deployments.root();
        if !self.planner.options.no_enable && register::is_installable(root, self.planner.name)? {
            systemd::enable(root, self.planner.name)?;
        }
        register::load(root, self.planner.name)
    }

    fn undo(&self) -> Result<()> {
        self.planner.deployments.detach(self.planner.name)?;
        recovery::recover(self.planner.deployments, self.planner.name)?;
        systemd::reload(self.planner.deployments.root())
    }

    /// The same command as last time completes what was interrupted; another one is refused.
    pub fn finish_again(&self, deployment: &str) -> Result<()> {
        let info = self.planner.deployments.info(deployment)?;
        self.check_same(&info)?;
        self.finish()?;
        log::info(&format!(
            "{} is installed already, from {} ({})",
            self.planner.name, info.image, info.digest
        ));
        Ok(())
    }

    fn check_same(&self, info: &Info) -> Result<()> {
        let runtime = self.planner.options.runtime.as_ref();
        let same = info.digest == self.planner.image.digest.as_ref()
            && info.user_values == self.planner.options.user_values
            && info.remote == self.planner.options.rootfs
            && info.user_notify == self.planner.options.notify
            && runtime.is_none_or(|path| info.runtime.as_ref() == Some(path));
        if !same {
            return Err(Error::new(format!(
                "cannot install {0}: it is installed already, from {1} (sha256:{2}), or with other values; update it with 'syscontainer-checkout --update {0}', or choose another name with --name",
                self.planner.name, info.image, info.revision
            )));
        }
        Ok(())
    }
}
