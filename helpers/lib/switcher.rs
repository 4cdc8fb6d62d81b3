//! Switches: from one deployment of a container to another, and back if the new one does not prove itself.
//!
//! The symlink is the one moment at which a container changes. A note of the switch is in the container's [`State`] from before
//! it until the end, so that whoever comes after a program that was killed, or a boot, knows what to finish or to undo.

use std::fs;
use std::time::Duration;

use crate::deployment::{Deployments, Info};
use crate::error::{Context, Error, Kind, Result};
use crate::host_files;
use crate::installation;
use crate::journal::{self, Event, Subject};
use crate::lock;
use crate::log;
use crate::name::Name;
use crate::recovery;
use crate::retention;
use crate::state::{State, Switch};
use crate::systemd;
use crate::watch::{self, Verdict, Watcher};

/// Why it goes back from a switch that nobody watched to its end.
const INTERRUPTED: &str = "the update was interrupted";

/// What a switch is for; going back from it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new deployment.
    Update,
    /// One that was current before.
    Rollback,
}

/// What was found of a switch whose program was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing, or one that is finished now.
    Done,
    /// One that is undone now, and why.
    WentBack(String),
}

/// Switches one container; the caller holds its lock.
pub struct Switcher<'a> {
    /// Where it is.
    pub deployments: &'a Deployments,
    /// Which one it is.
    pub name: &'a Name,
}

impl Switcher<'_> {
    /// Makes `to` current in place of `from`, has the service run it, and returns when it has proved itself. If it does not,
    /// everything is as before, and the error is one of [`crate::error::Kind::RolledBack`].
    pub fn switch(&self, from: &str, to: &str, purpose: Purpose, soak: Option<Duration>) -> Result<()> {
        let watcher = Watcher::new()?;
        let mut state = self.state()?;
        let soak = soak.unwrap_or(state.soak());
        let switch = Switch { is_rollback: purpose == Purpose::Rollback, ..self.note(from, to)? };
        let before = self.invocation(&switch)?;
        let unit = self.name.unit();
        let committed = {
            let _host_files = lock::host_files(self.deployments.root())?;
            self.commit(&mut state, switch.clone())
        };
        if let Err(e) = committed {
            self.back(&mut state, &watcher, &e.to_string(), false)?;
            return Err(e);
        }
        self.tell_switched(from, to, purpose);
        if !switch.is_watched {
            return self.confirm(&mut state);
        }
        let judged = systemd::queue("restart", &[&unit])
            .and_then(|()| watcher.wait_ready(&unit, &before))
            .and_then(|verdict| self.prove(&watcher, verdict, soak, &switch.dependents));
        self.conclude(&mut state, &watcher, judged)
    }

    /// Finishes, or undoes, a switch whose program was killed, and brings the container into a good state otherwise.
    pub fn settle(&self) -> Result<Settled> {
        let mut state = self.state()?;
        let recover = || {
            let _host_files = lock::host_files(self.deployments.root())?;
            self.recover()
        };
        let Some(switch) = state.switch.clone() else { return recover().map(|()| Settled::Done) };
        if !self.has_begun(&switch)? {
            recover()?;
            state.switch = None;
            return self.save(&state).map(|()| Settled::Done);
        }
        if !switch.is_watched && switch.back.is_none() {
            let _host_files = lock::host_files(self.deployments.root())?;
            self.commit(&mut state, switch)?;
            return self.confirm(&mut state).map(|()| Settled::Done);
        }
        if systemd::is_running(self.deployments.root()) && systemd::is_stopping()? {
            log::warning(&going_down(self.name));
            return Ok(Settled::Done);
        }
        let watcher = Watcher::new()?;
        let result = match &switch.back {
            None if switch.is_trial => {
                let judged = self.try_again(&watcher, &switch, state.soak());
                self.conclude(&mut state, &watcher, judged)
            }
            reason => {
                let reason = reason.as_deref().unwrap_or(INTERRUPTED);
                self.back(&mut state, &watcher, reason, false)?;
                Err(rolled_back(&switch, reason))
            }
        };
        match result {
            Err(e) if e.kind() == Kind::RolledBack => Ok(Settled::WentBack(e.to_string())),
            result => result.map(|()| Settled::Done),
        }
    }

    /// As [`Switcher::settle`] before services are started: what is not confirmed gets this boot, and no other one. Returns
    /// whether somebody has to watch it.
    pub fn settle_at_boot(&self) -> Result<bool> {
        let mut state = self.state()?;
        let Some(mut switch) = state.switch.clone().filter(|switch| switch.is_watched) else {
            return Ok(false);
        };
        if !self.has_begun(&switch)? {
            state.switch = None;
            return self.save(&state).map(|()| false);
        }
        let boot = boot()?;
        if switch.boot == boot {
            return Ok(true);
        }
        let _host_files = lock::host_files(self.deployments.root())?;
        if switch.back.is_none() && !switch.is_trial {
            switch.is_trial = true;
            switch.boot = boot;
            self.commit(&mut state, switch)?;
            return Ok(true);
        }
        let is_new = switch.back.is_none();
        let reason = switch.back.unwrap_or_else(|| "it was not confirmed in two boots".into());
        self.decide(&mut state, &reason, is_new)?;
        self.restore(&state)?;
        self.finish_back(&mut state, &reason)?;
        Ok(false)
    }

    /// Whether anything but the note was changed.
    fn has_begun(&self, switch: &Switch) -> Result<bool> {
        let current = self.deployments.current(self.name)?;
        Ok(current.as_ref() == Some(&switch.to)
            || (switch.back.is_some() && current.as_ref() == Some(&switch.from)))
    }

    /// Makes a new deployment current that the service runs from its next start on; if that fails, it goes. The caller holds the
    /// lock of host files, too.
    pub fn replace(&self, from: &str, to: &str) -> Result<()> {
        if let Err(e) = self.try_replace(from, to) {
            self.deployments.remove(to).context(|| format!("{e}; then it failed to remove {to}"))?;
            return Err(e);
        }
        Ok(())
    }

    fn try_replace(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state()?;
        let switch = Switch { is_watched: false, ..self.note(from, to)? };
        state.staged = None;
        if let Err(e) = self.commit(&mut state, switch) {
            self.undo(&mut state).context(|| format!("{e}; then it failed to go back"))?;
            return Err(e);
        }
        if let Err(e) = self.confirm(&mut state) {
            log::warning(&format!("{e}; the next command for {} completes this", self.name));
        }
        Ok(())
    }

    fn undo(&self, state: &mut State) -> Result<()> {
        self.decide(state, "it could not be made current", false)?;
        self.restore(state)?;
        state.switch = None;
        self.save(state)
    }

    /// What is as it was, before anything of it changes.
    fn note(&self, from: &str, to: &str) -> Result<Switch> {
        let root = self.deployments.root();
        let has_unit = installation::derive(self.deployments, self.name, to)?.service;
        let is_running = systemd::is_running(root);
        let was_active = is_running && systemd::is_active(root, self.name)?;
        // One that failed may be mended by what comes.
        let is_failed = is_running && systemd::is_failed(root, self.name)?;
        let state = self.state()?;
        let was_enabled = match installation::is_installable(root, self.name)? {
            true => systemd::is_enabled(root, self.name)?,
            false => state.enabled.unwrap_or(self.info(from).enabled),
        };
        Ok(Switch {
            from: from.to_owned(),
            to: to.to_owned(),
            is_watched: has_unit && (was_active || is_failed),
            was_active,
            was_enabled,
            dependents: systemd::all_active_dependents(root, self.name)?,
            boot: boot()?,
            ..Switch::default()
        })
    }

    /// The note, the link, and what is derived from it. Each step may be repeated.
    fn commit(&self, state: &mut State, switch: Switch) -> Result<()> {
        let (to, was_enabled) = (switch.to.clone(), switch.was_enabled);
        state.switch = Some(switch);
        if let Err(e) = self.save(state) {
            // Nothing is noted, so there is nothing to undo.
            state.switch = None;
            return Err(e);
        }
        let root = self.deployments.root();
        if !installation::derive(self.deployments, self.name, &to)?.service {
            // With its unit gone, nobody could stop it properly.
            systemd::stop(root, self.name)?;
        }
        self.deployments.switch(self.name, &to)?;
        self.derive(&to, was_enabled)
    }

    /// Unit, registration, host files, tmpfiles and links of `systemctl enable`.
    fn derive(&self, deployment: &str, was_enabled: bool) -> Result<()> {
        let root = self.deployments.root();
        let before = installation::install_section(root, self.name)?;
        installation::register(self.deployments, self.name, deployment)?;
        let after = installation::install_section(root, self.name)?;
        if was_enabled && !after.is_empty() && (before != after || !systemd::is_enabled(root, self.name)?) {
            systemd::reenable(root, self.name)?;
        } else if after.is_empty() && !before.is_empty() && installation::has_service(root, self.name) {
            systemd::disable(root, self.name)?;
        }
        installation::load(root, self.name)
    }

    fn prove(
        &self,
        watcher: &Watcher,
        ready: Verdict,
        soak: Duration,
        dependents: &[String],
    ) -> Result<Verdict> {
        if ready != Verdict::Good {
            return Ok(ready);
        }
        if !dependents.is_empty() {
            // They went down with the service; some come back with it, the others do not.
            systemd::queue("start", dependents)?;
        }
        log::info(&format!("{} is ready, watching it for {} s", self.name, soak.as_secs()));
        watcher.soak(&self.name.unit(), soak, dependents)
    }

    /// In the boot after: what the boot started is watched.
    fn try_again(&self, watcher: &Watcher, switch: &Switch, soak: Duration) -> Result<Verdict> {
        let unit = self.name.unit();
        if !systemd::was_started(&unit)? {
            // Nobody started it, so it says nothing of itself.
            return Ok(Verdict::Good);
        }
        let ready = watcher.wait_ready(&unit, "")?;
        // Those that this boot did not start were not to be.
        let dependents = systemd::show(&switch.dependents, "Id,ActiveState")?.into_iter();
        let started =
            dependents.filter(|unit| unit.get("ActiveState").is_some_and(|state| state != "inactive"));
        let started: Vec<_> = started.filter_map(|mut unit| unit.remove("Id")).collect();
        self.prove(watcher, ready, soak, &started)
    }

    fn conclude(&self, state: &mut State, watcher: &Watcher, judged: Result<Verdict>) -> Result<()> {
        let (reason, is_its_own) = match judged {
            Ok(Verdict::Good) => match self.confirm(state) {
                Ok(()) => return Ok(()),
                Err(e) => (e.to_string(), false),
            },
            Ok(Verdict::Bad(reason)) => (reason, true),
            Ok(Verdict::Interrupted) if systemd::is_stopping()? => {
                return Err(Error::new(going_down(self.name)));
            }
            Ok(Verdict::Interrupted) => (INTERRUPTED.to_owned(), false),
            Err(e) => (e.to_string(), false),
        };
        let switch = state.switch.clone().unwrap_or_default();
        self.back(state, watcher, &reason, is_its_own)?;
        Err(rolled_back(&switch, &reason))
    }

    /// The new deployment stays.
    fn confirm(&self, state: &mut State) -> Result<()> {
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let info = self.info(&switch.to);
        let unconfirmed = state.clone();
        state.switch = None;
        state.previous = Some(switch.from.clone());
        state.staged = state.staged.take().filter(|staged| *staged != switch.to);
        state.enabled = match installation::is_installable(self.deployments.root(), self.name)? {
            true => None,
            false => Some(switch.was_enabled).filter(|enabled| *enabled != info.enabled),
        };
        state.forgive(&info);
        if switch.is_rollback {
            state.remember(&self.info(&switch.from), "it was rolled back by hand");
        }
        if let Err(e) = self.save(state) {
            *state = unconfirmed;
            return Err(e);
        }
        if switch.is_watched {
            let message = format!("{} runs {} and stays with it", self.name, switch.to);
            self.tell(Event::Confirmed, &switch.to, &switch.from, "", &message);
        }
        if let Err(e) = retention::collect(self.deployments, self.name, state) {
            log::warning(&format!("{e}; syscontainer-prune tries it again"));
        }
        Ok(())
    }

    /// Goes back. Killed on the way, [`Switcher::settle`] goes on with it.
    fn back(&self, state: &mut State, watcher: &Watcher, reason: &str, is_its_own: bool) -> Result<()> {
        let what = || format!("cannot go back from what failed ({reason})");
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let root = self.deployments.root();
        self.decide(state, reason, is_its_own).context(what)?;
        let is_running = systemd::is_running(root);
        let unit = self.name.unit();
        let mut dependents = switch.dependents.clone();
        if is_running {
            let more = systemd::all_active_dependents(root, self.name).context(what)?;
            dependents.extend(more.into_iter().filter(|unit| !switch.dependents.contains(unit)));
            if switch.is_watched && self.runs_other(&switch.from)? {
                systemd::queue("stop", &[&unit]).context(what)?;
                watcher.wait_stopped(&unit).context(what)?;
            }
            systemd::reset_failed(root, self.name).context(what)?;
        }
        {
            let _host_files = lock::host_files(root)?;
            self.restore(state).context(what)?;
        }
        if is_running && switch.was_active {
            let before = watch::invocation(&unit).context(what)?;
            systemd::queue("start", &[&unit]).context(what)?;
            if let Verdict::Bad(why) = watcher.wait_ready(&unit, &before).context(what)? {
                log::error(&format!("{} does not start either: {why}", switch.from));
            }
            if !dependents.is_empty() {
                systemd::queue("start", &dependents).context(what)?;
            }
        }
        self.finish_back(state, reason)
    }

    /// Whether a process may be there that is not of the deployment `from`.
    fn runs_other(&self, from: &str) -> Result<bool> {
        let launched = crate::bundle::Bundle::new(self.name).load()?;
        Ok(launched.is_none_or(|launch| launch.deployment != from))
    }

    /// From here on it goes back, whoever goes on.
    fn decide(&self, state: &mut State, reason: &str, is_its_own: bool) -> Result<()> {
        let Some(switch) = state.switch.as_mut() else { return Ok(()) };
        switch.back = Some(reason.to_owned());
        let to = switch.to.clone();
        if is_its_own {
            state.remember(&self.info(&to), reason);
        }
        self.save(state)
    }

    /// The link and all that is derived from it are of the old deployment again.
    fn restore(&self, state: &State) -> Result<()> {
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let deployments = self.deployments;
        let (old, new) = (self.info(&switch.from), self.info(&switch.to));
        deployments.switch(self.name, &switch.from)?;
        // As long as the old deployment is registered, recovery takes its host files for the user's.
        if !old.is_of_original() {
            host_files::install(deployments, &switch.from, &old, Some((&switch.to, &new)))?;
        }
        host_files::remove(deployments, self.name, &[&new], Some(&old))?;
        if old.is_of_original() {
            return self.recover();
        }
        self.derive(&switch.from, switch.was_enabled)
    }

    fn finish_back(&self, state: &mut State, reason: &str) -> Result<()> {
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

    fn recover(&self) -> Result<()> {
        let recovered = recovery::recover(self.deployments, self.name)?;
        if recovered.created {
            recovery::enable(self.deployments, self.name)?;
        }
        if recovered.changed {
            systemd::reload(self.deployments.root())?;
        }
        Ok(())
    }

    fn tell_switched(&self, from: &str, to: &str, purpose: Purpose) {
        let info = self.info(to);
        let shown = journal::shown(&info.image, &info.digest);
        let (event, verb) = match purpose {
            Purpose::Update => (Event::Switched, "updated"),
            Purpose::Rollback => (Event::RolledBack, "rolled back"),
        };
        self.tell(event, to, from, "", &format!("{verb} {} to {to}: {shown}", self.name));
    }

    fn tell(&self, event: Event, deployment: &str, previous: &str, reason: &str, message: &str) {
        let info = self.info(deployment);
        let subject = Subject {
            name: Some(self.name),
            image: &info.image,
            digest: &info.digest,
            deployment,
            previous,
            reason,
        };
        journal::tell(self.deployments.root(), event, subject, message);
    }

    fn invocation(&self, switch: &Switch) -> Result<String> {
        if switch.is_watched { watch::invocation(&self.name.unit()) } else { Ok(String::new()) }
    }

    /// Of a deployment whose `info` cannot be read, nothing is known.
    fn info(&self, deployment: &str) -> Info {
        self.deployments.info(deployment).unwrap_or_default()
    }

    fn state(&self) -> Result<State> {
        State::load(self.deployments, self.name)
    }

    fn save(&self, state: &State) -> Result<()> {
        state.save(self.deployments, self.name)
    }
}

fn rolled_back(switch: &Switch, reason: &str) -> Error {
    Error::rolled_back(format!("{} failed: {reason}; {} is current again", switch.to, switch.from))
}

fn going_down(name: &Name) -> String {
    format!("the system goes down before the update of {name} is confirmed; the next boot does that")
}

/// What tells this boot from others.
fn boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(path).context(|| format!("cannot read {path}"))?;
    Ok(id.trim().to_owned())
}
