//! Talking to the service manager, through systemd's own programs.

pub mod analyze;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use walkdir::WalkDir;

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{self, GENERATED, JOURNALCTL, Root, STUBS, SYSTEMCTL, SYSTEMD_TMPFILES};
use crate::system::command::{output, run};
use crate::system::files;

/// Where `systemctl enable` makes links.
const LINKS: &str = "/etc/systemd/system";

/// Whether this host runs systemd, sd_booted(3); an unpacked tree never does.
pub fn is_running(root: &Root) -> bool {
    root.is_host() && Path::new("/run/systemd/system").is_dir()
}

/// Loads changed units. Nothing happens where no systemd runs.
pub fn reload(root: &Root) -> Result<()> {
    if !is_running(root) {
        return Ok(());
    }
    run(Command::new(SYSTEMCTL).arg("daemon-reload"))
}

/// Whether the system is still coming up.
pub fn is_booting(root: &Root) -> Result<bool> {
    if !is_running(root) {
        return Ok(false);
    }
    Ok(matches!(system_state()?.as_str(), "initializing" | "starting"))
}

/// Has a boot go on with units that were not there when it began, and with what requires them.
pub fn extend_boot() -> Result<()> {
    run(Command::new(SYSTEMCTL).args(["--no-block", "start", "default.target"]))
}

/// Enables a unit as its `[Install]` says, without loading units again. The links last through a power cut.
pub fn enable(root: &Root, name: &Name) -> Result<()> {
    run(systemctl(root).args(["--no-reload", "--quiet", "enable", &name.unit()]))?;
    files::sync_file_system(&root.join(STUBS))
}

/// Enables a unit as its `[Install]` says now, and not as it said before.
pub fn reenable(root: &Root, name: &Name) -> Result<()> {
    run(systemctl(root).args(["--no-reload", "--quiet", "reenable", &name.unit()]))?;
    files::sync_file_system(&root.join(STUBS))
}

/// Whether a unit is enabled.
pub fn is_enabled(root: &Root, name: &Name) -> Result<bool> {
    let what = || format!("cannot run {SYSTEMCTL}");
    let mut command = systemctl(root);
    command.args(["--quiet", "is-enabled", &name.unit()]).env("PATH", paths::search_path());
    Ok(command.stdin(Stdio::null()).stderr(Stdio::null()).status().context(what)?.success())
}

/// Stops the unit of a container, if it runs. One that is somebody else's is left alone: with `is_original`, it is that of an
/// original's installation.
pub fn stop(root: &Root, name: &Name, is_original: bool) -> Result<()> {
    if !is_active(root, name)? || !(is_original || is_ours(&name.unit())?) {
        return Ok(());
    }
    run(Command::new(SYSTEMCTL).args(["--quiet", "stop", &name.unit()]))
}

/// Whether systemd knows a unit.
pub fn is_loaded(root: &Root, name: &Name) -> Result<bool> {
    Ok(is_running(root) && property(&name.unit(), "LoadState")? != "not-found")
}

/// Forgets that a unit failed, so that nothing of it stays loaded.
pub fn reset_failed(root: &Root, name: &Name) -> Result<()> {
    if is_failed(root, name)? {
        run(Command::new(SYSTEMCTL).args(["reset-failed", &name.unit()]))?;
    }
    Ok(())
}

/// Whether a unit failed.
pub fn is_failed(root: &Root, name: &Name) -> Result<bool> {
    Ok(is_running(root) && property(&name.unit(), "ActiveState")? == "failed")
}

/// Whether a unit was started in this boot, or is about to be.
pub fn was_started(unit: &str) -> Result<bool> {
    let started = property(unit, "InactiveExitTimestampMonotonic")?;
    Ok(!matches!(started.as_str(), "" | "0") || !matches!(property(unit, "Job")?.as_str(), "" | "0"))
}

/// Has systemd start or restart units, as [`queue`], however often they were started or failed lately.
pub fn queue_anew<U: AsRef<OsStr>>(verb: &str, units: &[U]) -> Result<()> {
    for unit in units {
        // One that is not loaded has nothing to forget.
        let _ = output(Command::new(SYSTEMCTL).args(["reset-failed", "--"]).arg(unit));
    }
    queue(verb, units)
}

/// Whether a unit is active, or on the way to it.
pub fn is_active(root: &Root, name: &Name) -> Result<bool> {
    Ok(is_running(root) && !matches!(property(&name.unit(), "ActiveState")?.as_str(), "inactive" | "failed"))
}

/// Whether a unit is another by now than systemd has loaded.
pub fn needs_reload(root: &Root, name: &Name) -> Result<bool> {
    Ok(is_running(root) && property(&name.unit(), "NeedDaemonReload")? == "yes")
}

/// Units that are active and would go down, or fail, without this one.
pub fn active_dependents(root: &Root, name: &Name) -> Result<Vec<String>> {
    if !is_running(root) {
        return Ok(Vec::new());
    }
    let units = property(&name.unit(), "RequiredBy")? + " " + &property(&name.unit(), "BoundBy")?;
    let mut active = Vec::new();
    for unit in units.split_whitespace() {
        let is_down = matches!(property(unit, "ActiveState")?.as_str(), "inactive" | "failed");
        if !is_down && !active.iter().any(|other| other == unit) {
            active.push(unit.to_owned());
        }
    }
    Ok(active)
}

/// Properties of units, one map each, in the order of the units.
pub fn show<U: AsRef<OsStr>>(units: &[U], properties: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let mut command = Command::new(SYSTEMCTL);
    command.args(["show", "--property", properties, "--"]).args(units);
    let text = String::from_utf8_lossy(&output(&mut command)?).into_owned();
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    let pairs = |block: &str| {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    Ok(blocks.map(pairs).collect())
}

/// Has systemd do something with units, without waiting until it is done.
pub fn queue<U: AsRef<OsStr>>(verb: &str, units: &[U]) -> Result<()> {
    run(Command::new(SYSTEMCTL).args(["--quiet", "--no-block", verb, "--"]).args(units))
}

/// Whether the system is going down.
pub fn is_stopping() -> Result<bool> {
    Ok(system_state()? == "stopping")
}

fn system_state() -> Result<String> {
    let state = output(Command::new(SYSTEMCTL).args(["show", "--property=SystemState", "--value"]))?;
    Ok(String::from_utf8_lossy(&state).trim().to_owned())
}

/// Whether somebody had a unit stopped since then, by what systemd says in the journal.
pub fn was_stopped(unit: &str, since: SystemTime) -> Result<bool> {
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // Where there is no journal, nothing is known of it.
    let _ = output(Command::new(JOURNALCTL).arg("--sync"));
    let mut command = Command::new(JOURNALCTL);
    command.args(["--quiet", "--no-pager", "--output=cat", "_PID=1", "JOB_TYPE=stop"]);
    command.args([format!("--since=@{since:.6}"), format!("UNIT={unit}")]);
    Ok(output(&mut command).is_ok_and(|said| !said.is_empty()))
}

/// Units that are active and go down with this one: those that need it, and those that need them.
pub fn all_active_dependents(root: &Root, name: &Name) -> Result<Vec<String>> {
    if !is_running(root) {
        return Ok(Vec::new());
    }
    let (mut found, mut queue) = (Vec::new(), vec![name.unit()]);
    while let Some(unit) = queue.pop() {
        let properties = "RequiredBy,RequisiteOf,BoundBy,ConsistsOf,ActiveState";
        for block in show(&[&unit], properties)? {
            let is_up = matches!(block.get("ActiveState").map(String::as_str), Some("active" | "reloading"));
            if unit != name.unit() {
                if !is_up {
                    continue;
                }
                found.push(unit.clone());
            }
            let users = block.iter().filter(|(key, _)| *key != "ActiveState");
            let users = users.flat_map(|(_, units)| units.split_whitespace()).map(str::to_owned);
            for user in users {
                if user != name.unit() && !found.contains(&user) && !queue.contains(&user) {
                    queue.push(user);
                }
            }
        }
    }
    Ok(found)
}

fn property(unit: &str, property: &str) -> Result<String> {
    let value =
        output(Command::new(SYSTEMCTL).args(["show", "--value", "--property", property, "--", unit]))?;
    Ok(String::from_utf8_lossy(&value).trim().to_owned())
}

/// Removes the links that `enable` made, without loading units again.
pub fn disable(root: &Root, name: &Name) -> Result<()> {
    run(systemctl(root).args(["--no-reload", "--quiet", "disable", &name.unit()]))
}

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    active: String,
    sub: String,
    load: String,
    /// When it came into this state, as systemd writes it.
    pub since: Option<String>,
}

impl std::fmt::Display for UnitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.load.as_str() {
            "loaded" => write!(f, "{} ({})", self.active, self.sub),
            load => write!(f, "{load}"),
        }
    }
}

/// The states of all units at once, by their names; none where no systemd runs.
pub fn states(root: &Root, names: &BTreeSet<Name>) -> Result<BTreeMap<String, UnitState>> {
    if !is_running(root) || names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<String> = names.iter().map(Name::unit).collect();
    let mut states = BTreeMap::new();
    for unit in show(&names, "Id,LoadState,ActiveState,SubState,StateChangeTimestamp")? {
        let value = |key: &str| unit.get(key).cloned().unwrap_or_default();
        let state = UnitState {
            active: value("ActiveState"),
            sub: value("SubState"),
            load: value("LoadState"),
            since: Some(value("StateChangeTimestamp")).filter(|since| !since.is_empty()),
        };
        states.insert(value("Id"), state);
    }
    Ok(states)
}

/// Whether the unit that systemd has loaded is one of ours, or what is left of one.
fn is_ours(unit: &str) -> Result<bool> {
    let body = Path::new(GENERATED).join(format!("{unit}.d/00-syscontainer.conf"));
    let has_body = property(unit, "DropInPaths")?.split_whitespace().any(|path| Path::new(path) == body);
    Ok(has_body || Path::new(&property(unit, "FragmentPath")?).starts_with(STUBS))
}

/// What an administrator has set for a unit, as programs inside the tree see it.
pub fn settings(root: &Root, name: &Name) -> Vec<PathBuf> {
    let places = ["/etc/systemd/system.control", LINKS, "/run/systemd/system.control", "/run/systemd/system"];
    let names = [name.unit(), format!("{}.d", name.unit())];
    let paths = places.iter().flat_map(|place| names.iter().map(|name| Path::new(place).join(name)));
    paths.filter(|path| root.join(path).symlink_metadata().is_ok()).collect()
}

/// Turns off automatic updates of a container; tells whether they were on.
pub fn disable_updates(root: &Root, name: &Name) -> Result<bool> {
    let units = [format!("syscontainer-update@{name}.timer"), format!("syscontainer-update@{name}.service")];
    let links = WalkDir::new(root.join(LINKS)).min_depth(2).max_depth(2).into_iter().flatten();
    let is_theirs = |link: walkdir::DirEntry| units.iter().any(|unit| link.file_name() == unit.as_str());
    if !links.into_iter().any(is_theirs) {
        return Ok(false);
    }
    if is_running(root) {
        queue("stop", &units[..1])?;
    }
    run(systemctl(root).args(["--no-reload", "--quiet", "disable"]).args(&units))?;
    Ok(true)
}

/// Removes links to a stub that is gone, which systemctl does not know what to do about. Tells whether there were any.
pub fn remove_links(root: &Root, name: &Name) -> Result<bool> {
    let stub = Path::new(STUBS).join(name.unit());
    let mut found = false;
    let links = WalkDir::new(root.join(LINKS)).min_depth(1).max_depth(2).into_iter().flatten();
    for link in links.filter(|entry| entry.path_is_symlink()) {
        if std::fs::read_link(link.path()).is_ok_and(|target| target == stub) {
            let what = || format!("cannot remove {}", link.path().display());
            found |= files::remove_file(link.path()).context(what)?;
            // As systemctl does; others may have links there.
            link.path().parent().map(std::fs::remove_dir);
        }
    }
    Ok(found)
}

/// Creates what `tmpfiles.d/NAME.conf` describes. In an unpacked tree boot will do so.
pub fn create_tmpfiles(root: &Root, name: &Name) -> Result<()> {
    if !root.is_host() {
        return Ok(());
    }
    run(Command::new(SYSTEMD_TMPFILES).arg("--create").arg(format!("{name}.conf")))
}

fn systemctl(root: &Root) -> Command {
    let mut command = Command::new(SYSTEMCTL);
    if !root.is_host() {
        command.arg(format!("--root={}", root.path().display()));
    }
    command
}
