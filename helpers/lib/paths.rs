//! All paths of directories and programs, and the root that they are below.
//!
//! The build can change some: `meson.build` passes `SYSCONTAINERS_LIBEXECDIR` and `SYSCONTAINERS_UNITDIR`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Directory of the programs that only units run.
pub const LIBEXECDIR: &str = match option_env!("SYSCONTAINERS_LIBEXECDIR") {
    Some(dir) => dir,
    None => "/usr/libexec/syscontainers",
};
/// Directory of units that packages install.
pub const UNITDIR: &str = match option_env!("SYSCONTAINERS_UNITDIR") {
    Some(dir) => dir,
    None => "/usr/lib/systemd/system",
};
/// Default directory of deployments, see [`deployments`].
pub const DEPLOYMENTS: &str = "/var/lib/containers/atomic";
/// The environment variable that names another one.
pub const DEPLOYMENTS_VARIABLE: &str = "ATOMIC_OSTREE_CHECKOUT_PATH";
/// Name of the image store's directory, which is in that of deployments.
pub const STORAGE: &str = ".storage";
/// Directory of deployments that came with the operating system.
pub const PREINSTALLED: &str = "/usr/lib/containers/atomic";
/// Directory for everything that lasts until the next boot, such as bundles and locks.
pub const RUN: &str = "/run/syscontainers";
/// Directory of locks. Not a valid name of a container.
pub const LOCKS: &str = "/run/syscontainers/.locks";
/// File in a bundle with the main process of the unit: the payload, or the process that takes its place.
pub const MAIN_PROCESS: &str = "main.pid";
/// Directory of the notification sockets that are reached by their paths on the host, each in a directory that only who uses it
/// knows. Any user may enter these.
pub const NOTIFY: &str = "/run/syscontainers/.notify";
/// Directories of registrations; for each container, the first one that has it takes precedence.
pub const REGISTRATIONS: [&str; 3] =
    ["/run/syscontainers/attached", "/etc/syscontainers/attached", "/usr/lib/syscontainers/attached"];
/// Directories of declarations; for each container, the first one that has it takes precedence.
pub const DECLARATIONS: [&str; 3] = ["/etc/syscontainers", "/run/syscontainers", "/usr/lib/syscontainers"];
/// Directory of notes on registrations whose deployments are gone.
pub const STALE: &str = "/run/syscontainers/stale";
/// Where the kernel's file systems are in a container: programs believe what they read there, and runtimes use the devices
/// that they find there.
pub const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Directory of the volumes of all containers.
pub const VOLUMES: &str = "/var/lib/syscontainers";
/// Record of the directories of the host that payloads have got. Not a valid name of a container.
pub const GOT: &str = "/var/lib/syscontainers/.got";
/// Directory of the registrations that installations on this host write.
pub const ATTACHED: &str = "/etc/syscontainers/attached";
/// Directory of the stub units of installed containers.
pub const STUBS: &str = "/etc/systemd/system.attached";
/// Directory of the registrations of containers that came with the operating system. Their stub units are in [`UNITDIR`].
pub const SYSTEM_ATTACHED: &str = REGISTRATIONS[2];
/// Directory of the rendered tmpfiles.d(5) files of containers that came with the operating system.
pub const SYSTEM_TMPFILES: &str = TMPFILES_PATH[2];
/// Directory of systemd's presets that came with the operating system.
pub const SYSTEM_PRESETS: &str = "/usr/lib/systemd/system-preset";
/// Directory of the rendered tmpfiles.d(5) files of installed containers.
pub const TMPFILES: &str = "/etc/tmpfiles.d";
/// Directory that systemd has generators write units to, as `systemctl cat` shows it.
pub const GENERATED: &str = "/run/systemd/generator";
/// File name of the drop-in with the body of a unit. Drop-ins of administrators, and of `systemctl set-property`, sort
/// after it.
pub const DROP_IN: &str = "00-syscontainer.conf";
/// File name of the drop-in that says why the storage of a container is not there, and of that of reconciliation, which says what
/// storage it waits for.
pub const STORAGE_DROP_IN: &str = "04-syscontainer-storage.conf";
/// File name of the drop-in with what a declaration says of a unit, which comes after [`DROP_IN`] and before an administrator's.
pub const DECLARED_DROP_IN: &str = "05-syscontainer-declaration.conf";
/// Directories that systemd loads units from, highest precedence first, without those of generators.
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
/// Directories that systemd-tmpfiles reads its configuration from, highest precedence first.
pub const TMPFILES_PATH: [&str; 3] = ["/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/lib/tmpfiles.d"];
/// Path of systemctl(1).
pub const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// Path of journalctl(1).
pub const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Path of systemd-tmpfiles(8).
pub const SYSTEMD_TMPFILES: &str = "/usr/bin/systemd-tmpfiles";

/// An absolute path as programs inside a tree see it, which is not a path of this process unless that tree is `/`.
///
/// Registrations, units and records contain such paths. Only [`Root::join`] turns one into a path of this process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreePath(PathBuf);

impl TreePath {
    /// Normalises `path`: double and trailing slashes are removed, and a relative path is taken as relative to the
    /// tree's `/`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        TreePath(Path::new("/").join(path).components().collect())
    }

    /// Appends a relative path.
    pub fn join(&self, below: impl AsRef<Path>) -> Self {
        TreePath(self.0.join(below))
    }

    /// The path as it is written to files of the tree.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that the path is in; `None` for `/`.
    pub fn parent(&self) -> Option<TreePath> {
        self.0.parent().map(|parent| TreePath(parent.to_path_buf()))
    }

    /// Whether the path is `above`, or below it.
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

/// A path inside a tree: a [`TreePath`], or one of the constants here.
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

/// Directory of deployments: the one that the environment names, or else [`DEPLOYMENTS`].
pub fn deployments() -> TreePath {
    from_env(DEPLOYMENTS_VARIABLE).map_or(TreePath::from(DEPLOYMENTS), TreePath::new)
}

/// Whether the directory of deployments is the default one, which nothing else uses.
pub fn has_default_deployments() -> bool {
    deployments() == TreePath::from(DEPLOYMENTS)
}

/// A path from an environment variable; empty and relative ones count as unset.
pub fn from_env(key: &str) -> Option<PathBuf> {
    std::env::var_os(key).map(PathBuf::from).filter(|p| p.is_absolute())
}

/// Path of a helper program, for units.
pub fn helper(program: &str) -> String {
    format!("{LIBEXECDIR}/{program}")
}

/// The runtime bundle of one container: `/run/syscontainers/NAME`.
pub fn bundle(name: &Name) -> TreePath {
    TreePath::from(RUN).join(name.as_str())
}

/// Path of a program of this host, in the first directory of [`search_path`] that has it.
pub fn find_program(name: &str) -> PathBuf {
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
    let directories = search_path();
    let mut candidates = std::env::split_paths(&directories).map(|directory| directory.join(name));
    candidates.find(is_program).unwrap_or_else(|| Path::new("/usr/bin").join(name))
}

/// `PATH` for the programs that helpers run, since the caller's is not trusted.
pub fn search_path() -> OsString {
    OsString::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// The components of an absolute path without `..`; `None` if it is another path.
pub fn components(path: &Path) -> Option<Vec<&OsStr>> {
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return None;
    }
    parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect()
}

/// A path in a container as an image has it, the way podman cleans it: a relative one is below `/`, and `..` leads back,
/// but not above that. Links have no part in it, since what an image has is not looked at.
pub fn cleaned(path: &str) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => drop(cleaned.pop()),
            _ => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_containers_are_below_their_root() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("rel/dir", "/rel/dir"),
            ("/a//./b/", "/a/b"),
            ("/data/../srv", "/srv"),
            ("../../x", "/x"),
            ("/a/../..", "/"),
        ] {
            assert_eq!(cleaned(path), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn splits_paths() {
        assert_eq!(components(Path::new("/a//./b/")), Some(vec!["a".as_ref(), "b".as_ref()]));
        assert_eq!(components(Path::new("/")), Some(vec![]));
        assert_eq!(components(Path::new("/a/../b")), None);
        assert_eq!(components(Path::new("a")), None);
    }

    #[test]
    fn no_container_has_the_bundle_of_another_directory() {
        let others = REGISTRATIONS.iter().chain([&STALE]).filter_map(|path| path.strip_prefix(RUN));
        let names: Vec<&str> = others.filter_map(|below| below.strip_prefix('/')).collect();
        assert_eq!(names, ["attached", "stale"]);
        for name in names {
            let error = name.parse::<Name>().unwrap_err().to_string();
            assert!(error.contains("the name is reserved") && error.contains("--name=NAME"), "{error}");
        }
    }
}
