//! Switches: from one deployment of a container to another, and back if the new one does not prove itself.
//!
//! The symlink is the one moment at which a container changes. A note of the switch is in the container's [`State`] from before
//! it until the end, with the [`Phase`] that it is in, so that whoever comes after a program that was killed, or a boot, knows what
//! to finish or to revert:
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

use crate::container::state::{Phase, Purpose, State, Switch};
use crate::error::{Context, Error, Kind, Result};
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::system::journal::{self, Event};
use crate::system::lock;
use crate::system::systemd::dependents::{self, Relation};
use crate::system::systemd::manager::{self, SystemState, Verb, show_one};
use crate::system::systemd::watch::{self, Verdict};
use steps::{Fault, reverted};

pub use steps::Switcher;

/// Reason of a revert if the watching program died.
const INTERRUPTED: &str = "the update was interrupted";

/// What was found of a switch whose program was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// None, or one that is complete now.
    Complete,
    /// One that is reverted now, and why.
    Reverted(String),
}

impl Switcher<'_> {
    /// Makes `to` current in place of `from`, has the service run it, and returns when it has proved itself. If it does not,
    /// everything is as before, and the error is one of [`Kind::Reverted`].
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
        // What runs has proved itself, whatever was made current since.
        let from = self.running()?.filter(|running| running != to).unwrap_or_else(|| from.clone());
        let switch = self.note(&from, to, purpose)?;
        let committed = {
            let _host_files = lock::host_files(self.site.root())?;
            self.reserve(&switch).and_then(|()| self.commit(&mut state, switch.clone()))
        };
        if let Err(e) = committed {
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

    /// Completes or reverts a switch whose program was killed, and brings the container into a good state otherwise.
    pub fn recover(&self) -> Result<Recovery> {
        let mut state = self.state()?;
        let mend = || {
            let _host_files = lock::host_files(self.site.root())?;
            self.mend()
        };
        let Some(switch) = state.switch.clone() else { return mend().map(|()| Recovery::Complete) };
        if !self.has_begun(&switch)? {
            mend()?;
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
                self.revert(&mut state, reason, Fault::Circumstances)?;
                Err(reverted(&switch, reason))
            }
        };
        match result {
            Err(e) if e.kind() == Kind::Reverted => Ok(Recovery::Reverted(e.to_string())),
            result => result.map(|()| Recovery::Complete),
        }
    }

    /// As [`Switcher::recover`] before services are started: what is not confirmed gets this boot, and no other one. Returns
    /// whether somebody has to watch it.
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

    /// Makes a new deployment current that the service runs from its next start on; if that fails, it goes. The caller holds the
    /// lock of host files, too.
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

    /// Reverts what no service runs yet.
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
            // They went down with the service; some come back with it, the others do not.
            manager::queue_anew(self.manager(), Verb::Start, dependents)?;
        }
        log::info(&format!("{} is ready, watching it for {} s", self.name, soak.as_secs()));
        watch::watch(self.manager(), &self.unit(), soak, dependents)
    }

    /// In the boot after: what the boot started is watched.
    fn watch_trial(&self, switch: &Switch, soak: Duration) -> Result<Verdict> {
        let status = show_one(self.manager(), &self.unit())?;
        if !status.was_started && !status.has_job {
            // Nobody started it, so it says nothing of itself.
            return Ok(Verdict::Good);
        }
        let ready = watch::await_ready(self.manager(), &self.unit())?;
        // Those that this boot did not start were not to be.
        let dependents = self.manager().show(&switch.before.dependents)?.into_iter();
        let started = dependents.filter(|status| status.active_state != "inactive");
        let started: Vec<_> = started.map(|status| status.id).collect();
        self.watch(ready, soak, &started)
    }

    fn conclude(&self, state: &mut State, judged: Result<Verdict>) -> Result<()> {
        let (reason, fault) = match judged {
            Ok(Verdict::Good) => match self.confirm(state) {
                Ok(()) => return Ok(()),
                Err(e) => (e.to_string(), Fault::Circumstances),
            },
            Ok(Verdict::Bad(reason)) => (reason, Fault::Own),
            Ok(Verdict::Interrupted) if self.is_going_down()? => {
                return Err(Error::new(going_down(self.name)));
            }
            Ok(Verdict::Interrupted) => (INTERRUPTED.to_owned(), Fault::Circumstances),
            Err(e) => (e.to_string(), Fault::Circumstances),
        };
        let Some(switch) = state.switch.clone() else { return Err(Error::new(reason)) };
        self.revert(state, &reason, fault)?;
        Err(reverted(&switch, &reason))
    }

    /// Goes back. Killed on the way, [`Switcher::recover`] goes on with it.
    fn revert(&self, state: &mut State, reason: &str, fault: Fault) -> Result<()> {
        let what = || format!("cannot go back from what failed ({reason})");
        let Some(switch) = state.switch.clone() else { return Ok(()) };
        let is_running = self.manager().is_running();
        let mut dependents = switch.before.dependents.clone();
        if is_running {
            let more = dependents::active(self.manager(), self.name, Relation::GoesDown).context(what)?;
            dependents.extend(more.into_iter().filter(|unit| !switch.before.dependents.contains(unit)));
            if switch.watched && self.runs_other(&switch.from)? {
                watch::stop(self.manager(), &self.unit()).context(what)?;
            }
        }
        // Now that nothing fills the disk any more.
        self.release();
        self.begin_revert(state, reason, fault).context(what)?;
        {
            let _host_files = lock::host_files(self.site.root())?;
            self.restore(state).context(what)?;
        }
        if is_running && switch.before.active {
            if let Verdict::Bad(why) = self.run_old(&switch).context(what)? {
                log::error(&format!("{} does not start either: {why}", switch.from));
                // Then it is not the image's fault.
                self.forgive(state, &switch.to);
            }
            if !dependents.is_empty() {
                manager::queue_anew(self.manager(), Verb::Start, &dependents).context(what)?;
            }
        }
        self.end_revert(state, reason)
    }

    /// Has the service run the old deployment again. Another unit may have had it started before its own unit was the old one.
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
            Purpose::Update => (Event::Switched, "updated"),
            Purpose::Rollback(_) => (Event::RolledBack, "rolled back"),
        };
        let (name, to) = (self.name, &switch.to);
        let image = self.info(to).and_then(|info| Some(journal::shown(&info.image, &info.digest()?)));
        let image = image.map(|image| format!(": {image}")).unwrap_or_default();
        self.tell(event, to, &switch.from, &format!("{verb} {name} to {to}{image}"));
    }
}

fn going_down(name: &Name) -> String {
    format!("the system goes down before the update of {name} is confirmed; the next boot does that")
}
