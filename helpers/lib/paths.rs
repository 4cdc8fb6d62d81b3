//! Every directory and program path, and the root they are below.
//!
//! The build may move them: `meson.build` passes `SYSCONTAINERS_LIBEXECDIR` and `SYSCONTAINERS_UNITDIR`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Where the programs that only units run are installed.
pub const LIBEXECDIR: &str = match option_env!("SYSCONTAINERS_LIBEXECDIR") {
    Some(dir) => dir,
    None => "/usr/libexec/syscontainers",
};
/// Where packages put units.
pub const UNITDIR: &str = match option_env!("SYSCONTAINERS_UNITDIR") {
    Some(dir) => dir,
    None => "/usr/lib/systemd/system",
};
/// Deployments, unless the environment says otherwise.
pub const DEPLOYMENTS: &str = "/var/lib/containers/atomic";
/// The directory beside deployments that the image store is in.
pub const STORAGE: &str = ".storage";
/// Deployments that came with the system.
pub const PREINSTALLED: &str = "/usr/lib/containers/atomic";
/// Everything that lasts one boot: bundles and locks.
pub const RUN: &str = "/run/syscontainers";
/// Registrations, the first directory that has a name wins.
pub const REGISTRATIONS: [&str; 3] =
    ["/run/syscontainers/attached", "/etc/syscontainers/attached", "/usr/lib/syscontainers/attached"];
/// Notes on registrations whose deployments are gone, one file each.
pub const STALE: &str = "/run/syscontainers/stale";
/// Where an installation on this host registers.
pub const ATTACHED: &str = "/etc/syscontainers/attached";
/// Stub units of installed containers.
pub const STUBS: &str = "/etc/systemd/system.attached";
/// Rendered tmpfiles of installed containers.
pub const TMPFILES: &str = "/etc/tmpfiles.d";
/// Where systemd has generated units, by which name `systemctl cat` shows them.
pub const GENERATED: &str = "/run/systemd/generator";
/// The drop-in with the body of a unit, below its directory: those of administrators, and of `systemctl set-property`, sort after
/// it.
pub const DROP_IN: &str = "00-syscontainer.conf";
/// Where systemd finds units, highest precedence first; the directories of generators are left out.
pub const UNIT_PATH: [&str; 10] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/usr/local/lib/systemd/system",
    UNITDIR,
    "/lib/systemd/system",
];
/// Where systemd-tmpfiles finds its configuration, highest precedence first.
pub const TMPFILES_PATH: [&str; 3] = ["/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/lib/tmpfiles.d"];
/// systemd's own programs.
pub const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// Shows the journal.
pub const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Creates what tmpfiles.d describes.
pub const SYSTEMD_TMPFILES: &str = "/usr/bin/systemd-tmpfiles";

/// An absolute path as programs inside a tree see it, which is not a path of this process unless that tree is `/`.
///
/// Registrations, units and records hold such paths. [`Root::join`] makes one usable here, and there is no other way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreePath(PathBuf);

impl TreePath {
    /// The path `path`, with neither doubled nor trailing slashes; what is relative is taken to be relative to the tree's `/`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        TreePath(Path::new("/").join(path).components().collect())
    }

    /// A path below this one.
    pub fn join(&self, below: impl AsRef<Path>) -> Self {
        TreePath(self.0.join(below))
    }

    /// The path as it is written to files of the tree.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that it is in.
    pub fn parent(&self) -> Option<TreePath> {
        self.0.parent().map(|parent| TreePath(parent.to_path_buf()))
    }

    /// Whether it is `above`, or below that.
    pub fn starts_with(&self, above: &TreePath) -> bool {
        self.0.starts_with(&above.0)
    }
}

impl From<&'static str> for TreePath {
    fn from(path: &'static str) -> Self {
        TreePath::new(path)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// What names a place inside a tree: a [`TreePath`], or one of the constants here.
pub trait InTree {
    /// The path as programs inside the tree see it.
    fn as_inside(&self) -> &Path;
}

impl InTree for &TreePath {
    fn as_inside(&self) -> &Path {
        &self.0
    }
}

impl InTree for &'static str {
    fn as_inside(&self) -> &Path {
        Path::new(*self)
    }
}

/// The tree that is worked on: this host, or an unpacked one (`--root=`).
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Root(PathBuf::from("/"))
    }
}

impl Root {
    /// The tree below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Root(dir.into())
    }

    /// A path of the tree, as this process sees it.
    pub fn join(&self, path: impl InTree) -> PathBuf {
        let path = path.as_inside();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path of this process below the tree, as programs inside the tree see it.
    pub fn inside(&self, path: &Path) -> TreePath {
        TreePath::new(path.strip_prefix(&self.0).unwrap_or(path))
    }

    /// Whether this is the running host, with a service manager to talk to.
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The tree's own path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Where deployments are.
pub fn deployments() -> TreePath {
    from_env("ATOMIC_OSTREE_CHECKOUT_PATH").map_or(TreePath::from(DEPLOYMENTS), TreePath::new)
}

/// A path from the environment; empty and relative ones count as unset.
pub fn from_env(key: &str) -> Option<PathBuf> {
    std::env::var_os(key).map(PathBuf::from).filter(|p| p.is_absolute())
}

/// A helper's path, as units call it.
pub fn helper(program: &str) -> String {
    format!("{LIBEXECDIR}/{program}")
}

/// The runtime bundle of one container: `/run/syscontainers/NAME`.
pub fn bundle(name: &Name) -> TreePath {
    TreePath::from(RUN).join(name.as_str())
}

/// `PATH` of the programs that helpers run, without trust in the caller's.
pub fn search_path() -> OsString {
    OsString::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
