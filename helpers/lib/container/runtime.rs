//! OCI runtimes: which one is installed, and whether it is crun or runc.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::paths::{Root, TreePath};
use crate::system::command;

/// Whose command line a runtime has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// crun, which can leave cgroups alone.
    Crun,
    /// runc, which always makes a cgroup below the unit's.
    Runc,
}

/// An installed OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Path of the program.
    pub path: TreePath,
    /// Whether it is crun or runc.
    pub kind: RuntimeKind,
}

/// Directories that are searched for runtimes.
const DIRECTORIES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec"];
/// Names of runtimes, in order of preference.
const PROGRAMS: [&str; 2] = ["crun", "runc"];

impl Runtime {
    /// The runtime at `path` inside a tree, or the preferred one that is installed there.
    pub fn find(root: &Root, path: Option<&Path>) -> Result<Runtime> {
        if let Some(path) = path {
            return Runtime::at(root, path);
        }
        let candidates = PROGRAMS.iter().flat_map(|p| DIRECTORIES.iter().map(move |d| Path::new(d).join(p)));
        let found = candidates.into_iter().find(|path| Runtime::is_there(root, path));
        let missing = "cannot find an OCI runtime: install crun or runc, or name one with --runtime=PATH";
        Runtime::at(root, &found.ok_or_else(|| Error::new(missing))?)
    }

    /// Whether a file is at `path` inside a tree.
    pub fn is_there(root: &Root, path: &Path) -> bool {
        root.join(&TreePath::new(path)).is_file()
    }

    fn at(root: &Root, path: &Path) -> Result<Runtime> {
        let what = || format!("cannot use runtime {}", path.display());
        if !path.is_absolute() {
            return Err(Error::usage("the path is not absolute")).context(what);
        }
        if !Runtime::is_there(root, path) {
            let why = "there is no such program; install it, or name another with --runtime=PATH";
            return Err(Error::new(why)).context(what);
        }
        Ok(Runtime { path: TreePath::new(path), kind: kind(root, path).context(what)? })
    }
}

/// Tells crun from runc by the program's name, or else by the output of `--version`, if the program can be run.
fn kind(root: &Root, path: &Path) -> Result<RuntimeKind> {
    match path.file_name().and_then(OsStr::to_str) {
        Some("crun") => return Ok(RuntimeKind::Crun),
        Some("runc") => return Ok(RuntimeKind::Runc),
        _ if !root.is_host() => {}
        _ => {
            let version = command::output(Command::new(path).arg("--version"))?;
            if version.starts_with(b"crun") {
                return Ok(RuntimeKind::Crun);
            }
            if version.starts_with(b"runc") {
                return Ok(RuntimeKind::Runc);
            }
        }
    }
    Err(Error::new("it is neither crun nor runc"))
}
