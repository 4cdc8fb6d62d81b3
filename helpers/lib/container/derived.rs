//! The files that are derived from the current deployment of a container: where they are, and how ours are told from others.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{ATTACHED, DROP_IN, GENERATED, Root, STUBS, TMPFILES, TreePath};

/// The setting that marks units as ours, with the container's name; systemd ignores what begins with `X-`.
pub const MARKER: &str = "X-Syscontainer";

/// The registration that an installation on this host writes.
pub fn registration(name: &Name) -> TreePath {
    TreePath::from(ATTACHED).join(format!("{name}.json"))
}

/// The stub unit.
pub fn stub(name: &Name) -> TreePath {
    TreePath::from(STUBS).join(name.unit())
}

/// The rendered tmpfiles.d(5).
pub fn tmpfiles(name: &Name) -> TreePath {
    TreePath::from(TMPFILES).join(format!("{name}.conf"))
}

/// The body of the unit, below a generator's directory.
pub fn body(name: &Name) -> PathBuf {
    PathBuf::from(format!("{}.d", name.unit())).join(DROP_IN)
}

/// The body of the unit, where systemd has it generated.
pub fn generated_body(name: &Name) -> TreePath {
    TreePath::from(GENERATED).join(body(name))
}

/// The rendered tmpfiles.d(5) in a deployment.
pub fn tmpfiles_in_deployment(name: &Name) -> String {
    format!("tmpfiles-{name}.conf")
}

/// First line of our tmpfiles, by which they are known to be ours.
pub fn tmpfiles_header(name: &Name) -> String {
    format!("# Of the system container {name}: do not edit, put changes into a file of another name.\n")
}

/// Whether a unit file is the stub of `name`.
pub fn is_stub(path: &Path, name: &Name) -> Result<bool> {
    has_line(path, &format!("{MARKER}={name}"))
}

/// Whether a file is the tmpfiles.d(5) of `name`.
pub fn is_tmpfiles(path: &Path, name: &Name) -> Result<bool> {
    has_line(path, &tmpfiles_header(name))
}

fn has_line(path: &Path, mark: &str) -> Result<bool> {
    match fs::read(path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).lines().any(|line| line.trim() == mark.trim())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context(|| format!("cannot read {}", path.display())),
    }
}

/// Whether the container has a unit or a registration, of whatever deployment.
pub fn is_there(root: &Root, name: &Name) -> bool {
    root.join(&registration(name)).exists() || root.join(&stub(name)).exists()
}

/// Whether the container has a unit.
pub fn has_service(root: &Root, name: &Name) -> bool {
    root.join(&stub(name)).exists()
}

/// Whether the unit of the container needs `systemd-tmpfiles --create`.
pub fn creates_tmpfiles(root: &Root, name: &Name) -> bool {
    root.join(&tmpfiles(name)).exists() && has_service(root, name)
}
