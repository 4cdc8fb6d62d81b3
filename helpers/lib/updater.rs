//! An update: another deployment of an installed container, made current.
//!
//! The deployment that was current stays as it is; so does the service, until it is restarted.

use crate::draft::Draft;
use crate::error::{Context, Result};
use crate::host_files;
use crate::installation;
use crate::log;
use crate::plan::{Planned, Planner, Previous};
use crate::preview;
use crate::recovery;
use crate::systemd;
use crate::usage;

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
            self.complete(&self.previous.deployment)?;
            log::info(&format!("{name} is up to date: {} ({})", image.name, image.digest));
            return Ok(());
        }
        planned.warn_of_host_files();
        let info = planned.info.clone();
        draft.make(store, image, &planned.content, info)?;
        let deployment = draft.deployment();
        if let Err(e) = self.commit(&deployment, &planned) {
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
        let Planner { deployments, name, .. } = self.planner;
        if self.is_same(&planned) {
            return Ok(format!("# {name} is up to date\n"));
        }
        preview::show(deployments, name, &planned, self.is_enabled_anew(&planned))
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

    /// Where there was no unit, or one of the original's, links of `systemctl enable` are made again.
    fn is_enabled_anew(&self, planned: &Planned) -> bool {
        let had_unit = self.previous.info.has_container_service && !self.is_taken_over();
        planned.info.enabled && planned.registration.service && !had_unit
    }

    /// The link first: what is registered is derived from it, whoever does so.
    fn commit(&self, deployment: &str, planned: &Planned) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        let root = deployments.root();
        if !planned.registration.service {
            // With its unit gone, nobody could stop it properly.
            systemd::stop(root, name)?;
        }
        deployments.switch(name, deployment)?;
        installation::register(deployments, name, deployment)?;
        if self.is_enabled_anew(planned) && installation::is_installable(root, name)? {
            systemd::enable(root, name)?;
        }
        installation::load(root, name)
    }

    /// What an update that was killed at its end has left undone.
    fn complete(&self, deployment: &str) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        if systemd::needs_reload(deployments.root(), name)? {
            installation::load(deployments.root(), name)?;
        }
        let (mut all, _) = deployments.all(name)?;
        all.retain(|other| other != deployment);
        // The newest may be the one to go back to.
        all.pop();
        usage::remove_idle(deployments, name, &all)
    }

    /// Host files are put back here: as long as the old deployment is registered, recovery takes them for the user's.
    fn undo(&self, deployment: &str) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        deployments.switch(name, &self.previous.deployment)?;
        let (old, new) = (&self.previous.info, deployments.info(deployment)?);
        if !self.is_taken_over() {
            host_files::install(deployments, &self.previous.deployment, old, Some((deployment, &new)))?;
        }
        host_files::remove(deployments, name, &[&new], Some(old))?;
        recovery::recover(deployments, name)?;
        deployments.remove(deployment)?;
        systemd::reload(deployments.root())
    }

    /// Two are kept: this one, and the one to go back to.
    fn remove_others(&self, deployment: &str) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        let (mut all, _) = deployments.all(name)?;
        all.retain(|other| other != deployment && *other != self.previous.deployment);
        usage::remove_idle(deployments, name, &all)
    }
}
