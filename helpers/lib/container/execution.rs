//! How the unit of a container runs its payload: recorded in the deployment, and repeated in the registration, since
//! generators cannot read deployments.

use serde::{Deserialize, Serialize};

use crate::container::output::Output;
use crate::container::readiness::Notify;
use crate::container::runtime::{Runtime, RuntimeKind};
use crate::container::volume::Volume;
use crate::paths::TreePath;

/// A pair of SELinux categories, the lower one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Categories(pub u32, pub u32);

/// How a payload is run; the fields are the JSON keys below `execution`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Execution {
    /// The OCI runtime; absent where the image's unit never uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Who tells systemd that the service is ready.
    pub notify: Notify,
    /// Where the payload's process ID is written (the variable PIDFILE), if the image uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<TreePath>,
    /// Which of EXEC_START, EXEC_STARTPRE, EXEC_STOP and EXEC_STOPPOST the image's unit uses.
    #[serde(default)]
    pub exec_variables: Vec<String>,
    /// The root file system, if it is not the deployment's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<TreePath>,
    /// Whether the payload runs once, and may write to its root file system until it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_once: bool,
    /// Whether the payload is confined with what the host has for containers at each start: the image brings no
    /// configuration that says how.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
    /// Whether the payload has a PID namespace of its own, so that no process of the container is left when it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pid_namespace: bool,
    /// Whether the payload is systemd, which makes cgroups in one of its own below the unit's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub systemd: bool,
    /// The SELinux categories of the container, the lower one first, for hosts that have SELinux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Categories>,
    /// Where what the payload prints goes.
    #[serde(default = "Output::journal", skip_serializing_if = "Output::is_journal")]
    pub output: Output,
    /// How many bytes the payload may write to its root file system, if that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_size: Option<u64>,
    /// Number of the signal that ends the payload, if it is not SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<i32>,
    /// How long the payload may take to end after that, if the user decided it: as systemd.time(7) has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<String>,
    /// Directories that the payload writes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
}

impl Execution {
    /// An execution of a unit that uses no EXEC variable, with nothing set but the notifications.
    pub fn new(notify: Notify) -> Execution {
        Execution {
            runtime: None,
            notify,
            pid_file: None,
            exec_variables: Vec::new(),
            rootfs: None,
            run_once: false,
            confined: false,
            pid_namespace: false,
            systemd: false,
            categories: None,
            output: Output::Journal,
            scratch_size: None,
            stop_signal: None,
            stop_timeout: None,
            volumes: Vec::new(),
        }
    }

    /// Whether the root file system is an overlay whose changes are forgotten when the payload ends: the files of the
    /// image are shared, and only an image that says that its own are read-only makes do without.
    pub fn has_scratch(&self) -> bool {
        self.run_once || self.confined
    }

    /// `KillMode=` of a unit, which is that of a task or not.
    ///
    /// If the payload fails, `mixed` kills at once whatever is left; but in a stop during a start, nobody but
    /// syscontainer-start is asked to end, and it asks the payload. Where there is no such start, and nothing of the
    /// container is left without the payload, only programs of ours are killed there, which end by themselves as soon
    /// as the journal has what the payload printed. So systemd is to wait for them.
    pub fn kill_mode(&self, is_task: bool) -> &'static str {
        let is_up_at_once = self.notify == Notify::Created && !is_task;
        if self.confined && self.pid_namespace && is_up_at_once { "control-group" } else { "mixed" }
    }

    /// Settings of a unit in whose cgroup somebody else makes others.
    pub fn delegation(&self) -> &'static [(&'static str, &'static str)] {
        match &self.runtime {
            // It says itself what an OOM kill in one of its services does.
            _ if self.systemd => &[("Delegate", "yes")],
            // It makes one for the payload; without the policy, an OOM kill there looks like any other signal.
            Some(runtime) if runtime.kind == RuntimeKind::Runc => {
                &[("Delegate", "yes"), ("OOMPolicy", "stop")]
            }
            _ => &[],
        }
    }

    /// Whether the image's unit uses an EXEC variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.exec_variables.iter().any(|used| used == variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_ours_are_waited_for() {
        let alone = |notify| Execution { confined: true, pid_namespace: true, ..Execution::new(notify) };
        assert_eq!(alone(Notify::Created).kill_mode(false), "control-group");
        assert_eq!(alone(Notify::Created).kill_mode(true), "mixed");
        assert_eq!(alone(Notify::Ready).kill_mode(false), "mixed");
        assert_eq!(alone(Notify::Socket).kill_mode(false), "mixed");
        let shares = Execution { pid_namespace: false, ..alone(Notify::Created) };
        assert_eq!(shares.kill_mode(false), "mixed");
        assert_eq!(Execution { confined: false, ..alone(Notify::Created) }.kill_mode(false), "mixed");
    }
}
