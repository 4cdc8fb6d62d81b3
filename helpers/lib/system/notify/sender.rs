//! Whose process sent a notification.
//!
//! The kernel says which process a datagram is from, as a number in this program's PID namespace, also where the sender
//! has one of its own. Only processes in the unit's cgroup and below it are believed, as systemd itself does. A process
//! that is gone by the time that the message is read belongs to nobody, and the number may be another's by then; so the
//! process has to be older than the message.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::error::{Context, Error, Result};
use crate::system::cgroup;
use crate::system::process;

/// How many of the ticks, in which start times are counted, are a second.
const TICKS: u128 = 100;

/// A unit, as the processes in its cgroup.
pub struct Unit {
    cgroup: PathBuf,
    is_unified: bool,
}

/// Who sent a datagram, as the kernel tells it.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub pid: i32,
    /// When it was sent, since 1970.
    pub sent: Duration,
}

impl Unit {
    /// The unit that this process belongs to.
    pub fn own() -> Result<Unit> {
        let path = "/proc/self/cgroup";
        let text = fs::read_to_string(path).context(|| format!("cannot read {path}"))?;
        let is_unified = cgroup::is_unified();
        let unit = cgroup::of_service(&text, is_unified).map(cgroup::without_start);
        let unit = unit.filter(|unit| *unit != Path::new("/"));
        let why =
            || Error::new("cannot find this unit's cgroup, so its processes cannot be told from others");
        Ok(Unit { cgroup: unit.ok_or_else(why)?.to_path_buf(), is_unified })
    }

    /// The one that this process is in, whatever that is, or one elsewhere.
    #[cfg(test)]
    pub(super) fn of_test(is_own: bool) -> Unit {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let is_unified = cgroup::is_unified();
        let own = cgroup::of_service(&text, is_unified).unwrap_or(Path::new("/"));
        Unit { cgroup: if is_own { own.to_path_buf() } else { "/elsewhere".into() }, is_unified }
    }

    /// Whether the process that sent a datagram is one of the unit; `None` if it is gone.
    pub fn has(&self, sender: Sender) -> Option<bool> {
        let is_above = || {
            let text = fs::read_to_string(format!("/proc/{}/cgroup", sender.pid)).ok()?;
            Some(self.is_above(&text))
        };
        // First the one look that is enough for most strangers, since these may send very much.
        if !is_above()? {
            return Some(false);
        }
        let before = process::start_time(sender.pid).ok()?;
        let is_one = is_above()?;
        let after = process::start_time(sender.pid).ok()?;
        if before != after || u128::from(before) > ticks(since_boot(sender.sent)?) {
            return None;
        }
        Some(is_one)
    }

    /// Whether a process with this /proc/PID/cgroup is in the unit's cgroup, or below it.
    fn is_above(&self, text: &str) -> bool {
        cgroup::of_service(text, self.is_unified).is_some_and(|path| path.starts_with(&self.cgroup))
    }
}

/// The tick after a time, since a process may say something as soon as it starts.
fn ticks(time: Duration) -> u128 {
    time.as_millis() * TICKS / 1000 + 1
}

/// What the clock of start times showed when that of datagrams showed `sent`.
fn since_boot(sent: Duration) -> Option<Duration> {
    let now = |clock| clock_gettime(clock).ok().map(Duration::from);
    let (wall, boot) = (now(ClockId::CLOCK_REALTIME)?, now(ClockId::CLOCK_BOOTTIME)?);
    boot.checked_sub(wall.checked_sub(sent)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn only_the_unit_and_what_is_below_it_count() {
        let unit = Unit { cgroup: "/system.slice/web.service".into(), is_unified: true };
        for (text, is_one) in [
            ("0::/system.slice/web.service\n", true),
            ("0::/system.slice/web.service/payload\n", true),
            ("3:memory:/x\n1:name=systemd:/system.slice/db.service\n0::/system.slice/web.service\n", true),
            ("0::/system.slice/web.service2\n", false),
            ("0::/system.slice/web.service.d/x\n", false),
            ("0::/system.slice/db.service\n", false),
            ("0::/system.slice\n", false),
            ("0::/../web.service\n", false),
            ("0::/user.slice/system.slice/web.service\n", false),
            ("1:name=systemd:/system.slice/web.service\n0::/system.slice/db.service\n", false),
            ("", false),
        ] {
            assert_eq!(unit.is_above(text), is_one, "{text}");
        }
        let old = Unit { is_unified: false, ..unit };
        assert!(old.is_above("3:memory:/x\n1:name=systemd:/system.slice/web.service\n0::/\n"));
        assert!(!old.is_above("1:name=systemd:/x\n0::/system.slice/web.service\n"));
    }

    #[test]
    fn a_process_is_older_than_what_it_sends() {
        let unit = Unit::of_test(true);
        let pid = std::process::id() as i32;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(unit.has(Sender { pid, sent: now }), Some(true));
        assert_eq!(Unit::of_test(false).has(Sender { pid, sent: now }), Some(false));
        // Somebody else had this number when the message was sent.
        let before = now - Duration::from_secs(3600);
        assert_eq!(unit.has(Sender { pid, sent: before }), None);
        // It is gone.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        assert_eq!(unit.has(Sender { pid, sent: now }), None);
    }
}
