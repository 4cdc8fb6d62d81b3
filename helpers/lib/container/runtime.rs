//! OCI runtimes: crun and runc, and how they differ.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{self, Root};
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::system::command;
use crate::system::files;

/// Which command line a runtime speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// crun, which can leave cgroups alone.
    Crun,
    /// runc, which always makes one below the unit's.
    Runc,
}

/// An installed OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The program.
    pub path: PathBuf,
    /// Which of the two it is.
    pub kind: Kind,
}

/// Where runtimes are looked for, and in which order of preference.
const DIRECTORIES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec"];
const PROGRAMS: [&str; 2] = ["crun", "runc"];

impl Runtime {
    /// The runtime at `path` inside a tree, or the preferred one that is installed there.
    pub fn find(root: &Root, path: Option<&Path>) -> Result<Runtime> {
        match path {
            Some(path) => Runtime::at(root, path),
            None => {
                let candidates =
                    PROGRAMS.iter().flat_map(|p| DIRECTORIES.iter().map(move |d| Path::new(d).join(p)));
                let found = candidates.into_iter().find(|path| root.join(path).is_file());
                let missing =
                    "cannot find an OCI runtime: install crun or runc, or name one with --runtime=PATH";
                Runtime::at(root, &found.ok_or_else(|| Error::new(missing))?)
            }
        }
    }

    fn at(root: &Root, path: &Path) -> Result<Runtime> {
        let what = || format!("cannot use runtime {}", path.display());
        if !path.is_absolute() {
            return Err(Error::usage("the path is not absolute")).context(what);
        }
        if !root.join(path).is_file() {
            return Err(Error::new(
                "there is no such program; install it, or name another with --runtime=PATH",
            ))
            .context(what);
        }
        Ok(Runtime { path: path.to_owned(), kind: kind(root, path).context(what)? })
    }

    /// Creates the container of a bundle. The payload inherits this process's standard output and error.
    pub fn create(&self, name: &Name, bundle: &Bundle) -> Command {
        let mut command = self.command();
        command.arg("create").arg("--bundle").arg(bundle.directory());
        command.arg("--pid-file").arg(bundle.pid_file()).arg(name.as_str());
        // Else runtimes make sockets of their own, and wait.
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Runs the payload of a container that was created.
    pub fn start(&self, name: &Name) -> Command {
        let mut command = self.command();
        command.args(["start", name.as_str()]).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Removes a container in whatever state; one that is not there is fine.
    pub fn delete(&self, name: &Name) -> Result<()> {
        if !self.state(name).exists() {
            return Ok(());
        }
        if let Err(e) = command::run(self.command().args(["delete", "--force", name.as_str()])) {
            // A runtime that was killed half-way can leave a state that it cannot read itself.
            log::warning(&format!("{e}, removing {} instead", self.state(name).display()));
        }
        files::remove_tree(&self.state(name))
    }

    /// Where the runtime keeps what it knows of a container.
    fn state(&self, name: &Name) -> PathBuf {
        let directory = match self.kind {
            Kind::Crun => "/run/crun",
            Kind::Runc => "/run/runc",
        };
        Path::new(directory).join(name.as_str())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("PATH", paths::search_path());
        if self.kind == Kind::Crun {
            // The payload is to stay in the unit's cgroup.
            command.arg("--cgroup-manager=disabled");
        }
        command
    }
}

/// What a program is: by its name, or else by what it says of itself, where it can be run.
fn kind(root: &Root, path: &Path) -> Result<Kind> {
    match path.file_name().and_then(OsStr::to_str) {
        Some("crun") => return Ok(Kind::Crun),
        Some("runc") => return Ok(Kind::Runc),
        _ if !root.is_host() => {}
        _ => {
            let version = command::output(Command::new(path).arg("--version"))?;
            if version.starts_with(b"crun") {
                return Ok(Kind::Crun);
            }
            if version.starts_with(b"runc") {
                return Ok(Kind::Runc);
            }
        }
    }
    Err(Error::new("it is neither crun nor runc"))
}
