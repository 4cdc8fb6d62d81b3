//! The end of a payload: its stop signal, the time that it has then, and what happens when that is over.
//!
//! Whether a payload handles its signal cannot be seen from outside: a handler may be about to be installed, and
//! `sigwait` needs none. So every payload has the time that its unit gives it. systemd would call it a failure if
//! something were still there when that is over; so it is killed just before.
//!
//! `stop` leaves this to a process that systemd inherits, see [`crate::run::successor`]; `start` does it in a start that is
//! stopped, see [`crate::run::parent`].

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::Result;
use crate::name::Name;
use crate::paths::Root;
use crate::program::log;
use crate::system::notify;
use crate::system::process::Process;
use crate::system::systemd::host::Systemd;
use crate::system::systemd::manager::show_one;
use crate::system::systemd::status::UnitStatus;

/// Most payloads end within this time, and systemd is not asked for theirs.
const SOON: Duration = Duration::from_millis(200);
/// How much earlier than systemd a payload is killed, at most.
const MARGIN: Duration = Duration::from_millis(250);
/// How much longer systemd is asked to wait: for what the kernel does then, and on a host that is so busy that this process
/// does not run in time.
const EXTENSION: Duration = Duration::from_secs(10);

/// A payload that got its stop signal.
pub struct Ending<'a> {
    name: &'a Name,
    payload: &'a Process,
    signal: i32,
    /// When systemd began to count.
    begin: Instant,
}

impl<'a> Ending<'a> {
    /// Sends the stop signal to the payload of a container whose stop began at `begin`.
    pub fn begin(
        name: &'a Name,
        payload: &'a Process,
        signal: Option<i32>,
        begin: Instant,
    ) -> Result<Ending<'a>> {
        let signal = signal.unwrap_or(Signal::SIGTERM as i32);
        payload.signal(signal)?;
        Ok(Ending { name, payload, signal, begin })
    }

    /// Waits until the payload is gone; kills it when its time is over.
    pub fn finish(&self) -> Result<()> {
        if self.payload.wait(Some(SOON))? {
            return Ok(());
        }
        let status = show_one(&Systemd::new(&Root::default()), &self.name.unit());
        let limit = match status {
            Ok(status) => limit(&status),
            Err(e) => {
                log::warning(&format!("{e}; leaving it to systemd to end {} in time", self.name));
                None
            }
        };
        limit.map_or(Ok(()), |limit| extend(limit.saturating_sub(self.begin.elapsed())))?;
        let left = limit.map(|limit| payloads_part(limit).saturating_sub(self.begin.elapsed()));
        if self.payload.wait(left)? {
            return Ok(());
        }
        log::warning(&format!(
            "{} is still running {:.1} s after {}; killing it (to give it longer, set TimeoutStopSec= in its unit, or -o StopTimeout=)",
            self.name,
            self.begin.elapsed().as_secs_f64(),
            shown(self.signal)
        ));
        self.payload.signal(Signal::SIGKILL as i32)?;
        extend(Duration::ZERO)?;
        self.payload.wait(None).map(|_| ())
    }
}

/// Has systemd wait somewhat longer than this from now on.
fn extend(time: Duration) -> Result<()> {
    if !notify::is_expected() {
        return Ok(());
    }
    notify::send(&format!("EXTEND_TIMEOUT_USEC={}", time.saturating_add(EXTENSION).as_micros()))
}

/// How long systemd waits for a service to stop before it kills it; `None` if it never does.
fn limit(status: &UnitStatus) -> Option<Duration> {
    let limit = status.stop_timeout;
    (limit != Duration::MAX && status.sends_sigkill && status.load_state == "loaded").then_some(limit)
}

/// What of that time the payload has.
fn payloads_part(limit: Duration) -> Duration {
    limit - MARGIN.min(limit / 4)
}

fn shown(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(properties: &[(&str, &str)]) -> Option<Duration> {
        let properties = properties.iter().chain(&[("LoadState", "loaded")]);
        let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        limit(&UnitStatus::from_properties(&properties.collect()))
    }

    #[test]
    fn the_time_is_that_of_the_unit() {
        assert_eq!(limit_of(&[("TimeoutStopUSec", "1min 30s")]), Some(Duration::from_secs(90)));
        assert_eq!(limit_of(&[("TimeoutStopUSec", "infinity")]), None);
        assert_eq!(limit_of(&[("TimeoutStopUSec", "1s"), ("SendSIGKILL", "no")]), None);
        assert_eq!(limit(&UnitStatus::unknown("x.service")), None);
    }

    #[test]
    fn a_payload_is_killed_before_systemd_would() {
        for (limit, part) in [(10_000, 9_750), (1_000, 750), (400, 300), (0, 0)] {
            assert_eq!(payloads_part(Duration::from_millis(limit)), Duration::from_millis(part));
        }
    }

    #[test]
    fn a_payload_that_ends_by_its_signal_ends_soon() {
        // Not SIGINT, which whatever a shell starts in the background ignores.
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let payload = Process::open(child.id() as i32).unwrap().unwrap();
        let name = "web".parse().unwrap();
        Ending::begin(&name, &payload, Some(Signal::SIGUSR1 as i32), Instant::now())
            .unwrap()
            .finish()
            .unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGUSR1 as i32));
        assert_eq!((shown(15), shown(37)), ("SIGTERM".to_owned(), "signal 37".to_owned()));
    }
}
