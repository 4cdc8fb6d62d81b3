//! What podman does to a container that systemd does to a service: limits, and reloads.

use crate::container::keys::limits;
use crate::quadlet::draft::{Draft, Part};
use crate::quadlet::key::Key;
use crate::quadlet::syntax::Entry;
use crate::quadlet::values;
use crate::signal;

/// `Memory=`: podman allows as much swap as memory.
pub fn memory(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    match limits::size(entry.text()) {
        Ok(size) => {
            for key in ["MemoryMax", "MemorySwapMax"] {
                draft.add(entry, Part::Service, key, &size.to_string());
            }
        }
        Err(e) => draft.refuse(entry, &e.to_string()),
    }
}

/// `PidsLimit=`
pub fn tasks(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    match entry.text().parse::<i64>() {
        Ok(-1 | 0) => draft.add(entry, Part::Service, "TasksMax", "infinity"),
        Ok(count) if count > 0 => draft.add(entry, Part::Service, "TasksMax", &count.to_string()),
        _ => draft.refuse(entry, "it is not a number of processes"),
    }
}

/// `ReloadSignal=`: the payload is the main process of the unit.
pub fn reload_signal(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    let text = entry.text();
    match signal::number(text) {
        Some(_) => draft.add(entry, Part::Service, "ExecReload", &format!("/bin/kill -s {text} $MAINPID")),
        None => draft.refuse(entry, "it is not a signal"),
    }
}

/// `LogDriver=`: systemd has what the payload prints.
pub fn log_driver(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if !["journald", "passthrough"].contains(&entry.text()) {
        draft.leave_out(entry, key.note);
    }
}

/// `HttpProxy=`
pub fn proxy(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if values::boolean(entry.text()) != Ok(false) {
        draft.leave_out(entry, key.note);
    }
}

/// `HealthOnFailure=`
pub fn on_failure(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if entry.text() != "none" {
        draft.refuse(entry, key.note);
    }
}
