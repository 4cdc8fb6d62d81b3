//! A service manager for unit tests: tests decide how starts go, and the clock only moves in waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::name::Name;
use crate::paths::STUBS;
use crate::system::kill_point;
use crate::system::systemd::analyze::Complaint;
use crate::system::systemd::manager::{Enablement, Job, Manager, SystemState, Verb, Wake};
use crate::system::systemd::status::UnitStatus;

/// How the next starts of a unit go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The unit becomes ready, and stays up.
    Runs,
    /// The unit fails instead of becoming ready.
    Fails,
    /// The unit becomes ready, and fails after a while.
    Dies(Duration),
}

/// A hook that is called at every start.
type Started = Box<dyn Fn(&str)>;
/// A hook that decides how a start goes, which may depend on what is installed by then.
type Decide = Box<dyn Fn(&str) -> Fate>;

/// A service manager without a system.
pub struct Fake {
    units: RefCell<BTreeMap<String, UnitStatus>>,
    /// When units that are up will fail.
    deaths: RefCell<BTreeMap<String, Duration>>,
    decide: RefCell<Decide>,
    started: RefCell<Started>,
    enabled: RefCell<Vec<String>>,
    /// Units that presets disable.
    pub disabled_by_preset: RefCell<Vec<String>>,
    clock: Cell<Duration>,
    boot: Cell<u32>,
    invocations: Cell<u32>,
    state: Cell<SystemState>,
    interrupt_at: Cell<Option<Duration>>,
    shutdown_at: Cell<Option<Duration>>,
    /// The calls that were made, as `verb unit`.
    pub calls: RefCell<Vec<String>>,
    /// How often units were queried, each time of which is a process on a real host.
    pub queries: Cell<u32>,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake::new()
    }
}

impl Fake {
    /// A manager with which all starts succeed.
    pub fn new() -> Fake {
        Fake {
            units: RefCell::default(),
            deaths: RefCell::default(),
            decide: RefCell::new(Box::new(|_| Fate::Runs)),
            started: RefCell::new(Box::new(|_| {})),
            enabled: RefCell::default(),
            disabled_by_preset: RefCell::default(),
            clock: Cell::new(Duration::ZERO),
            boot: Cell::new(1),
            invocations: Cell::new(0),
            state: Cell::new(SystemState::Running),
            interrupt_at: Cell::new(None),
            shutdown_at: Cell::new(None),
            calls: RefCell::default(),
            queries: Cell::new(0),
        }
    }

    /// Sets how starts go from now on.
    pub fn decide(&self, decide: impl Fn(&str) -> Fate + 'static) {
        *self.decide.borrow_mut() = Box::new(decide);
    }

    /// Sets what a start does besides, in place of the unit's commands.
    pub fn on_start(&self, started: impl Fn(&str) + 'static) {
        *self.started.borrow_mut() = Box::new(started);
    }

    /// Adds a unit that is stopped along with another one.
    pub fn add_dependent(&self, unit: &str, on: &str) {
        self.with(on, |status| status.needed_by.push(unit.to_owned()));
        self.with(unit, |_| {});
    }

    /// Makes a unit one that is not ours.
    pub fn make_foreign(&self, unit: &str) {
        self.with(unit, |status| status.fragment = Path::new("/usr/lib/systemd/system").join(unit));
    }

    /// Queues a job for a unit that is to be started, as a boot does, which has to wait.
    pub fn let_wait(&self, unit: &str) {
        self.with(unit, |status| (status.has_job, status.load_state) = (true, "loaded".into()));
    }

    /// The `ActiveState` of a unit.
    pub fn state_of(&self, unit: &str) -> String {
        self.with(unit, |status| status.active_state.clone())
    }

    /// Begins another boot, in which nothing runs yet.
    pub fn reboot(&self) {
        self.boot.set(self.boot.get() + 1);
        self.state.set(SystemState::Running);
        self.interrupt_at.set(None);
        self.shutdown_at.set(None);
        self.deaths.borrow_mut().clear();
        for status in self.units.borrow_mut().values_mut() {
            let new = UnitStatus::unknown(&status.id);
            *status = UnitStatus { needed_by: status.needed_by.clone(), ..new };
        }
    }

    /// Sends this program a termination signal when the clock gets to `clock`, with the system in this state.
    pub fn interrupt_at(&self, clock: Duration, state: SystemState) {
        self.interrupt_at.set(Some(clock));
        self.state.set(state);
    }

    /// Shuts the system down when the clock gets to `clock`: all units are stopped, and this program has no signal yet.
    pub fn shut_down_at(&self, clock: Duration) {
        self.shutdown_at.set(Some(clock));
    }

    fn is_shutting_down(&self) -> bool {
        self.shutdown_at.get().is_some_and(|at| self.clock.get() >= at)
    }

    fn with<T>(&self, unit: &str, change: impl FnOnce(&mut UnitStatus) -> T) -> T {
        let mut units = self.units.borrow_mut();
        change(units.entry(unit.to_owned()).or_insert_with(|| UnitStatus::unknown(unit)))
    }

    fn call(&self, verb: &str, unit: &str) {
        kill_point::pass();
        self.calls.borrow_mut().push(format!("{verb} {unit}"));
    }

    fn start(&self, unit: &str) {
        (self.started.borrow())(unit);
        let fate = (self.decide.borrow())(unit);
        self.invocations.set(self.invocations.get() + 1);
        let invocation = self.invocations.get();
        self.with(unit, |status| {
            status.load_state = "loaded".into();
            if status.fragment.as_os_str().is_empty() {
                status.fragment = Path::new(STUBS).join(unit);
            }
            status.has_job = false;
            status.invocation = invocation.to_string();
            status.was_started = true;
            status.main_pid = i32::try_from(invocation).ok();
            status.active_state = "active".into();
            status.sub_state = "running".into();
            status.result = "success".into();
        });
        match fate {
            Fate::Runs => {}
            Fate::Fails => self.fail(unit),
            Fate::Dies(after) => {
                self.deaths.borrow_mut().insert(unit.to_owned(), self.clock.get() + after);
            }
        }
    }

    fn fail(&self, unit: &str) {
        self.down(unit, "failed");
        self.with(unit, |status| status.result = "exit-code".into());
    }

    /// Stops a unit, along with all units that need it.
    fn down(&self, unit: &str, state: &str) {
        self.deaths.borrow_mut().remove(unit);
        let dependents = self.with(unit, |status| {
            status.active_state = state.into();
            status.sub_state = "dead".into();
            status.main_pid = None;
            status.needed_by.clone()
        });
        for dependent in dependents {
            if self.with(&dependent, |status| status.is_up()) {
                self.down(&dependent, "inactive");
            }
        }
    }
}

struct Done;

impl Job for Done {
    fn process(&mut self) -> Option<i32> {
        None
    }
}

impl Manager for Fake {
    fn is_running(&self) -> bool {
        true
    }

    fn boot_id(&self) -> Result<String> {
        Ok(self.boot.get().to_string())
    }

    fn system_state(&self) -> Result<SystemState> {
        if self.is_shutting_down() {
            return Ok(SystemState::Stopping);
        }
        let is_interrupted = self.interrupt_at.get().is_some_and(|at| self.clock.get() >= at);
        Ok(if is_interrupted { self.state.get() } else { SystemState::Running })
    }

    fn reload(&self) -> Result<()> {
        self.call("daemon-reload", "");
        Ok(())
    }

    fn show(&self, units: &[String]) -> Result<Vec<UnitStatus>> {
        self.queries.set(self.queries.get() + 1);
        Ok(units.iter().map(|unit| self.with(unit, |status| status.clone())).collect())
    }

    fn begin(&self, verb: Verb, unit: &str) -> Result<Box<dyn Job>> {
        self.queue(verb, &[unit.to_owned()])?;
        Ok(Box::new(Done))
    }

    fn queue(&self, verb: Verb, units: &[String]) -> Result<()> {
        for unit in units {
            self.call(verb.as_str(), unit);
            let is_up = self.with(unit, |status| status.is_up());
            match verb {
                Verb::Start if is_up => {}
                Verb::Start => self.start(unit),
                Verb::Stop => self.down(unit, "inactive"),
                Verb::Restart => {
                    self.down(unit, "inactive");
                    self.start(unit);
                }
            }
        }
        Ok(())
    }

    fn reset_failed(&self, unit: &str) -> Result<()> {
        self.with(unit, |status| {
            if status.active_state == "failed" {
                status.active_state = "inactive".into();
            }
        });
        Ok(())
    }

    fn was_stop_requested(&self, _: &str, _: SystemTime) -> Result<bool> {
        Ok(self.is_shutting_down())
    }

    fn set_enablement(&self, units: &[String], enablement: Enablement) -> Result<()> {
        for unit in units {
            self.call("enablement", unit);
            let mut enabled = self.enabled.borrow_mut();
            enabled.retain(|other| other != unit);
            if enablement != Enablement::Disable {
                enabled.push(unit.clone());
            }
        }
        Ok(())
    }

    fn is_enabled(&self, name: &Name) -> Result<bool> {
        Ok(self.enabled.borrow().contains(&name.unit()))
    }

    fn is_preset(&self, name: &Name) -> Result<bool> {
        Ok(!self.disabled_by_preset.borrow().contains(&name.unit()))
    }

    fn create_tmpfiles(&self, name: &Name) -> Result<()> {
        self.call("tmpfiles", name.as_str());
        Ok(())
    }

    fn analyze(&self, _: &str, _: &Name) -> Result<Option<Vec<Complaint>>> {
        Ok(None)
    }

    fn hold_signals(&self) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _: &[i32], limit: Duration) -> Result<Wake> {
        kill_point::pass();
        if limit.is_zero() {
            return Err(Error::new("this would wait for nothing forever"));
        }
        self.clock.set(self.clock.get() + limit);
        let now = self.clock.get();
        let dead: Vec<String> =
            self.deaths.borrow().iter().filter(|(_, at)| **at <= now).map(|(unit, _)| unit.clone()).collect();
        dead.iter().for_each(|unit| self.fail(unit));
        if self.is_shutting_down() {
            let units: Vec<String> = self.units.borrow().keys().cloned().collect();
            units.iter().for_each(|unit| self.down(unit, "inactive"));
        }
        let is_interrupted = self.interrupt_at.get().is_some_and(|at| now >= at);
        Ok(if is_interrupted { Wake::Interrupted } else { Wake::Look })
    }

    fn clock(&self) -> Duration {
        self.clock.get()
    }
}
