//! The files that are derived from the current deployment of a container: where they are, and how they are recognised
//! as ours.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{
    ATTACHED, DROP_IN, GENERATED, Root, STUBS, SYSTEM_ATTACHED, SYSTEM_PRESETS, SYSTEM_TMPFILES, TMPFILES,
    TreePath, UNITDIR,
};
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

/// The files of a container that came with the operating system, outside of its deployment.
pub struct OfSystem {
    /// Path of the registration.
    pub registration: TreePath,
    /// Path of the stub unit.
    pub stub: TreePath,
    /// Path of the rendered tmpfiles.d(5) file.
    pub tmpfiles: TreePath,
    /// Path of the file that says whether systemd enables the unit in a first boot.
    pub preset: TreePath,
}

/// Paths of the files of a container that came with the operating system.
pub fn of_system(name: &Name) -> OfSystem {
    OfSystem {
        registration: TreePath::from(SYSTEM_ATTACHED).join(format!("{name}.json")),
        stub: TreePath::from(UNITDIR).join(name.unit()),
        tmpfiles: TreePath::from(SYSTEM_TMPFILES).join(format!("{name}.conf")),
        // Before those of distributions, which end with one that disables everything else.
        preset: TreePath::from(SYSTEM_PRESETS).join(format!("80-syscontainer-{name}.preset")),
    }
}

/// Path of the stub unit that systemd loads, as far as one is ours: that of an installation here, or else that of the
/// operating system.
pub fn found_stub(root: &Root, name: &Name) -> Option<TreePath> {
    if root.join(&stub(name)).exists() {
        return Some(stub(name));
    }
    let of_system = of_system(name).stub;
    is_stub(&root.join(&of_system), name).unwrap_or(false).then_some(of_system)
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

/// Whether an installation here left a unit or a registration, whichever deployment they are derived from.
pub fn is_there(root: &Root, name: &Name) -> bool {
    root.join(&registration(name)).exists() || root.join(&stub(name)).exists()
}

/// Whether the container has a unit.
pub fn has_service(root: &Root, name: &Name) -> bool {
    found_stub(root, name).is_some()
}

/// Whether the unit of the container needs `systemd-tmpfiles --create`.
pub fn creates_tmpfiles(root: &Root, name: &Name) -> bool {
    let has_tmpfiles = root.join(&tmpfiles(name)).exists()
        || is_tmpfiles(&root.join(&of_system(name).tmpfiles), name).unwrap_or(false);
    has_tmpfiles && has_service(root, name)
}
