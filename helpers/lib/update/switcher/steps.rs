//! The steps of a switch. Each may be repeated by whoever finds the note of it.

use std::fs;

use super::{Purpose, Switcher, rolled_back};
use crate::container::deployment::Info;
use crate::container::state::{State, Switch};
use crate::error::{Context, Result};
use crate::host_files;
use crate::install::recovery;
use crate::install::register;
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::system::files;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd;
use crate::update::retention;

/// For the container's state, unit, registration and the like, of some kilobytes each.
const RESERVE: usize = 512 << 10;

impl Switcher<'_> {
    /// Whether anything but the note was changed.
    pub(super) fn has_begun(&self, switch: &Switch) -> Result<bool> {
        let current = self.deployments.current(self.name)?;
        Ok(current.as_ref() == Some(&switch.to)
            || (switch.back.is_some() && current.as_ref() == Some(&switch.from)))
    }

    /// What is as it was, before anything of it changes.
    pub(super) fn note(&self, from: &str, to: &str) -> Result<Switch> {
        let root = self.deployments.root();
        let has_unit = register::derive(self.deployments, self.name, to)?.service;
        let is_running = systemd::is_running(root);
        let was_active = is_running && systemd::is_active(root, self.name)?;
        // One that failed may be mended by what comes.
        let is_failed = is_running && systemd::is_failed(root, self.name)?;
        let state = self.state()?;
        let old = self.info(from);
        // An original's unit is where its author put it, and not a stub.
        let was_enabled = match old.is_of_original() || register::is_installable(root, self.name)? {
            true => systemd::is_enabled(root, self.name)?,
            false => state.enabled.unwrap_or(old.enabled),
        };
        Ok(Switch {
            from: from.to_owned(),
            to: to.to_owned(),
            is_watched: has_unit && (was_active || is_failed),
            was_active,
            was_enabled,
            shared: host_files::shared(self.deployments, self.name, &self.info(from))?,
            dependents: systemd::all_active_dependents(root, self.name)?,
            boot: boot()?,
            ..Switch::default()
        })
    }

    /// The note, the link, and what is derived from it. Each step may be repeated.
    pub(super) fn commit(&self, state: &mut State, switch: Switch) -> Result<()> {
        state.switch = Some(switch.clone());
        if let Err(e) = self.save(state) {
            // Nothing is noted, so there is nothing to undo.
            state.switch = None;
            return Err(e);
        }
        let root = self.deployments.root();
        if !register::derive(self.deployments, self.name, &switch.to)?.service {
            // With its unit gone, nobody could stop it properly.
            systemd::stop(root, self.name, self.info(&switch.from).is_of_original())?;
        }
        self.deployments.switch(self.name, &switch.to)?;
        self.derive(&switch.to, switch.was_enabled)
    }

    /// Unit, registration, host files, tmpfiles and links of `systemctl enable`.
    pub(super) fn derive(&self, deployment: &str, was_enabled: bool) -> Result<()> {
        let root = self.deployments.root();
        let before = register::install_section(root, self.name)?;
        register::register(self.deployments, self.name, deployment)?;
        let after = register::install_section(root, self.name)?;
        if was_enabled && !after.is_empty() && (before != after || !systemd::is_enabled(root, self.name)?) {
            systemd::reenable(root, self.name)?;
        } else if after.is_empty() && !before.is_empty() && register::has_service(root, self.name) {
            systemd::disable(root, self.name)?;
        }
        register::load(root, self.name)
    }

    /// The new deployment stays.
    pub(super) fn confirm(&self, state: &mut State) -> Result<()> {
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let info = self.info(&switch.to);
        let unconfirmed = state.clone();
        state.switch = None;
        state.previous = Some(switch.from.clone());
        state.staged = state.staged.take().filter(|staged| *staged != switch.to);
        state.enabled = match register::is_installable(self.deployments.root(), self.name)? {
            true => None,
            false => Some(switch.was_enabled).filter(|enabled| *enabled != info.enabled),
        };
        state.forgive(&info);
        if let Some(why) = &switch.rollback {
            state.remember(&self.info(&switch.from), why);
        }
        if let Err(e) = self.save(state) {
            *state = unconfirmed;
            return Err(e);
        }
        if switch.is_watched {
            let is_up = systemd::is_active(self.deployments.root(), self.name).unwrap_or(false);
            let message = match is_up {
                true => format!("{} runs {} and stays with it", self.name, switch.to),
                false => format!("{} stays with {}, which does not run now", self.name, switch.to),
            };
            self.tell(Event::Confirmed, &switch.to, &switch.from, &message);
        }
        self.release();
        if let Err(e) = retention::collect(self.deployments, self.name) {
            log::warning(&format!("{e}; syscontainer-prune tries it again"));
        }
        Ok(())
    }

    /// Whether a process may be there that is not of the deployment `from`.
    pub(super) fn runs_other(&self, from: &str) -> Result<bool> {
        Ok(Bundle::new(self.name).deployment()?.is_none_or(|running| running != from))
    }

    /// From here on it goes back, whoever goes on.
    pub(super) fn decide(&self, state: &mut State, reason: &str, is_its_own: bool) -> Result<()> {
        let Some(switch) = state.switch.as_mut() else { return Ok(()) };
        switch.back = Some(reason.to_owned());
        let to = switch.to.clone();
        if is_its_own {
            state.remember(&self.info(&to), reason);
        }
        self.save(state)
    }

    /// The link and all that is derived from it are of the old deployment again.
    pub(super) fn restore(&self, state: &State) -> Result<()> {
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let deployments = self.deployments;
        let (old, new) = (self.info(&switch.from), self.info(&switch.to));
        deployments.switch(self.name, &switch.from)?;
        // As long as the old deployment is registered, recovery takes its host files for the user's.
        if !old.is_of_original() {
            host_files::install(deployments, self.name, &switch.from, &old, Some((&switch.to, &new)))?;
        }
        host_files::restore(deployments, self.name, &switch.shared)?;
        host_files::remove(deployments, self.name, &[&new], Some(&old))?;
        if old.is_of_original() {
            return self.recover();
        }
        self.derive(&switch.from, switch.was_enabled)
    }

    pub(super) fn finish_back(&self, state: &mut State, reason: &str) -> Result<()> {
        let Some(switch) = state.switch.take() else { return Ok(()) };
        let was_staged = state.staged.as_ref() == Some(&switch.to);
        let info = self.info(&switch.to);
        if was_staged {
            state.staged = None;
        }
        self.save(state)?;
        let message = rolled_back(&switch, reason).to_string();
        let subject = Subject {
            name: Some(self.name),
            image: &info.image,
            digest: &info.digest,
            deployment: &switch.from,
            previous: &switch.to,
            reason,
        };
        // Whoever asked for the switch says it.
        journal::record(self.deployments.root(), Event::Reverted, subject, &message);
        // What was there before stays, whatever becomes of what failed.
        if was_staged { self.deployments.remove(&switch.to) } else { Ok(()) }
    }

    /// The deployment that the service runs.
    pub(super) fn running(&self) -> Result<Option<String>> {
        if !self.deployments.root().is_host() {
            return Ok(None);
        }
        Ok(Bundle::new(self.name).deployment()?.filter(|running| self.deployments.path(running).is_dir()))
    }

    /// Going back writes a few small files; a new version may fill the disk meanwhile.
    pub(super) fn reserve(&self, switch: &Switch) -> Result<()> {
        if !switch.is_watched {
            return Ok(());
        }
        files::reserve(&self.deployments.reserve(self.name), RESERVE)
    }

    pub(super) fn release(&self) {
        // What is left of it is collected with what killed programs leave.
        let _ = files::remove_file(&self.deployments.reserve(self.name));
    }

    pub(super) fn recover(&self) -> Result<()> {
        recovery::announce(self.deployments, self.name)?;
        let recovered = recovery::recover(self.deployments, self.name)?;
        if recovered.created {
            recovery::enable(self.deployments, self.name)?;
        }
        if recovered.changed {
            systemd::reload(self.deployments.root())?;
        }
        Ok(())
    }

    pub(super) fn tell_switched(&self, from: &str, to: &str, purpose: Purpose) {
        let info = self.info(to);
        let shown = journal::shown(&info.image, &info.digest);
        let (event, verb) = match purpose {
            Purpose::Update => (Event::Switched, "updated"),
            Purpose::Rollback(_) => (Event::RolledBack, "rolled back"),
        };
        self.tell(event, to, from, &format!("{verb} {} to {to}: {shown}", self.name));
    }

    pub(super) fn tell(&self, event: Event, deployment: &str, previous: &str, message: &str) {
        let info = self.info(deployment);
        let subject = Subject {
            name: Some(self.name),
            image: &info.image,
            digest: &info.digest,
            deployment,
            previous,
            ..Subject::default()
        };
        journal::tell(self.deployments.root(), event, subject, message);
    }

    /// Of a deployment whose `info` cannot be read, nothing is known.
    pub(super) fn info(&self, deployment: &str) -> Info {
        self.deployments.info(deployment).unwrap_or_default()
    }

    pub(super) fn state(&self) -> Result<State> {
        State::load(self.deployments, self.name)
    }

    pub(super) fn save(&self, state: &State) -> Result<()> {
        state.save(self.deployments, self.name)
    }
}

/// What tells this boot from others.
pub(super) fn boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(path).context(|| format!("cannot read {path}"))?;
    Ok(id.trim().to_owned())
}
