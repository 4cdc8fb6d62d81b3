//! Switches: from one deployment of a container to another, and back if the new one does not prove itself.
//!
//! The symlink is the one moment at which a container changes. A note of the switch is in the container's [`State`] from before
//! it until the end, so that whoever comes after a program that was killed, or a boot, knows what to finish or to undo.

mod steps;

use std::time::Duration;

use crate::container::deployment::Deployments;
use crate::container::state::{State, Switch};
use crate::error::{Context, Error, Kind, Result};
use crate::name::Name;
use crate::program::log;
use crate::system::lock;
use crate::system::systemd;
use crate::system::systemd::watch::{self, Verdict, Watcher};
use steps::boot;

/// Why it goes back from a switch that nobody watched to its end.
const INTERRUPTED: &str = "the update was interrupted";

/// What a switch is for; going back from it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new deployment.
    Update,
    /// One that was current before, and why.
    Rollback(&'static str),
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
        let _switches = lock::switches(self.deployments.root())?;
        let watcher = Watcher::new()?;
        let mut state = self.state()?;
        let soak = soak.unwrap_or(state.soak());
        let rollback = match purpose {
            Purpose::Update => None,
            Purpose::Rollback(why) => Some(why.to_owned()),
        };
        // What runs has proved itself, whatever was made current since.
        let from = &self.running()?.filter(|running| running != to).unwrap_or_else(|| from.to_owned());
        let switch = Switch { rollback, ..self.note(from, to)? };
        let before = self.invocation(&switch)?;
        let unit = self.name.unit();
        let committed = {
            let _host_files = lock::host_files(self.deployments.root())?;
            self.reserve(&switch).and_then(|()| self.commit(&mut state, switch.clone()))
        };
        if let Err(e) = committed {
            self.back(&mut state, &watcher, &e.to_string(), false)?;
            return Err(e);
        }
        self.tell_switched(from, to, purpose);
        if !switch.is_watched {
            return self.confirm(&mut state);
        }
        let judged = systemd::queue_anew("restart", &[&unit])
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
        let _switches = lock::switches(self.deployments.root())?;
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
            systemd::queue_anew("start", dependents)?;
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

    /// Goes back. Killed on the way, [`Switcher::settle`] goes on with it.
    fn back(&self, state: &mut State, watcher: &Watcher, reason: &str, is_its_own: bool) -> Result<()> {
        let what = || format!("cannot go back from what failed ({reason})");
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let root = self.deployments.root();
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
        }
        // Now that nothing fills the disk any more.
        self.release();
        self.decide(state, reason, is_its_own).context(what)?;
        {
            let _host_files = lock::host_files(root)?;
            self.restore(state).context(what)?;
        }
        if is_running && switch.was_active {
            if let Verdict::Bad(why) = self.run_old(watcher, &switch).context(what)? {
                log::error(&format!("{} does not start either: {why}", switch.from));
                // Then it is not the image's fault.
                state.forgive(&self.info(&switch.to));
            }
            if !dependents.is_empty() {
                systemd::queue_anew("start", &dependents).context(what)?;
            }
        }
        self.finish_back(state, reason)
    }

    /// Has the service run the old deployment again. Another unit may have had it started before its own unit was the old one.
    fn run_old(&self, watcher: &Watcher, switch: &Switch) -> Result<Verdict> {
        let unit = self.name.unit();
        let before = watch::invocation(&unit)?;
        systemd::queue_anew("start", &[&unit])?;
        let verdict = watcher.wait_ready(&unit, &before)?;
        if verdict != Verdict::Good || self.running()?.is_none_or(|running| running == switch.from) {
            return Ok(verdict);
        }
        let before = watch::invocation(&unit)?;
        systemd::queue_anew("restart", &[&unit])?;
        watcher.wait_ready(&unit, &before)
    }

    fn invocation(&self, switch: &Switch) -> Result<String> {
        if switch.is_watched { watch::invocation(&self.name.unit()) } else { Ok(String::new()) }
    }
}

fn rolled_back(switch: &Switch, reason: &str) -> Error {
    Error::rolled_back(format!("{} failed: {reason}; {} is current again", switch.to, switch.from))
}

fn going_down(name: &Name) -> String {
    format!("the system goes down before the update of {name} is confirmed; the next boot does that")
}
