//! The status of a unit: all properties that these programs look at.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::paths::{DROP_IN, GENERATED, STUBS};
use crate::program::{timespan, timestamp};

/// Names of the properties, for `systemctl show --property`.
pub const PROPERTIES: &str = "Id,User,LoadState,ActiveState,SubState,Result,Type,Job,InvocationID,MainPID,NRestarts,\
    ExecMainCode,ExecMainStatus,RestartUSec,TimeoutStartUSec,TimeoutStopUSec,SendSIGKILL,NeedDaemonReload,StateChangeTimestamp,\
    InactiveExitTimestampMonotonic,FragmentPath,DropInPaths,RequiredBy,RequisiteOf,BoundBy,ConsistsOf";

/// The status of a unit at one moment. Strings are as systemd writes them, see org.freedesktop.systemd1(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// Name of the unit.
    pub id: String,
    /// The user that its commands run as, unless they have a prefix that prevents it; empty for root.
    pub user: String,
    /// Whether the unit file was found and read: `loaded`, `not-found`, `bad-setting`, `masked`.
    pub load_state: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active_state: String,
    /// The finer state, which depends on the type of unit.
    pub sub_state: String,
    /// How the service ended: `success`, `exit-code`, `timeout`.
    pub result: String,
    /// `Type=` of a service.
    pub service_type: String,
    /// Whether a job for it is queued or running.
    pub has_job: bool,
    /// ID of this run of the unit, which changes with every start.
    pub invocation: String,
    /// ID of the main process, if there is one.
    pub main_pid: Option<i32>,
    /// How often systemd has restarted it by itself.
    pub restarts: u32,
    /// How the main process ended: `1` if it exited, `2` or `3` if a signal killed it.
    pub main_code: String,
    /// The exit status of the main process, or the number of the signal.
    pub main_status: String,
    /// How long systemd waits before it restarts the service.
    pub restart_delay: Duration,
    /// How long a start may take.
    pub start_timeout: Duration,
    /// How long a stop may take.
    pub stop_timeout: Duration,
    /// Whether what is left then is killed.
    pub sends_sigkill: bool,
    /// Whether the unit's files were changed since systemd loaded them.
    pub needs_reload: bool,
    /// When the unit entered its state, RFC 3339.
    pub since: Option<String>,
    /// Whether the unit was started in this boot.
    pub was_started: bool,
    /// Path of the unit file.
    pub fragment: PathBuf,
    /// Paths of the drop-ins.
    pub drop_ins: Vec<PathBuf>,
    /// Units that fail or are stopped if this one does not run.
    pub needed_by: Vec<String>,
    /// Units that are stopped along with this one, since they are part of it.
    pub parts: Vec<String>,
}

impl UnitStatus {
    /// A unit that systemd does not know.
    pub fn unknown(id: &str) -> UnitStatus {
        let properties = [("Id", id), ("LoadState", "not-found"), ("ActiveState", "inactive")];
        UnitStatus::from_properties(&properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    }

    /// Reads the properties of one unit; missing ones count as empty.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> UnitStatus {
        let text = |key: &str| properties.get(key).cloned().unwrap_or_default();
        let is_set = |key: &str| !matches!(text(key).as_str(), "" | "0");
        let span = |key: &str| timespan::parse(&text(key)).unwrap_or(Duration::MAX);
        let words = |keys: &[&str]| {
            let mut words: Vec<String> = Vec::new();
            for word in keys
                .iter()
                .flat_map(|key| text(key).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            words
        };
        UnitStatus {
            id: text("Id"),
            user: text("User"),
            load_state: text("LoadState"),
            active_state: text("ActiveState"),
            sub_state: text("SubState"),
            result: text("Result"),
            service_type: text("Type"),
            has_job: is_set("Job"),
            invocation: text("InvocationID"),
            main_pid: text("MainPID").parse().ok().filter(|pid| *pid > 0),
            restarts: text("NRestarts").parse().unwrap_or(0),
            main_code: text("ExecMainCode"),
            main_status: text("ExecMainStatus"),
            restart_delay: if text("RestartUSec").is_empty() { Duration::ZERO } else { span("RestartUSec") },
            start_timeout: span("TimeoutStartUSec"),
            stop_timeout: span("TimeoutStopUSec"),
            sends_sigkill: text("SendSIGKILL") != "no",
            needs_reload: text("NeedDaemonReload") == "yes",
            since: text("StateChangeTimestamp").strip_prefix('@').and_then(timestamp::of_seconds),
            was_started: is_set("InactiveExitTimestampMonotonic"),
            fragment: text("FragmentPath").into(),
            drop_ins: words(&["DropInPaths"]).into_iter().map(PathBuf::from).collect(),
            needed_by: words(&["RequiredBy", "RequisiteOf", "BoundBy"]),
            parts: words(&["ConsistsOf"]),
        }
    }

    /// Whether nothing of the unit is running or being started.
    pub fn is_down(&self) -> bool {
        matches!(self.active_state.as_str(), "inactive" | "failed")
    }

    /// Whether the unit is being stopped.
    pub fn is_being_stopped(&self) -> bool {
        self.active_state == "deactivating"
    }

    /// Whether the unit is up.
    pub fn is_up(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "reloading")
    }

    /// Whether the service runs once and ends, `Type=oneshot`.
    pub fn is_oneshot(&self) -> bool {
        self.service_type == "oneshot"
    }

    /// Whether the service is a oneshot that succeeded.
    pub fn is_done_oneshot(&self) -> bool {
        self.is_oneshot() && self.active_state == "inactive" && self.result == "success"
    }

    /// Whether systemd is about to restart the service by itself.
    pub fn waits_for_restart(&self) -> bool {
        self.sub_state == "auto-restart"
    }

    /// Whether the loaded unit is one of ours, or the rest of one.
    pub fn is_ours(&self) -> bool {
        let body = Path::new(GENERATED).join(format!("{}.d", self.id)).join(DROP_IN);
        self.drop_ins.contains(&body) || self.fragment.starts_with(STUBS)
    }

    /// The state as it is shown in messages: `failed (exit-code, status 1)`. A unit whose last run failed is called failed, even
    /// if systemd is still stopping it or about to restart it.
    pub fn explain(&self) -> String {
        let has_failed = !matches!(self.result.as_str(), "" | "success");
        let (state, detail) =
            if has_failed { ("failed", &self.result) } else { (self.active_state.as_str(), &self.sub_state) };
        let mut details = vec![detail.clone()];
        match (self.main_code.as_str(), self.main_status.as_str()) {
            ("1", status) if status != "0" => details.push(format!("status {status}")),
            ("2" | "3", signal) => details.push(format!("signal {signal}")),
            _ => {}
        }
        format!("{state} ({})", details.join(", "))
    }
}

impl fmt::Display for UnitStatus {
    /// As `systemctl status` shows it: `active (running)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.load_state.as_str() {
            "loaded" => write!(f, "{} ({})", self.active_state, self.sub_state),
            load => f.write_str(load),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(text: &str) -> UnitStatus {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        UnitStatus::from_properties(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn reads_properties() {
        let status = status_of(
            "Id=a.service;MainPID=0;NRestarts=3;Job=12;RestartUSec=100ms;TimeoutStartUSec=1min 30s;\
             TimeoutStopUSec=infinity;RequiredBy=b.service c.service;BoundBy=b.service;ConsistsOf=d.service",
        );
        assert_eq!((status.main_pid, status.restarts, status.has_job), (None, 3, true));
        assert_eq!(status.restart_delay, Duration::from_millis(100));
        assert_eq!((status.start_timeout, status.stop_timeout), (Duration::from_secs(90), Duration::MAX));
        assert_eq!(
            (status.needed_by.join(" "), status.parts.join(" ")),
            ("b.service c.service".into(), "d.service".into())
        );
        assert!(UnitStatus::unknown("x.service").is_down());
        assert!(status_of("ActiveState=deactivating").is_being_stopped());
    }

    #[test]
    fn knows_our_units() {
        assert!(
            status_of("Id=a.service;DropInPaths=/run/systemd/generator/a.service.d/00-syscontainer.conf")
                .is_ours()
        );
        assert!(status_of("Id=a.service;FragmentPath=/etc/systemd/system.attached/a.service").is_ours());
        assert!(!status_of("Id=a.service;FragmentPath=/usr/lib/systemd/system/a.service").is_ours());
    }

    #[test]
    fn explains() {
        let failed = status_of("ActiveState=failed;Result=exit-code;ExecMainCode=1;ExecMainStatus=7");
        assert_eq!(failed.explain(), "failed (exit-code, status 7)");
        let failing = status_of("ActiveState=deactivating;Result=exit-code;ExecMainCode=1;ExecMainStatus=7");
        assert_eq!(failing.explain(), "failed (exit-code, status 7)");
        let stopping = status_of("ActiveState=deactivating;SubState=stop-sigterm;Result=success");
        assert_eq!(stopping.explain(), "deactivating (stop-sigterm)");
        let killed = status_of("ActiveState=failed;Result=signal;ExecMainCode=2;ExecMainStatus=9");
        assert_eq!(killed.explain(), "failed (signal, signal 9)");
        assert_eq!(
            status_of("LoadState=loaded;ActiveState=active;SubState=running").to_string(),
            "active (running)"
        );
    }
}
