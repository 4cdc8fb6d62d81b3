//! The interface to the service manager: what these programs need of it, and nothing else.
//!
//! [`super::host::Systemd`] is systemd; unit tests have a manager of their own.

use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::name::Name;
use crate::system::systemd::analyze::Complaint;
use crate::system::systemd::status::UnitStatus;

/// The kind of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Starts units that are not active.
    Start,
    /// Stops units that are active.
    Stop,
    /// Stops and starts units.
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

/// How to change the links of a unit's `[Install]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enablement {
    /// Create them.
    Enable,
    /// Remove them, and create those of the section as it is now.
    Reenable,
    /// Remove them.
    Disable,
    /// Create or remove them, as systemd's presets say.
    Preset,
}

/// The state of the system as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemState {
    /// The boot has not finished: `initializing` or `starting`.
    Starting,
    /// Any other state: `running`, `degraded`, `maintenance` and so on.
    Running,
    /// The system is shutting down.
    Stopping,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The limit was reached, or a process ended: the caller queries the units again.
    Look,
    /// This program received a termination signal.
    Interrupted,
}

/// A job, and the process that ends along with it, if there is one to wait for.
pub trait Job {
    /// The process; `None` once it has ended.
    fn process(&mut self) -> Option<i32>;
}

/// A service manager.
pub trait Manager {
    /// Whether it runs. It does not for an unpacked tree, where only the links of `[Install]` can be read and changed.
    fn is_running(&self) -> bool;

    /// The ID of this boot.
    fn boot_id(&self) -> Result<String>;

    /// The state of the system as a whole.
    fn system_state(&self) -> Result<SystemState>;

    /// Loads changed units, and runs generators.
    fn reload(&self) -> Result<()>;

    /// The status of units, in the given order.
    fn show(&self, units: &[String]) -> Result<Vec<UnitStatus>>;

    /// Starts a job, and returns what to wait for.
    fn begin(&self, verb: Verb, unit: &str) -> Result<Box<dyn Job>>;

    /// Queues jobs for units without waiting for them.
    fn queue(&self, verb: Verb, units: &[String]) -> Result<()>;

    /// Clears the failed state of a unit, and its counter of starts.
    fn reset_failed(&self, unit: &str) -> Result<()>;

    /// Whether anybody requested that a unit be stopped since then.
    fn was_stop_requested(&self, unit: &str, since: SystemTime) -> Result<bool>;

    /// Creates or removes links of `[Install]`, without reloading units. New links are synced to disk.
    fn set_enablement(&self, units: &[String], enablement: Enablement) -> Result<()>;

    /// Whether a unit is enabled.
    fn is_enabled(&self, name: &Name) -> Result<bool>;

    /// Whether presets (systemd.preset(5)) enable the unit of a container, which need not be there yet.
    fn is_preset(&self, name: &Name) -> Result<bool>;

    /// Creates what `tmpfiles.d/NAME.conf` describes.
    fn create_tmpfiles(&self, name: &Name) -> Result<()>;

    /// What is wrong with the text of a unit that is not installed yet; `None` if this cannot be found out.
    fn analyze(&self, unit: &str, name: &Name) -> Result<Option<Vec<Complaint>>>;

    /// From now on, termination signals end waits instead of the program.
    fn hold_signals(&self) -> Result<()>;

    /// Waits until one of these processes ends, for at most `limit`.
    fn wait(&self, processes: &[i32], limit: Duration) -> Result<Wake>;

    /// A monotonic clock with an arbitrary origin.
    fn clock(&self) -> Duration;
}

/// The status of one unit.
pub fn show_one(manager: &dyn Manager, unit: &str) -> Result<UnitStatus> {
    let mut found = manager.show(&[unit.to_owned()])?;
    Ok(found.pop().unwrap_or_else(|| UnitStatus::unknown(unit)))
}

/// The status of a container's unit; `None` if no manager runs.
pub fn status(manager: &dyn Manager, name: &Name) -> Result<Option<UnitStatus>> {
    if manager.is_running() { show_one(manager, &name.unit()).map(Some) } else { Ok(None) }
}

/// Whether the unit of a container is active, or is being started or stopped.
pub fn is_active(manager: &dyn Manager, name: &Name) -> Result<bool> {
    Ok(status(manager, name)?.is_some_and(|status| !status.is_down()))
}

/// Whether the unit of a container failed.
pub fn is_failed(manager: &dyn Manager, name: &Name) -> Result<bool> {
    Ok(status(manager, name)?.is_some_and(|status| status.active_state == "failed"))
}

/// Whether the unit of a container was changed since the manager loaded it.
pub fn needs_reload(manager: &dyn Manager, name: &Name) -> Result<bool> {
    Ok(status(manager, name)?.is_some_and(|status| status.needs_reload))
}

/// Queues jobs for units, no matter how often they were started or failed recently.
pub fn reset_and_queue(manager: &dyn Manager, verb: Verb, units: &[String]) -> Result<()> {
    for unit in units {
        // Fails if the unit is not loaded, and then there is nothing to clear.
        let _ = manager.reset_failed(unit);
    }
    manager.queue(verb, units)
}
