//! The steps of a switch. Each may be repeated by a program that finds the switch interrupted.

use crate::container::declared::Declared;
use crate::container::derived;
use crate::container::entries::Entry;
use crate::container::info::Info;
use crate::container::state::{Before, Choices, Phase, Purpose, State, Switch};
use crate::error::{Error, Result};
use crate::host_files;
use crate::host_files::record::DeploymentFiles;
use crate::install::site::Site;
use crate::install::{acceptance, recovery, register, remover};
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::system::files;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd::dependents::{self, Relation};
use crate::system::systemd::manager::{self, Enablement, Manager};
use crate::update::retention;

/// Bytes reserved for the container's state, unit, registration and the like, of some kilobytes each.
const RESERVE: usize = 512 << 10;

/// Switches one container; the caller holds its lock.
pub struct Switcher<'a> {
    /// Where the container is installed.
    pub site: &'a Site,
    /// Name of the container.
    pub name: &'a Name,
}

/// Why a deployment failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It failed by itself, and is not tried again.
    Own,
    /// Something else happened meanwhile.
    Circumstances,
}

impl Switcher<'_> {
    pub(super) fn manager(&self) -> &dyn Manager {
        self.site.manager()
    }

    pub(super) fn unit(&self) -> String {
        self.name.unit()
    }

    /// Whether anything but the record of the switch was changed.
    pub(super) fn has_begun(&self, switch: &Switch) -> Result<bool> {
        let current = self.site.deployments.current(self.name)?;
        let is_reverting = matches!(switch.phase, Phase::Revert { .. });
        Ok(current.as_ref() == Some(&switch.to) || is_reverting && current.as_ref() == Some(&switch.from))
    }

    /// Describes a switch, and how things are before it.
    pub(super) fn note(&self, from: &Deployment, to: &Deployment, purpose: Purpose) -> Result<Switch> {
        let (site, deployments) = (self.site, &self.site.deployments);
        let has_unit = register::derive(deployments, to)?.unit.is_some();
        let status = manager::status(self.manager(), self.name)?;
        // One that waits to be started, as in a boot, is as good as active: its start tells whether the new deployment works.
        let active = status.as_ref().is_some_and(|status| !status.is_down() || status.has_job);
        // The new deployment may fix a failed service.
        let is_failed = status.is_some_and(|status| status.active_state == "failed");
        let old = self.info(from);
        let old_is_from_atomic = old.as_ref().is_some_and(Info::is_from_atomic);
        // A unit of Atomic's is not a stub.
        let enabled = if old_is_from_atomic || register::is_installable(site.root(), self.name)? {
            site.manager.is_enabled(self.name)?
        } else {
            let recorded = old.as_ref().and_then(Info::ours).is_some_and(|ours| ours.enabled);
            self.state()?.enabled.unwrap_or(recorded)
        };
        let shared_files = host_files::shared(deployments, &DeploymentFiles::read(deployments, from)?)?;
        let dependents = dependents::active(self.manager(), self.name, Relation::StoppedWith)?;
        Ok(Switch {
            from: from.clone(),
            to: to.clone(),
            untried: None,
            phase: Phase::Switch,
            purpose,
            watched: has_unit && (active || is_failed),
            boot: self.manager().boot_id()?,
            before: Before { active, enabled, shared_files, dependents },
        })
    }

    /// Records the switch, changes the link, and installs what is derived from it. Each step may be repeated.
    pub(super) fn commit(&self, state: &mut State, switch: Switch) -> Result<()> {
        let (from, to, was_enabled) = (switch.from.clone(), switch.to.clone(), switch.before.enabled);
        state.switch = Some(switch);
        if let Err(e) = self.save(state) {
            // The switch is not recorded, so there is nothing to undo.
            state.switch = None;
            return Err(e);
        }
        if register::derive(&self.site.deployments, &to)?.unit.is_none() {
            // Without its unit, the service could not be stopped properly. If `info` of the old deployment cannot be
            // read, it is unknown who made its unit: then systemd decides whether it is ours.
            let is_from_atomic = self.info(&from).is_some_and(|info| info.is_from_atomic());
            remover::stop(self.site, self.name, is_from_atomic)?;
        }
        self.site.deployments.switch(&to)?;
        self.derive(&to, was_enabled)
    }

    /// Begins the watch: a program that finds the switch interrupted now knows that the service may run the new
    /// deployment.
    pub(super) fn begin_watch(&self, state: &mut State) -> Result<()> {
        if let Some(switch) = &mut state.switch {
            switch.phase = Phase::Watch;
        }
        self.save(state)
    }

    /// Installs unit, registration, host files, tmpfiles and links of `systemctl enable` of a deployment.
    fn derive(&self, deployment: &Deployment, was_enabled: bool) -> Result<()> {
        let (site, root) = (self.site, self.site.root());
        let before = register::install_section(root, self.name)?;
        register::register(site, deployment)?;
        let after = register::install_section(root, self.name)?;
        let unit = [self.unit()];
        if was_enabled && !after.is_empty() {
            if before != after || !site.manager.is_enabled(self.name)? {
                site.manager.set_enablement(&unit, Enablement::Reenable)?;
            }
        } else if after.is_empty() && !before.is_empty() && derived::has_service(root, self.name) {
            site.manager.set_enablement(&unit, Enablement::Disable)?;
        }
        register::load(site, self.name)
    }

    /// Confirms the switch: the new deployment stays.
    pub(super) fn confirm(&self, state: &mut State) -> Result<()> {
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let enabled = self.enablement_to_remember(&switch)?;
        let unconfirmed = state.clone();
        state.switch = None;
        state.previous = Some(switch.from.clone());
        if state.staged.as_ref() == Some(&switch.to) {
            state.staged = None;
        }
        state.enabled = enabled;
        state.declared.iter_mut().for_each(Declared::confirm);
        // What makes room for an image that failed has not failed itself: an earlier rollback is undone.
        let is_undone = self.failed_before(state, &switch.to);
        self.forgive(state, &switch.to);
        if let (Purpose::Rollback(why), false) = (&switch.purpose, is_undone) {
            self.remember(state, &switch.from, why);
        }
        if let Err(e) = self.save(state) {
            *state = unconfirmed;
            return Err(e);
        }
        if switch.watched {
            self.report_confirmed(&switch);
        }
        self.release();
        if let Err(e) = retention::collect(self.site, self.name) {
            log::warning(&format!("{e}; syscontainer-prune tries it again"));
        }
        Ok(())
    }

    /// Whether the unit was enabled, to be remembered if the new deployment has no unit that can be enabled.
    fn enablement_to_remember(&self, switch: &Switch) -> Result<Option<bool>> {
        if register::is_installable(self.site.root(), self.name)? {
            return Ok(None);
        }
        let recorded = self.info(&switch.to).and_then(|info| info.ours().map(|ours| ours.enabled));
        Ok(Some(switch.before.enabled).filter(|enabled| Some(*enabled) != recorded))
    }

    fn report_confirmed(&self, switch: &Switch) {
        let status = manager::status(self.manager(), self.name).ok().flatten();
        // It may be stopped just now: the payload is gone before the unit is.
        let is_up = status.is_some_and(|status| !status.is_down() && !status.is_being_stopped());
        let message = if is_up {
            format!("confirmed {}, which is running", switch.to)
        } else {
            format!("confirmed {}, which is not running", switch.to)
        };
        self.tell(Event::Confirmed, &switch.to, &switch.from, &message);
    }

    /// Whether the service may run another deployment than `from`.
    pub(super) fn runs_other(&self, from: &Deployment) -> Result<bool> {
        let running = Bundle::new(self.site.root(), self.name).deployment()?;
        Ok(running.is_none_or(|running| running != *from))
    }

    /// Begins to revert: a program that finds the switch interrupted now continues that.
    pub(super) fn begin_revert(&self, state: &mut State, reason: &str, fault: Fault) -> Result<()> {
        let Some(switch) = state.switch.as_mut() else { return Ok(()) };
        switch.phase = Phase::Revert { reason: reason.to_owned() };
        let to = switch.to.clone();
        state.declared = state.declared.take().and_then(Declared::reverted);
        if fault == Fault::Own {
            self.remember(state, &to, reason);
        }
        self.save(state)
    }

    /// Makes the link, and everything that is derived from it, that of the old deployment again.
    pub(super) fn restore(&self, state: &State) -> Result<()> {
        let Some(switch) = &state.switch else { return Ok(()) };
        let deployments = &self.site.deployments;
        let old = DeploymentFiles::read(deployments, &switch.from)?;
        let new = DeploymentFiles::read(deployments, &switch.to)?;
        deployments.switch(&switch.from)?;
        // While the old deployment is registered, recovery leaves its host files alone, as changed by the user.
        if !old.by_atomic {
            host_files::install(deployments, &old, Some(&new))?;
        }
        host_files::restore(deployments, self.name, &switch.before.shared_files)?;
        host_files::remove(deployments, self.name, &[&new], Some(&old))?;
        if old.by_atomic {
            return self.repair();
        }
        self.derive(&switch.from, switch.before.enabled)
    }

    /// Ends a revert: the switch is no longer recorded, and the old deployment stays. Returns the error for the caller
    /// of the switch.
    pub(super) fn end_revert(&self, state: &mut State, reason: &str) -> Result<Error> {
        let Some(switch) = state.switch.take() else { return Ok(Error::new(reason)) };
        let was_staged = state.staged.as_ref() == Some(&switch.to);
        let info = self.info(&switch.to);
        if was_staged {
            // What was decided before is tried with the next switch, on its own: it may not be what failed.
            state.staged = self.untried(state, &switch);
        }
        self.save(state)?;
        let image = info.as_ref().map(|info| (info.image.as_str(), info.digest()));
        let subject = Subject {
            deployment: Some(switch.from.clone()),
            previous: Some(switch.to.to_string()),
            reason: Some(reason.to_owned()),
            ..Subject::of(&switch.to, image)
        };
        // The caller reports it on stderr.
        let mut message = format!("{} failed: {reason}; {} is current again", switch.to, switch.from);
        if was_staged {
            message += &self.describe_choices(state, &switch);
        }
        journal::record(self.site.root(), Event::Reverted, &subject, &message);
        // A deployment that existed before the update, as in a rollback, is kept even if it failed.
        if was_staged {
            self.site.deployments.remove(&switch.to)?;
        }
        Ok(Error::reverted(message))
    }

    /// What is staged once an update is reverted: the deployment that was current and never tried.
    fn untried(&self, state: &State, switch: &Switch) -> Option<Deployment> {
        let untried = switch.untried.clone()?;
        let is_there = self.site.deployments.path_of(&untried).is_dir();
        (is_there && !self.is_overruled(state, &untried)).then_some(untried)
    }

    /// What becomes of the user's choices for the deployment that failed.
    fn describe_choices(&self, state: &State, switch: &Switch) -> String {
        let kept = state.staged.as_ref();
        let staged = kept.map(|kept| {
            format!("; {kept}, which was not tried yet, is staged, and the next switch tries it on its own")
        });
        let staged = staged.unwrap_or_default();
        // What cannot be read is no reason to say that anything is gone.
        let infos = (self.info(&switch.to), self.info(kept.unwrap_or(&switch.from)));
        let (Some(failed), Some(kept)) = infos else { return staged };
        let dropped = Choices::of(&failed).beyond(&Choices::of(&kept));
        let dropped = match dropped.as_slice() {
            [] => String::new(),
            names => format!("; what was set for {} is gone with it: {}", switch.to, names.join(", ")),
        };
        staged + &dropped
    }

    /// The deployment that the service was started with, if it still exists.
    pub(super) fn running(&self) -> Result<Option<Deployment>> {
        let running = Bundle::new(self.site.root(), self.name).deployment()?;
        Ok(running.filter(|running| self.site.deployments.path_of(running).is_dir()))
    }

    /// Reserves space for reverting, which writes a few small files, since the new deployment may fill the disk.
    pub(super) fn reserve(&self, switch: &Switch) -> Result<()> {
        if !switch.watched {
            return Ok(());
        }
        files::reserve(&self.site.deployments.entry(&Entry::Reserve(self.name.clone())), RESERVE)
    }

    pub(super) fn release(&self) {
        // If this fails, it is removed later, as are the rests that killed programs leave.
        let _ = files::remove_file(&self.site.deployments.entry(&Entry::Reserve(self.name.clone())));
    }

    /// Brings unit, registration and the like into a consistent state, as recovery does.
    pub(super) fn repair(&self) -> Result<()> {
        if recovery::is_absent(self.site, self.name)? {
            return Ok(());
        }
        recovery::announce(self.site, self.name)?;
        let recovered = recovery::recover(self.site, self.name)?;
        if recovered.created {
            recovery::enable(self.site, self.name)?;
        }
        if recovered.changed {
            self.manager().reload()?;
        }
        Ok(())
    }

    pub(super) fn tell(&self, event: Event, deployment: &Deployment, previous: &Deployment, message: &str) {
        let info = self.info(deployment);
        let image = info.as_ref().map(|info| (info.image.as_str(), info.digest()));
        let subject = Subject { previous: Some(previous.to_string()), ..Subject::of(deployment, image) };
        journal::tell(self.site.root(), event, &subject, message);
    }

    /// Remembers that a deployment failed, if its `info` can be read: otherwise it could not be recognised.
    fn remember(&self, state: &mut State, deployment: &Deployment, reason: &str) {
        let Some(info) = self.info(deployment) else { return };
        if let Some(ours) = info.ours() {
            state.remember(&ours.digest, &Choices::of(&info), reason);
        }
    }

    /// Forgets that a deployment failed.
    pub(super) fn forgive(&self, state: &mut State, deployment: &Deployment) {
        let Some(info) = self.info(deployment) else { return };
        if let Some(ours) = info.ours() {
            state.forgive(&ours.digest, &Choices::of(&info));
        }
    }

    fn failed_before(&self, state: &State, deployment: &Deployment) -> bool {
        let Some(info) = self.info(deployment) else { return false };
        let choices = Choices::of(&info);
        info.ours().is_some_and(|ours| state.failed_before(&ours.digest, &choices).is_some())
    }

    /// Whether a deployment uses `/exports` that the container ignores by now.
    pub(super) fn is_overruled(&self, state: &State, deployment: &Deployment) -> bool {
        self.info(deployment).is_some_and(|info| acceptance::is_overruled(state, &info))
    }

    /// The `info` of a deployment; `None` if it cannot be read.
    pub(super) fn info(&self, deployment: &Deployment) -> Option<Info> {
        self.site.deployments.info(deployment).ok()
    }

    pub(super) fn state(&self) -> Result<State> {
        State::load(&self.site.deployments, self.name)
    }

    pub(super) fn save(&self, state: &State) -> Result<()> {
        state.save(&self.site.deployments, self.name)
    }
}
