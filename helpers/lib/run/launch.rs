//! What a start, and what ends with it, have to know of a container that is prepared: `launch.json` of its bundle.

use serde::{Deserialize, Serialize};

use crate::container::output::Output;
use crate::container::readiness::Notify;
use crate::container::runtime::Runtime;
use crate::name::Deployment;
use crate::paths::TreePath;
use crate::run::additions::Addition;
use crate::run::mount_check::Expected;
use crate::run::scratch::Overlay;
use crate::run::sources::Source;

/// What start and stop need to know; the fields are the JSON keys of `launch.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Launch {
    /// The runtime that runs the bundle.
    pub runtime: Runtime,
    /// The deployment that the bundle runs.
    pub deployment: Deployment,
    /// Who tells systemd that the service is ready.
    pub notify: Notify,
    /// Whether the unit is starting until the payload ends.
    #[serde(default)]
    pub is_task: bool,
    /// Whether the payload is systemd, which makes cgroups in one of its own.
    #[serde(default)]
    pub systemd: bool,
    /// An additional file that the payload's process ID is written to.
    pub pid_file: Option<TreePath>,
    /// Number of the signal that ends the payload, if it is not SIGTERM.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// The root file system, if it is a scratch one.
    #[serde(default)]
    pub overlay: Option<Overlay>,
    /// The root file system, if the runtime has to be shown it as [`crate::run::view`] does.
    #[serde(default)]
    pub shown_rootfs: Option<TreePath>,
    /// The bind sources that lie in others, which the runtime is shown in the same way.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Path of the socket that the payload notifies, if it is passed on.
    #[serde(default)]
    pub notify_socket: Option<TreePath>,
    /// What is to be mounted in the container, if that is known.
    #[serde(default)]
    pub mounts: Option<Expected>,
    /// What has to be made in the root file system.
    #[serde(default)]
    pub additions: Vec<Addition>,
    /// Where what the payload prints goes.
    #[serde(default = "Output::journal")]
    pub output: Output,
}
