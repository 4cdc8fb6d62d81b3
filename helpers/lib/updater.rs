//! An update: another deployment of an installed container, made current or staged.
//!
//! The deployment that was current stays as it is; so does the service, until it is restarted.

use crate::deployment::Info;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::installation;
use crate::journal::{self, Event, Subject};
use crate::log;
use crate::plan::{Planned, Planner, Previous};
use crate::preview;
use crate::state::State;
use crate::switcher::Switcher;
use crate::systemd;
use crate::usage;
use crate::verify;

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
            self.complete()?;
            log::info(&format!("{name} is up to date: {}", journal::shown(&image.name, &image.digest)));
            return Ok(());
        }
        planned.warn_of_host_files();
        draft.make(store, image, &planned.content, planned.info.clone())?;
        let deployment = draft.deployment();
        Switcher { deployments, name }.replace(&self.previous.deployment, &deployment)?;
        let restart = if planned.registration.service && systemd::is_running(deployments.root()) {
            format!("; 'systemctl restart {name}' runs it")
        } else {
            String::new()
        };
        let shown = journal::shown(&image.name, &image.digest);
        self.tell(Event::Switched, &planned, "", &format!("updated {name} to {shown}{restart}"));
        Ok(())
    }

    /// Makes the next deployment, for [`Switcher::switch`]. Returns its name; `None` if the container is up to date, or is to be
    /// left alone.
    pub fn stage(&self, force: bool) -> Result<Option<String>> {
        let Planner { deployments, name, store, image, .. } = self.planner;
        if self.is_taken_over() {
            return Err(Error::new(format!(
                "it was installed by Project Atomic's tools, and there would be no way back; update it once with 'syscontainer-checkout --update {name}'"
            )));
        }
        let draft = self.draft()?;
        let planned = self.planner.plan(&draft)?;
        let shown = journal::shown(&image.name, &image.digest);
        let mut state = State::load(deployments, name)?;
        if self.is_same(&planned) {
            self.unstage(&mut state)?;
            log::info(&format!("{name} is up to date: {shown}"));
            return Ok(None);
        }
        if let Some(bad) = state.bad(&planned.info).filter(|_| !force) {
            let message = format!(
                "skipping {shown} for {name}, which was tried before and failed: {}; --force tries it again",
                bad.reason
            );
            self.tell(Event::Skipped, &planned, &bad.reason, &message);
            return Ok(None);
        }
        let staged = state.staged(deployments).map(str::to_owned);
        if let Some(staged) = staged.filter(|staged| self.is_as_planned(staged, &planned)) {
            log::info(&format!("{staged} is staged already: {shown}"));
            return Ok(Some(staged));
        }
        verify::check(&planned.registration)?;
        planned.warn_of_host_files();
        let deployment = draft.deployment();
        // First, so that one that is whole is never taken for one to go back to.
        state.staged = Some(deployment.clone());
        state.forgive(&planned.info);
        state.save(deployments, name)?;
        draft.make(store, image, &planned.content, planned.info.clone())?;
        usage::collect(deployments, name)?;
        let message = format!("staged {deployment}: {shown}; 'syscontainer-switch {name}' runs it");
        self.tell(Event::Staged, &planned, "", &message);
        Ok(Some(deployment))
    }

    /// What was staged is not wanted any more.
    fn unstage(&self, state: &mut State) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        if state.staged.take().is_some() {
            state.save(deployments, name)?;
            usage::collect(deployments, name)?;
        }
        Ok(())
    }

    fn is_as_planned(&self, deployment: &str, planned: &Planned) -> bool {
        let info = self.planner.deployments.info(deployment);
        info.is_ok_and(|info| is_same(&info, &planned.info))
    }

    fn tell(&self, event: Event, planned: &Planned, reason: &str, message: &str) {
        let subject = Subject {
            name: Some(self.planner.name),
            image: &planned.info.image,
            digest: &planned.info.digest,
            deployment: &planned.deployment,
            previous: &self.previous.deployment,
            reason,
        };
        journal::tell(self.planner.deployments.root(), event, subject, message);
    }

    /// All that [`Updater::update`] would write and do, as text.
    pub fn preview(&self) -> Result<String> {
        let planned = self.planner.plan(&self.draft()?)?;
        if self.is_same(&planned) {
            let reload = systemd::needs_reload(self.planner.deployments.root(), self.planner.name)?;
            let outdated = self.outdated(&self.previous.deployment, true)?;
            return Ok(preview::same(&self.planner, "is up to date", false, reload, &outdated));
        }
        let outdated = self.outdated(&planned.deployment, planned.registration.service)?;
        preview::show(&self.planner, &planned, self.is_enabled_anew(&planned), &outdated)
    }

    /// Deployments that go once `next` is current; a service that is no more is stopped before.
    fn outdated(&self, next: &str, service: bool) -> Result<Vec<String>> {
        let Planner { deployments, name, .. } = self.planner;
        usage::outdated(deployments, name, &self.previous.deployment, next, service)
    }

    /// A number that no deployment has had: what is to be rolled back to is never written to.
    fn draft(&self) -> Result<Draft<'_>> {
        let Planner { deployments, name, .. } = self.planner;
        Ok(Draft::new(deployments, name, deployments.next_number(name)?))
    }

    fn is_same(&self, planned: &Planned) -> bool {
        is_same(&self.previous.info, &planned.info)
    }

    fn is_taken_over(&self) -> bool {
        self.previous.info.is_of_original()
    }

    /// Where there was no unit, or one of the original's, links of `systemctl enable` are made again.
    fn is_enabled_anew(&self, planned: &Planned) -> bool {
        let had_unit = self.previous.info.has_container_service && !self.is_taken_over();
        planned.info.enabled && planned.registration.service && !had_unit
    }

    /// What an update that was killed at its end has left undone.
    fn complete(&self) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        if systemd::needs_reload(deployments.root(), name)? {
            installation::load(deployments.root(), name)?;
        }
        let mut state = State::load(deployments, name)?;
        self.unstage(&mut state)?;
        usage::collect(deployments, name)
    }
}

/// A root file system of the user's may be another by now.
fn is_same(old: &Info, new: &Info) -> bool {
    old.digest == new.digest
        && old.image == new.image
        && old.user_values == new.user_values
        && old.runtime == new.runtime
        && old.user_notify == new.user_notify
        && old.remote.is_none()
        && new.remote.is_none()
}
