//! Calls of OCI runtimes, and how crun and runc differ in them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::container::runtime::{Runtime, RuntimeKind};
use crate::error::Result;
use crate::name::Name;
use crate::paths::{self, Root};
use crate::program::log;
use crate::system::{command, files};

/// Creates the container of a bundle. The payload has its standard output and error.
pub fn create(runtime: &Runtime, name: &Name, bundle: &Path, pid_file: &Path) -> Command {
    let mut command = begin(runtime);
    command.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(pid_file).arg(name.runtime_id());
    // Otherwise runtimes create sockets of their own, and wait.
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// Starts the payload of a created container.
pub fn start(runtime: &Runtime, name: &Name) -> Command {
    let mut command = begin(runtime);
    command.args(["start", &name.runtime_id()]).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// Removes a container whatever its state, if it exists.
pub fn delete(runtime: &Runtime, name: &Name) -> Result<()> {
    let state = state(runtime.kind, name);
    if !state.exists() {
        return Ok(());
    }
    if let Err(e) = command::run(begin(runtime).args(["delete", "--force", &name.runtime_id()])) {
        // A runtime that was killed can leave a state that it cannot read itself.
        log::warning(&format!("{e}, removing {} instead", state.display()));
    }
    files::remove_tree(&state)
}

/// Where the runtime keeps the state of a container.
fn state(kind: RuntimeKind, name: &Name) -> PathBuf {
    let directory = match kind {
        RuntimeKind::Crun => "/run/crun",
        RuntimeKind::Runc => "/run/runc",
    };
    Path::new(directory).join(name.runtime_id())
}

fn begin(runtime: &Runtime) -> Command {
    let mut command = Command::new(Root::default().join(&runtime.path));
    command.env("PATH", paths::search_path());
    if runtime.kind == RuntimeKind::Crun {
        // The payload stays in the unit's cgroup.
        command.arg("--cgroup-manager=disabled");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn runtimes_call_instances_otherwise() {
        let (name, path) = ("web@a".parse().unwrap(), crate::paths::TreePath::from("/usr/bin/runc"));
        let runtime = Runtime { path, kind: RuntimeKind::Runc };
        let created = create(&runtime, &name, Path::new("/b"), Path::new("/p"));
        for command in [created, start(&runtime, &name)] {
            assert_eq!(command.get_args().last(), Some(OsStr::new("web+a")));
        }
        assert_eq!(state(RuntimeKind::Runc, &name), Path::new("/run/runc/web+a"));
    }
}
