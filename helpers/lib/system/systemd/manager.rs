//! The seam to the service manager: what these programs ask of it, and nothing else.
//!
//! [`super::host::Systemd`] is systemd; unit tests have a manager of their own.

use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::name::Name;
use crate::system::systemd::analyze::Complaint;
use crate::system::systemd::status::UnitStatus;

/// What is to be done with units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start those that are not active.
    Start,
    /// Stop those that are.
    Stop,
    /// Stop and start.
    Restart,
}

impl Verb {
    /// The verb of systemctl(1).
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
        }
    }
}

/// What is to become of the links of a unit's `[Install]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enablement {
    /// They are made.
    Enable,
    /// They are made as the section says now, and not as it said before.
    Reenable,
    /// They are removed.
    Disable,
}

/// The state of the system as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemState {
    /// It is booting.
    Starting,
    /// It is up.
    Running,
    /// It is going down.
    Stopping,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Its time is over, or a process ended: it is time to look.
    Look,
    /// This program was told to end.
    Interrupted,
}

/// A job that was begun, and a process that ends with it, if there is one to wait for.
pub trait Job {
    /// The process; `None` once it has ended.
    fn process(&mut self) -> Option<i32>;
}

/// A service manager.
pub trait Manager {
    /// Whether it runs: an unpacked tree has none, and then nothing but links of `[Install]` sections can be asked for.
    fn is_running(&self) -> bool;

    /// What tells this boot from others.
    fn boot_id(&self) -> Result<String>;

    /// The state of the system as a whole.
    fn system_state(&self) -> Result<SystemState>;

    /// Loads changed units, and runs generators.
    fn reload(&self) -> Result<()>;

    /// The status of units, in their order.
    fn show(&self, units: &[String]) -> Result<Vec<UnitStatus>>;

    /// Begins a job, and returns what to wait for.
    fn begin(&self, verb: Verb, unit: &str) -> Result<Box<dyn Job>>;

    /// Queues jobs for units, and does not wait for them.
    fn queue(&self, verb: Verb, units: &[String]) -> Result<()>;

    /// Forgets that units failed, and how often they were started.
    fn reset_failed(&self, unit: &str) -> Result<()>;

    /// Whether somebody asked for a unit to be stopped since then.
    fn was_stop_requested(&self, unit: &str, since: SystemTime) -> Result<bool>;

    /// Makes or removes links of `[Install]`, without loading units again. Links last through a power cut.
    fn set_enablement(&self, units: &[String], enablement: Enablement) -> Result<()>;

    /// Whether a unit is enabled.
    fn is_enabled(&self, name: &Name) -> Result<bool>;

    /// Creates what `tmpfiles.d/NAME.conf` describes.
    fn create_tmpfiles(&self, name: &Name) -> Result<()>;

    /// What is wrong with the text of a unit that is not there yet; `None` where nobody can tell.
    fn analyze(&self, unit: &str, name: &Name) -> Result<Option<Vec<Complaint>>>;

    /// From now on signals that end programs end waits instead.
    fn hold_signals(&self) -> Result<()>;

    /// Waits until one of these processes ends, `limit` at most.
    fn wait(&self, processes: &[i32], limit: Duration) -> Result<Wake>;

    /// Time that has passed since some moment.
    fn clock(&self) -> Duration;
}

/// The status of one unit.
pub fn show_one(manager: &dyn Manager, unit: &str) -> Result<UnitStatus> {
    let mut found = manager.show(&[unit.to_owned()])?;
    Ok(found.pop().unwrap_or_else(|| UnitStatus::unknown(unit)))
}

/// The status of a container's unit; `None` where no manager runs.
pub fn status(manager: &dyn Manager, name: &Name) -> Result<Option<UnitStatus>> {
    if manager.is_running() { show_one(manager, &name.unit()).map(Some) } else { Ok(None) }
}

/// Whether the unit of a container is active, or on the way to it.
pub fn is_active(manager: &dyn Manager, name: &Name) -> Result<bool> {
    Ok(status(manager, name)?.is_some_and(|status| !status.is_down()))
}

/// Whether the unit of a container failed.
pub fn is_failed(manager: &dyn Manager, name: &Name) -> Result<bool> {
    Ok(status(manager, name)?.is_some_and(|status| status.active_state == "failed"))
}

/// Whether the unit of a container is another by now than the manager has loaded.
pub fn needs_reload(manager: &dyn Manager, name: &Name) -> Result<bool> {
    Ok(status(manager, name)?.is_some_and(|status| status.needs_reload))
}

/// Queues jobs for units, however often they were started or failed lately.
pub fn queue_anew(manager: &dyn Manager, verb: Verb, units: &[String]) -> Result<()> {
    for unit in units {
        // One that is not loaded has nothing to forget.
        let _ = manager.reset_failed(unit);
    }
    manager.queue(verb, units)
}
