//! Watching a service that was just started: whether it gets ready, and stays.
//!
//! Jobs are queued and units looked at again and again, since a systemctl that waits is lost when systemd executes itself anew.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Error, Result};
use crate::system::systemd;

/// How often units are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// For units whose own limit is infinity.
const START_MAX: Duration = Duration::from_secs(600);
/// How much longer than a unit's own limits a job may take, in the queue among others.
const GRACE: Duration = Duration::from_secs(60);
/// How long systemd may not answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is to be known of units.
const PROPERTIES: &str = "Id,Type,Job,InvocationID,ActiveState,SubState,Result,MainPID,NRestarts,ExecMainCode,ExecMainStatus,RestartUSec,TimeoutStartUSec,TimeoutStopUSec";

/// How a service did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Good,
    /// It is not, and why.
    Bad(String),
    /// Nobody wants to know any more: this program was told to end.
    Interrupted,
}

/// Somebody who watches, and listens to signals meanwhile.
pub struct Watcher {
    signals: SignalFd,
}

impl Watcher {
    /// From now on signals that end programs end what is watched instead.
    pub fn new() -> Result<Watcher> {
        let what = || "cannot listen to signals".to_string();
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context(what)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Watcher { signals: SignalFd::with_flags(&signals, flags).context(what)? })
    }

    /// Waits until a unit whose start was queued is ready. `before` is the invocation that it was in then: how often that one
    /// was restarted says nothing.
    pub fn wait_ready(&self, unit: &str, before: &str) -> Result<Verdict> {
        let begin = Instant::now();
        loop {
            let now = look(unit)?;
            if let Some(verdict) = now.started(before) {
                return Ok(verdict);
            }
            if begin.elapsed() > now.start_limit() {
                let seconds = now.start_limit().as_secs();
                return Ok(Verdict::Bad(format!("it was not ready after {seconds} s")));
            }
            if !self.pause()? {
                return Ok(Verdict::Interrupted);
            }
        }
    }

    /// Watches a unit that is ready for `soak`, and for one restart at least, and units that are to be active at its end.
    pub fn soak(&self, unit: &str, soak: Duration, dependents: &[String]) -> Result<Verdict> {
        let first = look(unit)?;
        if first.is_oneshot() {
            return Ok(first.started("").unwrap_or(Verdict::Good));
        }
        let (restarts, since) = (restarts(dependents)?, SystemTime::now());
        let (begin, limit) = (Instant::now(), soak.max(first.restart_delay() + Duration::from_secs(1)));
        loop {
            let is_over = begin.elapsed() >= limit;
            let now = look(unit)?;
            if let Some(why) = now.differs(&first) {
                // Whoever stops it says nothing of the deployment, and does not want it started.
                let is_stopped = systemd::was_stopped(unit, since)?;
                return Ok(if is_stopped { Verdict::Good } else { Verdict::Bad(why) });
            }
            if let Some(why) = bad_dependent(dependents, &restarts, is_over)? {
                return Ok(Verdict::Bad(why));
            }
            if is_over {
                return Ok(Verdict::Good);
            }
            if !self.pause()? {
                return Ok(Verdict::Interrupted);
            }
        }
    }

    /// Waits until a unit whose stop was queued is stopped, as long as it may take.
    pub fn wait_stopped(&self, unit: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let now = look(unit)?;
            if now.job().is_none() && matches!(now.get("ActiveState"), "inactive" | "failed") {
                return Ok(());
            }
            if begin.elapsed() > now.stop_limit() {
                return Err(Error::new(format!("cannot stop {unit}: it is still {}", now.state())));
            }
            // What was begun is ended, whoever tells this program to.
            std::thread::sleep(INTERVAL);
        }
    }

    /// Tells whether to go on.
    fn pause(&self) -> Result<bool> {
        let what = || "cannot wait".to_string();
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => Ok(true),
            result => Ok(result.context(what)? == 0),
        }
    }
}

/// How often systemd has started units again by itself.
fn restarts(units: &[String]) -> Result<BTreeMap<String, String>> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    let counts = look_at(units)?.into_iter();
    Ok(counts.map(|unit| (unit.get("Id").to_owned(), unit.get("NRestarts").to_owned())).collect())
}

/// One that was active, and is not now; those that are on their way may be until it is over.
fn bad_dependent(
    dependents: &[String],
    restarts: &BTreeMap<String, String>,
    is_over: bool,
) -> Result<Option<String>> {
    if dependents.is_empty() {
        return Ok(None);
    }
    let bad = look_at(dependents)?.into_iter().find(|unit| {
        let was_restarted =
            restarts.get(unit.get("Id")).is_some_and(|before| before != unit.get("NRestarts"));
        match unit.get("ActiveState") {
            _ if was_restarted || unit.get("SubState") == "auto-restart" => true,
            "active" | "reloading" => false,
            "failed" => true,
            _ => is_over && !unit.is_done_oneshot(),
        }
    });
    Ok(bad.map(|unit| format!("{}, which needs it, is {}", unit.get("Id"), unit.state())))
}

/// What tells one run of a unit from the next.
pub fn invocation(unit: &str) -> Result<String> {
    Ok(look(unit)?.get("InvocationID").to_owned())
}

/// Properties of a unit at one moment.
#[derive(Clone, Debug, Default)]
struct Look(BTreeMap<String, String>);

fn look(unit: &str) -> Result<Look> {
    look_at(&[unit])?.pop().ok_or_else(|| Error::new(format!("systemd says nothing of {unit}")))
}

/// While systemd executes itself anew it does not answer.
fn look_at<U: AsRef<OsStr>>(units: &[U]) -> Result<Vec<Look>> {
    let begin = Instant::now();
    loop {
        match systemd::show(units, PROPERTIES) {
            Ok(units) => return Ok(units.into_iter().map(Look).collect()),
            Err(e) if begin.elapsed() > PATIENCE => return Err(e),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

impl Look {
    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn job(&self) -> Option<&str> {
        Some(self.get("Job")).filter(|job| !job.is_empty() && *job != "0")
    }

    fn is_oneshot(&self) -> bool {
        self.get("Type") == "oneshot"
    }

    fn is_done_oneshot(&self) -> bool {
        self.is_oneshot() && self.get("ActiveState") == "inactive" && self.get("Result") == "success"
    }

    /// What became of a start that was queued, once something did.
    fn started(&self, before: &str) -> Option<Verdict> {
        let was_restarted = !matches!(self.get("NRestarts"), "" | "0") && self.get("ActiveState") != "active";
        if self.get("InvocationID") != before && (self.get("SubState") == "auto-restart" || was_restarted) {
            return Some(Verdict::Bad(format!("it does not stay up, it is {}", self.state())));
        }
        if self.job().is_some() {
            return None;
        }
        match self.get("ActiveState") {
            "active" | "reloading" => Some(Verdict::Good),
            "inactive" if self.is_done_oneshot() => Some(Verdict::Good),
            "inactive" | "failed" => Some(Verdict::Bad(format!("it did not start, it is {}", self.state()))),
            _ => None,
        }
    }

    /// Why this is not what was seen at first.
    fn differs(&self, first: &Look) -> Option<String> {
        let is_active = matches!(self.get("ActiveState"), "active" | "reloading");
        let is_same = |key| self.get(key) == first.get(key);
        if is_active && is_same("MainPID") && is_same("NRestarts") {
            return None;
        }
        Some(match is_active && self.get("NRestarts") != first.get("NRestarts") {
            true => "it was started and ended at once, and systemd started it again".to_owned(),
            false => format!("it did not stay, it is {}", self.state()),
        })
    }

    /// As people read it: `failed (exit-code, status 1)`.
    fn state(&self) -> String {
        let mut details = vec![match self.get("Result") {
            "" | "success" => self.get("SubState").to_owned(),
            result => result.to_owned(),
        }];
        match (self.get("ExecMainCode"), self.get("ExecMainStatus")) {
            ("1", status) if status != "0" => details.push(format!("status {status}")),
            ("2" | "3", signal) => details.push(format!("signal {signal}")),
            _ => {}
        }
        format!("{} ({})", self.get("ActiveState"), details.join(", "))
    }

    fn restart_delay(&self) -> Duration {
        span(self.get("RestartUSec")).unwrap_or_default()
    }

    fn start_limit(&self) -> Duration {
        span(self.get("TimeoutStartUSec")).unwrap_or(START_MAX) + self.stop_limit()
    }

    fn stop_limit(&self) -> Duration {
        span(self.get("TimeoutStopUSec")).unwrap_or(START_MAX) + GRACE
    }
}

/// A time span as systemctl shows it: `1min 30s`, `500ms`; `None` for infinity.
fn span(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for word in text.split_whitespace() {
        let unit = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = word.split_at(unit);
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "w" => 7.0 * 86400.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_of(text: &str) -> Look {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        Look(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn reads_time_spans_of_systemctl() {
        for (text, milliseconds) in
            [("1min 30s", 90_000), ("100ms", 100), ("1h 2min 3s 4ms", 3_723_004), ("0", 0)]
        {
            let expected = (text != "0").then_some(Duration::from_millis(milliseconds));
            assert_eq!(span(text), expected, "{text}");
        }
        assert_eq!(span("infinity"), None);
        assert_eq!(span(""), None);
    }

    #[test]
    fn judges_starts() {
        for (text, verdict) in [
            ("Job=12 ActiveState=activating", None),
            ("ActiveState=activating SubState=start", None),
            ("Job=0 ActiveState=active", Some(true)),
            ("ActiveState=activating SubState=auto-restart InvocationID=new", Some(false)),
            ("Job=1 ActiveState=activating SubState=auto-restart InvocationID=old", None),
            ("Job=3 ActiveState=activating NRestarts=1 InvocationID=new", Some(false)),
            ("Job=3 ActiveState=deactivating NRestarts=1 InvocationID=old", None),
            ("ActiveState=failed Result=exit-code ExecMainCode=1 ExecMainStatus=7", Some(false)),
            ("ActiveState=inactive Result=success Type=notify", Some(false)),
            ("ActiveState=inactive Result=success Type=oneshot", Some(true)),
        ] {
            let good = look_of(text).started("old").map(|verdict| verdict == Verdict::Good);
            assert_eq!(good, verdict, "{text}");
        }
    }

    #[test]
    fn tells_what_changed() {
        let first = look_of("ActiveState=active SubState=running MainPID=7 NRestarts=0");
        assert_eq!(first.differs(&first), None);
        assert_eq!(look_of("ActiveState=reloading MainPID=7 NRestarts=0").differs(&first), None);
        let restarted = look_of("ActiveState=active MainPID=9 NRestarts=1");
        assert!(restarted.differs(&first).unwrap().contains("started it again"));
        let failed = look_of(
            "ActiveState=failed Result=exit-code ExecMainCode=1 ExecMainStatus=7 MainPID=0 NRestarts=0",
        );
        assert_eq!(failed.differs(&first).unwrap(), "it did not stay, it is failed (exit-code, status 7)");
    }
}
