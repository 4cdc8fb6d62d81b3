//! The files that are derived from the current deployment of a container: where they are, and how they are recognised
//! as ours.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{ATTACHED, DROP_IN, GENERATED, Root, STUBS, TMPFILES, TreePath};
use crate::system::files;

/// The setting that marks units as ours; its value is the container's name. systemd ignores what begins with `X-`.
pub const MARKER: &str = "X-Syscontainer";

/// Maximum size in bytes of a file that is looked at to find out whose it is.
const MAX_SIZE: usize = 4 << 20;

/// Path of the registration that an installation on this host writes.
pub fn registration(name: &Name) -> TreePath {
    TreePath::from(ATTACHED).join(format!("{name}.json"))
}

/// Path of the stub unit.
pub fn stub(name: &Name) -> TreePath {
    TreePath::from(STUBS).join(name.unit())
}

/// Path of the rendered tmpfiles.d(5) file.
pub fn tmpfiles(name: &Name) -> TreePath {
    TreePath::from(TMPFILES).join(format!("{name}.conf"))
}

/// Path of the unit's body, relative to the directory that a generator writes to.
pub fn body(name: &Name) -> PathBuf {
    PathBuf::from(format!("{}.d", name.unit())).join(DROP_IN)
}

/// Path of the unit's body where systemd has the generator write it.
pub fn generated_body(name: &Name) -> TreePath {
    TreePath::from(GENERATED).join(body(name))
}

/// Name of the rendered tmpfiles.d(5) file in a deployment.
pub fn tmpfiles_in_deployment(name: &Name) -> String {
    format!("tmpfiles-{name}.conf")
}

/// First line of our tmpfiles.d(5) files, by which they are recognised.
pub fn tmpfiles_header(name: &Name) -> String {
    format!("# Of the system container {name}: do not edit, put changes into a file of another name.\n")
}

/// Whether a unit file is the stub of `name`.
pub fn is_stub(path: &Path, name: &Name) -> Result<bool> {
    has_line(path, &format!("{MARKER}={name}"))
}

/// Whether a file is the tmpfiles.d(5) file of `name`.
pub fn is_tmpfiles(path: &Path, name: &Name) -> Result<bool> {
    has_line(path, &tmpfiles_header(name))
}

/// Whether a file has this line.
pub fn has_line(path: &Path, mark: &str) -> Result<bool> {
    let text = files::read_bounded(path, MAX_SIZE).context(|| format!("cannot read {}", path.display()))?;
    let text = text.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).lines().any(|line| line.trim() == mark.trim()))
}

/// Whether the container has a unit or a registration, whichever deployment they are derived from.
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
