//! An update: another deployment of an installed container, made current.
//!
//! The deployment that was current stays as it is; so does the service, until it is restarted.

use crate::deployment::Deployments;
use crate::draft::Draft;
use crate::error::{Context, Result};
use crate::installation;
use crate::log;
use crate::plan::{Planned, Planner, Previous};
use crate::preview;
use crate::recovery;
use crate::systemd;

/// Updates one container; the caller holds its lock, and has it recovered.
pub struct Updater<'a> {
    /// What it is updated to.
    pub planner: Planner<'a>,
    /// What it is now.
    pub previous: &'a Previous,
}

impl Updater<'_> {
    /// Makes the next deployment current, if it is another than the one that is. A failure leaves that one as it is.
    pub fn update(&self) -> Result<()> {
        let Planner { deployments, name, store, image, .. } = self.planner;
        let draft = self.draft()?;
        let planned = self.planner.plan(&draft)?;
        if self.is_same(&planned) {
            log::info(&format!("{name} is up to date: {} ({})", image.name, image.digest));
            return Ok(());
        }
        planned.warn_of_host_files();
        let info = planned.info.clone();
        draft.make(store, image, &planned.content, info)?;
        let deployment = draft.deployment();
        if let Err(e) = self.commit(&deployment) {
            self.undo(&deployment).context(|| format!("{e}; then it failed to go back"))?;
            return Err(e);
        }
        self.remove_others(&deployment)?;
        let restart = if planned.registration.service && systemd::is_running(deployments.root()) {
            format!("; 'systemctl restart {name}' runs it")
        } else {
            String::new()
        };
        log::info(&format!("updated {name} to {} ({}){restart}", image.name, image.digest));
        Ok(())
    }

    /// All that [`Updater::update`] would write and do, as text.
    pub fn preview(&self) -> Result<String> {
        let planned = self.planner.plan(&self.draft()?)?;
        preview::show(
            self.planner.deployments,
            self.planner.name,
            &planned,
            self.is_taken_over() && planned.info.enabled,
        )
    }

    /// A number that no deployment has had: what is to be rolled back to is never written to.
    fn draft(&self) -> Result<Draft<'_>> {
        let Planner { deployments, name, .. } = self.planner;
        Ok(Draft::new(deployments, name, deployments.next_number(name)?))
    }

    /// A root file system of the user's may be another by now.
    fn is_same(&self, planned: &Planned) -> bool {
        let (old, new) = (&self.previous.info, &planned.info);
        old.digest == new.digest
            && old.image == new.image
            && old.user_values == new.user_values
            && old.runtime == new.runtime
            && old.user_notify == new.user_notify
            && old.remote.is_none()
            && new.remote.is_none()
    }

    fn is_taken_over(&self) -> bool {
        self.previous.info.is_of_original()
    }

    /// The link first: what is registered is derived from it, whoever does so.
    fn commit(&self, deployment: &str) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        let root = deployments.root();
        deployments.switch(name, deployment)?;
        installation::register(deployments, name, deployment)?;
        if self.is_taken_over()
            && deployments.info(deployment)?.enabled
            && installation::is_installable(root, name)?
        {
            systemd::enable(root, name)?;
        }
        systemd::reload(root)?;
        if installation::has_tmpfiles(root, name) && installation::has_service(root, name) {
            systemd::create_tmpfiles(root, name)?;
        }
        Ok(())
    }

    fn undo(&self, deployment: &str) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        deployments.switch(name, &self.previous.deployment)?;
        recovery::recover(deployments, name)?;
        deployments.remove(deployment)?;
        systemd::reload(deployments.root())
    }

    /// Two are kept: this one, and the one to go back to.
    fn remove_others(&self, deployment: &str) -> Result<()> {
        let deployments: &Deployments = self.planner.deployments;
        let (all, _) = deployments.all(self.planner.name)?;
        let others = all.iter().filter(|other| *other != deployment && **other != self.previous.deployment);
        others.into_iter().try_for_each(|other| deployments.remove(other))
    }
}
