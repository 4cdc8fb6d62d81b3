//! Every directory and program path, and the root they are below.
//!
//! The build may move them: `meson.build` passes `SYSCONTAINERS_LIBEXECDIR` and `SYSCONTAINERS_UNITDIR`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::name::Name;

/// Where prepare, start and stop are installed.
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

    /// `path`, an absolute path as programs inside the tree see it, as this process sees it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path below the tree as programs inside it see it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.0).unwrap_or(path))
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

/// Where deployments are, as programs inside the tree see it.
pub fn deployments() -> PathBuf {
    from_env("ATOMIC_OSTREE_CHECKOUT_PATH").unwrap_or_else(|| PathBuf::from(DEPLOYMENTS))
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
pub fn bundle(name: &Name) -> PathBuf {
    Path::new(RUN).join(name.as_str())
}

/// `PATH` of the programs that helpers run, without trust in the caller's.
pub fn search_path() -> OsString {
    OsString::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
