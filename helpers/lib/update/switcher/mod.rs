//! Switches from one deployment of a container to another, which are reverted if the new one fails.
//!
//! A container changes in a single moment, when its symlink does. From before that moment until it is confirmed, the
//! switch is recorded in the container's [`State`] along with its [`Phase`], so that a program that finds it
//! interrupted, or the next boot, knows what to finish or to revert:
//!
//! ```text
//! stage ─→ switch ─→ watch ─→ confirm
//!            │         │ └─ next boot ─→ trial ─→ confirm
//!            └─────────┴───────────────────┴─→ revert
//! ```

mod steps;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::container::standing;
use crate::container::state::{Phase, Purpose, State, Switch};
use crate::error::{Context, Error, Kind, Result};
use crate::install::acceptance;
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::system::journal::{self, Event};
use crate::system::lock;
use crate::system::systemd::dependents::{self, Relation};
use crate::system::systemd::manager::{self, SystemState, Verb, show_one};
use crate::system::systemd::watch::{self, Verdict};
use steps::Fault;

pub use steps::Switcher;

/// Reason for reverting if the watching program was killed.
const INTERRUPTED: &str = "the switch was interrupted";

/// The result of recovering an interrupted switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// There was none, or it is complete now.
    Complete,
    /// It is reverted now, for this reason.
    Reverted(String),
}

impl Switcher<'_> {
    /// Makes `to` current in place of `from`, restarts the service, watches it, and confirms the switch. If the service
    /// fails, the switch is reverted and the error is one of [`Kind::Reverted`].
    pub fn switch(
        &self,
        from: &Deployment,
        to: &Deployment,
        purpose: Purpose,
        soak: Option<Duration>,
    ) -> Result<()> {
        let _switches = lock::switches(self.site.root())?;
        self.manager().hold_signals()?;
        let mut state = self.state()?;
        let soak = soak.unwrap_or(state.soak());
        // The running deployment is known to work, whatever was made current since it was started.
        let is_wanted = |running: &Deployment| running != to && !self.is_overruled(&state, running);
        let running = self.running()?.filter(is_wanted);
        // A rollback by hand gives up what is current.
        let untried = running.as_ref().filter(|running| *running != from && purpose == Purpose::Update);
        let untried = untried.map(|_| from.clone());
        let from = running.unwrap_or_else(|| from.clone());
        let switch = Switch { untried, ..self.note(&from, to, purpose)? };
        let committed = {
            let _host_files = lock::host_files(self.site.root())?;
            self.reserve(&switch).and_then(|()| self.commit(&mut state, switch.clone()))
        };
        if let Err(e) = committed {
            self.release();
            self.revert(&mut state, &e.to_string(), Fault::Circumstances)?;
            return Err(e);
        }
        self.report_switched(&switch);
        if !switch.watched {
            return self.confirm(&mut state);
        }
        let judged = self.begin_watch(&mut state).and_then(|()| self.restart(soak, &switch));
        self.conclude(&mut state, judged)
    }

    /// Completes or reverts an interrupted switch. Without one, only brings the container into a consistent state.
    ///
    /// Nothing is done if the directory of deployments is not the one that the container was installed in, which is an error.
    pub fn recover(&self) -> Result<Recovery> {
        standing::check(&self.site.deployments, self.name)?;
        let mut state = self.state()?;
        let repair = || {
            let _host_files = lock::host_files(self.site.root())?;
            self.repair()
        };
        let Some(switch) = state.switch.clone() else { return repair().map(|()| Recovery::Complete) };
        if !self.has_begun(&switch)? {
            repair()?;
            state.switch = None;
            return self.save(&state).map(|()| Recovery::Complete);
        }
        if !switch.watched && !matches!(switch.phase, Phase::Revert { .. }) {
            let _host_files = lock::host_files(self.site.root())?;
            self.commit(&mut state, switch)?;
            return self.confirm(&mut state).map(|()| Recovery::Complete);
        }
        if self.is_going_down()? {
            log::warning(&going_down(self.name));
            return Ok(Recovery::Complete);
        }
        let _switches = lock::switches(self.site.root())?;
        self.manager().hold_signals()?;
        let result = match &switch.phase {
            Phase::Trial => {
                let judged = self.watch_trial(&switch, state.soak());
                self.conclude(&mut state, judged)
            }
            phase => {
                let reason = match phase {
                    Phase::Revert { reason } => reason.as_str(),
                    _ => INTERRUPTED,
                };
                Err(self.revert(&mut state, reason, Fault::Circumstances)?)
            }
        };
        match result {
            Err(e) if e.kind() == Kind::Reverted => Ok(Recovery::Reverted(e.to_string())),
            result => result.map(|()| Recovery::Complete),
        }
    }

    /// Like [`Switcher::recover`], but before services are started: an unconfirmed switch gets a trial in this boot,
    /// and only in this one. Returns whether it has to be watched.
    pub fn recover_at_boot(&self) -> Result<bool> {
        let mut state = self.state()?;
        let Some(mut switch) = state.switch.clone().filter(|switch| switch.watched) else {
            return Ok(false);
        };
        if !self.has_begun(&switch)? {
            state.switch = None;
            return self.save(&state).map(|()| false);
        }
        let boot = self.manager().boot_id()?;
        if switch.boot == boot {
            return Ok(true);
        }
        let _host_files = lock::host_files(self.site.root())?;
        let (reason, fault) = match &switch.phase {
            Phase::Switch | Phase::Watch => {
                switch.phase = Phase::Trial;
                switch.boot = boot;
                self.commit(&mut state, switch)?;
                return Ok(true);
            }
            Phase::Trial => ("it was not confirmed in two boots".to_owned(), Fault::Own),
            Phase::Revert { reason } => (reason.clone(), Fault::Circumstances),
        };
        self.begin_revert(&mut state, &reason, fault)?;
        self.restore(&state)?;
        self.end_revert(&mut state, &reason)?;
        Ok(false)
    }

    /// Makes a new deployment current, which the service runs from its next start on. If that fails, the deployment is
    /// removed. The caller holds the lock of host files, too.
    pub fn replace(&self, from: &Deployment, to: &Deployment) -> Result<()> {
        if let Err(e) = self.try_replace(from, to) {
            let removed = self.site.deployments.remove(to);
            removed.context(|| format!("{e}; then it failed to remove {to}"))?;
            return Err(e);
        }
        Ok(())
    }

    fn try_replace(&self, from: &Deployment, to: &Deployment) -> Result<()> {
        let mut state = self.state()?;
        let switch = Switch { watched: false, ..self.note(from, to, Purpose::Update)? };
        let (staged, ignored) = (state.staged.take(), state.ignores_exports);
        self.info(to).iter().for_each(|info| acceptance::remember(&mut state, info));
        if let Err(e) = self.commit(&mut state, switch) {
            (state.staged, state.ignores_exports) = (staged, ignored);
            self.undo(&mut state).context(|| format!("{e}; then it failed to revert the switch"))?;
            return Err(e);
        }
        if let Err(e) = self.confirm(&mut state) {
            log::warning(&format!("{e}; the next command for {} completes this", self.name));
        }
        Ok(())
    }

    /// Reverts a switch whose deployment no service runs yet.
    fn undo(&self, state: &mut State) -> Result<()> {
        self.begin_revert(state, "it could not be made current", Fault::Circumstances)?;
        self.restore(state)?;
        state.switch = None;
        self.save(state)
    }

    fn restart(&self, soak: Duration, switch: &Switch) -> Result<Verdict> {
        let ready = watch::start(self.manager(), Verb::Restart, &self.unit())?;
        self.watch(ready, soak, &switch.before.dependents)
    }

    fn watch(&self, ready: Verdict, soak: Duration, dependents: &[String]) -> Result<Verdict> {
        if ready != Verdict::Good {
            return Ok(ready);
        }
        if !dependents.is_empty() {
            // They were stopped along with the service; some are started along with it, but not all.
            manager::reset_and_queue(self.manager(), Verb::Start, dependents)?;
        }
        log::info(&format!("{} is ready, watching it for {} s", self.name, soak.as_secs()));
        watch::watch(self.manager(), &self.unit(), soak, dependents)
    }

    /// Watches the service in the boot after the switch, as far as that boot started it.
    fn watch_trial(&self, switch: &Switch, soak: Duration) -> Result<Verdict> {
        let status = show_one(self.manager(), &self.unit())?;
        if !status.was_started && !status.has_job {
            // It was not started, so there is nothing to watch.
            return Ok(Verdict::Good);
        }
        let ready = watch::await_ready(self.manager(), &self.unit())?;
        // Dependents that this boot did not start are not supposed to run.
        let dependents = self.manager().show(&switch.before.dependents)?.into_iter();
        let started = dependents.filter(|status| status.active_state != "inactive");
        let started: Vec<_> = started.map(|status| status.id).collect();
        self.watch(ready, soak, &started)
    }

    fn conclude(&self, state: &mut State, judged: Result<Verdict>) -> Result<()> {
        // Whatever happens to a service in a shutdown says nothing about its deployment; not even that it was stopped.
        if self.is_going_down().unwrap_or(false) {
            return Err(Error::new(going_down(self.name)));
        }
        let (reason, fault) = match judged {
            Ok(Verdict::Good) => match self.confirm(state) {
                Ok(()) => return Ok(()),
                Err(e) => (e.to_string(), Fault::Circumstances),
            },
            Ok(Verdict::Bad(reason)) => (reason, Fault::Own),
            Ok(Verdict::Interrupted) => (INTERRUPTED.to_owned(), Fault::Circumstances),
            Err(e) => (e.to_string(), Fault::Circumstances),
        };
        Err(self.revert(state, &reason, fault)?)
    }

    /// Reverts a switch, and returns the error for its caller. If this is interrupted, [`Switcher::recover`] continues it.
    fn revert(&self, state: &mut State, reason: &str, fault: Fault) -> Result<Error> {
        let what = || format!("cannot revert the switch, which failed ({reason})");
        let Some(switch) = state.switch.clone() else { return Ok(Error::new(reason)) };
        let is_running = self.manager().is_running();
        let mut dependents = switch.before.dependents.clone();
        // Stopping the service may take long, and why it is stopped must not be lost meanwhile. On a full disk this fails.
        let is_noted = self.begin_revert(state, reason, fault).is_ok();
        if is_running {
            let more = dependents::active(self.manager(), self.name, Relation::StoppedWith).context(what)?;
            dependents.extend(more.into_iter().filter(|unit| !switch.before.dependents.contains(unit)));
            if switch.watched && self.runs_other(&switch.from)? {
                watch::stop(self.manager(), &self.unit()).context(what)?;
            }
        }
        // Now that the service can no longer fill the disk.
        self.release();
        if !is_noted {
            self.begin_revert(state, reason, fault).context(what)?;
        }
        {
            let _host_files = lock::host_files(self.site.root())?;
            self.restore(state).context(what)?;
        }
        if is_running && switch.before.active {
            if let Verdict::Bad(why) = self.run_old(&switch).context(what)? {
                log::error(&format!("{} does not start either: {why}", switch.from));
                // Then the new image is not to blame.
                self.forgive(state, &switch.to);
            }
            if !dependents.is_empty() {
                manager::reset_and_queue(self.manager(), Verb::Start, &dependents).context(what)?;
            }
        }
        self.end_revert(state, reason)
    }

    /// Starts the old deployment again. If another unit caused a start before the old unit was restored, the service is
    /// restarted.
    fn run_old(&self, switch: &Switch) -> Result<Verdict> {
        let verdict = watch::start(self.manager(), Verb::Start, &self.unit())?;
        if verdict != Verdict::Good || self.running()?.is_none_or(|running| running == switch.from) {
            return Ok(verdict);
        }
        watch::start(self.manager(), Verb::Restart, &self.unit())
    }

    fn is_going_down(&self) -> Result<bool> {
        Ok(self.manager().is_running() && self.manager().system_state()? == SystemState::Stopping)
    }

    fn report_switched(&self, switch: &Switch) {
        let (event, verb) = match switch.purpose {
            Purpose::Update => (Event::Switched, "switched"),
            Purpose::Rollback(_) => (Event::RolledBack, "rolled back"),
        };
        let (name, to) = (self.name, &switch.to);
        let image = self.info(to).and_then(|info| Some(journal::shown(&info.image, &info.digest()?)));
        let image = image.map(|image| format!(": {image}")).unwrap_or_default();
        self.tell(event, to, &switch.from, &format!("{verb} {name} to {to}{image}"));
    }
}

fn going_down(name: &Name) -> String {
    format!(
        "the system is shutting down, and the update of {name} is not confirmed yet; the next boot continues it"
    )
}
