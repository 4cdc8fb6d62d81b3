//! An update: another deployment of an installed container, made current or staged.
//!
//! The deployment that was current stays as it is; so does the service, until it is restarted.

use crate::container::deployment::Info;
use crate::container::state::State;
use crate::error::{Error, Result};
use crate::install::draft::Draft;
use crate::install::plan::{Planned, Planner, Previous};
use crate::install::preview;
use crate::install::register;
use crate::name::Name;
use crate::program::log;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd;
use crate::system::systemd::analyze;
use crate::update::retention;
use crate::update::switcher::Switcher;

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
            log::info(&format!(
                "{name} is up to date: {}",
                journal::shown(&image.name, image.digest.as_ref())
            ));
            return Ok(());
        }
        if let Some(bad) = State::load(deployments, name)?.bad(&planned.info) {
            log::warning(&format!("{} failed for {name} before: {}", image.name, bad.reason));
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
        let shown = journal::shown(&image.name, image.digest.as_ref());
        self.tell(Event::Switched, &planned, "", &format!("updated {name} to {shown}{restart}"));
        Ok(())
    }

    /// Makes the next deployment, for [`Switcher::switch`], unless there is a reason not to.
    pub fn stage(&self, force: bool) -> Result<()> {
        let Planner { deployments, name, store, image, .. } = self.planner;
        let draft = self.draft()?;
        let planned = self.planner.plan(&draft)?;
        let mut state = State::load(deployments, name)?;
        let outlook = self.outlook(&planned, &state, force)?;
        match &outlook {
            Outlook::New => {}
            Outlook::Bad(reason) => {
                self.tell(Event::Skipped, &planned, reason, &outlook.describe(&planned, name));
                return Ok(());
            }
            Outlook::Same | Outlook::Staged(_) => {
                if outlook == Outlook::Same {
                    self.unstage(&mut state)?;
                }
                log::info(&outlook.describe(&planned, name));
                return Ok(());
            }
        }
        analyze::check(&planned.registration)?;
        planned.warn_of_host_files();
        // First, so that one that is whole is never taken for one to go back to.
        state.staged = Some(draft.deployment());
        state.forgive(&planned.info);
        state.save(deployments, name)?;
        draft.make(store, image, &planned.content, planned.info.clone())?;
        retention::collect(deployments, name)?;
        let message = format!("{}; 'syscontainer-switch {name}' runs it", outlook.describe(&planned, name));
        self.tell(Event::Staged, &planned, "", &message);
        Ok(())
    }

    /// All that [`Updater::stage`] would write and do, and [`Switcher::switch`] then, as text.
    pub fn preview_stage(&self, force: bool) -> Result<String> {
        let Planner { deployments, name, .. } = self.planner;
        let planned = self.planner.plan(&self.draft()?)?;
        let outlook = self.outlook(&planned, &State::load(deployments, name)?, force)?;
        let text = outlook.describe(&planned, name);
        if outlook != Outlook::New {
            return Ok(format!("# {text}\n"));
        }
        let directory = deployments.directory().join(&planned.deployment);
        Ok(format!(
            "# {text}: only {} is made; the rest is what 'syscontainer-switch {name}' does then\n{}",
            directory.display(),
            self.preview()?
        ))
    }

    /// What there is to stage.
    fn outlook(&self, planned: &Planned, state: &State, force: bool) -> Result<Outlook> {
        let Planner { deployments, name, .. } = self.planner;
        if self.is_taken_over() {
            return Err(Error::new(format!(
                "it was installed by Project Atomic's tools, and there would be no way back; update it once with 'syscontainer-checkout --update {name}'"
            )));
        }
        let staged = state.staged(deployments).filter(|staged| self.is_as_planned(staged, planned));
        Ok(match (state.bad(&planned.info), staged) {
            _ if self.is_same(planned) => Outlook::Same,
            (Some(bad), _) if !force => Outlook::Bad(bad.reason.clone()),
            (_, Some(staged)) => Outlook::Staged(staged.to_owned()),
            (_, None) => Outlook::New,
        })
    }

    /// What was staged is not wanted any more.
    fn unstage(&self, state: &mut State) -> Result<()> {
        let Planner { deployments, name, .. } = self.planner;
        if state.staged.take().is_some() {
            state.save(deployments, name)?;
            retention::collect(deployments, name)?;
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
        retention::outdated(deployments, name, &self.previous.deployment, next, service)
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
            register::load(deployments.root(), name)?;
        }
        let mut state = State::load(deployments, name)?;
        self.unstage(&mut state)?;
        retention::collect(deployments, name)
    }
}

/// What staging an update comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outlook {
    /// Nothing: the container is so already.
    Same,
    /// Nothing: it failed before, and why.
    Bad(String),
    /// Nothing: this deployment is it.
    Staged(String),
    /// Another deployment.
    New,
}

impl Outlook {
    fn describe(&self, planned: &Planned, name: &Name) -> String {
        let shown = journal::shown(&planned.info.image, &planned.info.digest);
        match self {
            Outlook::Same => format!("{name} is up to date: {shown}"),
            Outlook::Bad(reason) => format!(
                "skipping {shown} for {name}, which was tried before and failed: {reason}; --force tries it again"
            ),
            Outlook::Staged(staged) => format!("{staged} is staged already: {shown}"),
            Outlook::New => format!("staged {}: {shown}", planned.deployment),
        }
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
