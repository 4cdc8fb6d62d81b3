//! The unit's cgroup, for runtimes that insist on one of their own, and for payloads that make cgroups themselves.
//!
//! runc makes the payload's cgroup below the unit's. With controllers, that only works if there is no process in the
//! unit's own cgroup, see "no internal processes" in cgroups(7). Otherwise the payload's cgroup becomes threaded, and
//! limits and all later stops fail. So syscontainer-start moves to UNIT/start before the runtime creates UNIT/payload.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

const MOUNT: &str = "/sys/fs/cgroup";
const START: &str = "start";
const PAYLOAD: &str = "payload";
const ROOT: &str = "root";
/// How many cgroups may be below UNIT/payload, if the payload makes some, and in how many others each may be: as many as there may be tasks by default, and more than user sessions with containers in them need.
const LIMITS: [(&str, &str); 2] = [("cgroup.max.descendants", "2048"), ("cgroup.max.depth", "32")];

/// Moves this process to UNIT/start; returns UNIT/payload as `linux.cgroupsPath` has it.
pub fn make_room() -> Result<PathBuf> {
    let unit = own()?;
    let start = directory(&unit).join(START);
    let what = || format!("cannot move to cgroup {}", start.display());
    match fs::create_dir(&start) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e).context(what),
        _ => {}
    }
    enter(&start)?;
    Ok(unit.join(PAYLOAD))
}

/// Makes UNIT/payload/root below what [`make_room`] returned, for a payload that makes cgroups; returns it in the same
/// way. The payload cannot leave it, so all that it does is within the limits of the unit. How many cgroups it makes is
/// limited above it, and not in that of the unit, where systemd makes some, too.
pub fn delegate(payload: &Path) -> Result<PathBuf> {
    delegate_in(&directory(payload))?;
    Ok(payload.join(ROOT))
}

fn delegate_in(payload: &Path) -> Result<()> {
    let what = || format!("cannot make the cgroup {}", payload.display());
    // After a payload that failed, the unit's cgroup is used again: nothing must be in it that it set.
    remove(payload).context(what)?;
    fs::create_dir(payload).context(what)?;
    for (file, limit) in LIMITS {
        let path = payload.join(file);
        fs::write(&path, limit).context(|| format!("cannot write to {}", path.display()))?;
    }
    for cgroup in payload.parent().into_iter().chain([payload]) {
        enable_controllers(cgroup)?;
    }
    fs::create_dir(payload.join(ROOT)).context(what)
}

/// Has the cgroups in one have all controllers that it has.
fn enable_controllers(cgroup: &Path) -> Result<()> {
    let path = cgroup.join("cgroup.controllers");
    let controllers = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    for controller in controllers.split_whitespace() {
        // systemd does without what it does not find.
        let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

/// Removes a cgroup and all that are in it, if it exists.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // Files go with their cgroup.
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

/// Runs something in UNIT/payload/root, so that the processes that it starts are there; this one returns to UNIT/start.
pub fn in_payload<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let unit = directory(&own()?);
    enter(&unit.join(PAYLOAD).join(ROOT))?;
    let result = act();
    enter(&unit.join(START))?;
    result
}

fn enter(cgroup: &Path) -> Result<()> {
    let what = || format!("cannot move to cgroup {}", cgroup.display());
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).context(what)
}

/// Directory of the unit's cgroup above what [`make_room`] returned.
pub fn above(payload: &Path) -> PathBuf {
    directory(payload.parent().unwrap_or(payload))
}

/// The cgroup of a process that is in UNIT/payload/root.
pub fn of_payload(pid: i32) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).context(|| format!("cannot read {path}"))?;
    let cgroup =
        unified(&text).map(Path::new).filter(|cgroup| cgroup.ends_with(Path::new(PAYLOAD).join(ROOT)));
    let why = || Error::new(format!("the runtime did not create process {pid} in a cgroup of its own"));
    cgroup.map(Path::to_path_buf).ok_or_else(why)
}

/// Whether this process is in the cgroup of a unit.
pub fn is_in(unit: &str) -> bool {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines().any(|line| is_of(line, unit))
}

fn is_of(line: &str, unit: &str) -> bool {
    line.splitn(3, ':').nth(2).is_some_and(|path| path.split('/').any(|name| name == unit))
}

fn directory(cgroup: &Path) -> PathBuf {
    Path::new(MOUNT).join(cgroup.strip_prefix("/").unwrap_or(cgroup))
}

/// The cgroup of the unit that this process is in.
fn own() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").context(|| "cannot read /proc/self/cgroup".into())?;
    let path = if is_unified() { unified(&text) } else { None };
    let path = path.ok_or_else(|| {
        Error::new("cannot find this unit's cgroup: cgroup version 2 is required, see systemd.unified_cgroup_hierarchy in kernel-command-line(7)")
    })?;
    Ok(without_start(Path::new(path)).to_path_buf())
}

/// The cgroup of a unit that a process in it may have moved from with [`make_room`].
pub fn without_start(path: &Path) -> &Path {
    path.parent().filter(|_| path.ends_with(START)).unwrap_or(path)
}

/// The cgroup by which systemd tells which unit a process belongs to, in a /proc/PID/cgroup: that of the hierarchy of
/// version 2, or, where that is not mounted in the usual place, of systemd's own.
pub fn of_service(text: &str, is_unified: bool) -> Option<&Path> {
    let named = || text.lines().find_map(|line| line.split_once(":name=systemd:")).map(|(_, path)| path);
    if is_unified { unified(text) } else { named() }.map(Path::new)
}

/// Whether the hierarchy of version 2 is the only one that is used. Hosts with a hybrid one have it elsewhere, and without
/// controllers.
pub fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The path in the version 2 hierarchy, cgroups(7).
fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whose_cgroup_it_is() {
        assert!(
            is_of("0::/system.slice/x.service", "x.service")
                && is_of("1:name=systemd:/x.service/a", "x.service")
        );
        for line in ["0::/system.slice/x.service.d", "0::/ax.service", "0:x.service:/y", "x.service", ""] {
            assert!(!is_of(line, "x.service"), "{line}");
        }
        assert!(!is_in("none.service"));
    }

    #[test]
    fn a_payload_gets_what_no_other_has_used() {
        let dir = tempfile::tempdir().unwrap();
        let payload = dir.path().join("payload");
        fs::create_dir_all(payload.join("root/system.slice/x.service")).unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "memory pids\n").unwrap();
        // This is no cgroup, which would have such a file.
        let error = delegate_in(&payload).unwrap_err().to_string();
        assert!(error.contains("payload/cgroup.controllers"), "{error}");
        assert!(!payload.join("root").exists());
        for (file, limit) in LIMITS {
            assert_eq!(fs::read_to_string(payload.join(file)).unwrap(), limit);
        }
        assert_eq!(fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap(), "+pids");
    }

    #[test]
    fn finds_the_version_2_line() {
        assert_eq!(unified("0::/system.slice/x.service\n"), Some("/system.slice/x.service"));
        assert_eq!(unified("4:memory:/x\n0::/y\n"), Some("/y"));
        assert_eq!(unified("4:memory:/x\n"), None);
        let both = "1:name=systemd:/a\n0::/b\n";
        assert_eq!(of_service(both, true), Some(Path::new("/b")));
        assert_eq!(of_service(both, false), Some(Path::new("/a")));
        assert_eq!(of_service("0::/b\n", false), None);
        assert_eq!(without_start(Path::new("/a/x.service/start")), Path::new("/a/x.service"));
        assert_eq!(without_start(Path::new("/a/restart")), Path::new("/a/restart"));
    }
}
