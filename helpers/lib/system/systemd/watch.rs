//! Watching a service that was just started: whether it gets ready, and stays so.
//!
//! Nothing is polled quickly: a wait ends when a job or a main process does, and else after [`INTERVAL`], since not all that may
//! happen to a unit is the end of a process.

use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::system::systemd::manager::{Manager, Verb, Wake, show_one};
use crate::system::systemd::status::UnitStatus;

/// How often units are looked at while nothing is told of them.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often they are looked at first while they start, and no job can be waited for; each wait is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(50);
/// For units whose own limit is infinity.
const START_MAX: Duration = Duration::from_secs(600);
/// How much longer than a unit's own limits a job may take, in the queue among others.
const GRACE: Duration = Duration::from_secs(60);

/// How a service did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Good,
    /// It is not, and why.
    Bad(String),
    /// A termination signal ended the wait.
    Interrupted,
}

/// Starts or restarts a unit, however often that was done lately, and waits until it is ready.
pub fn start(manager: &dyn Manager, verb: Verb, unit: &str) -> Result<Verdict> {
    // What was before is no evidence: how often that was restarted, and how it ended.
    let before = show_one(manager, unit)?.invocation;
    // One that is not loaded has nothing to forget.
    let _ = manager.reset_failed(unit);
    let mut job = manager.begin(verb, unit)?;
    wait_ready(manager, unit, &before, || job.process())
}

/// Waits until a unit whose start was queued by somebody else is ready.
pub fn await_ready(manager: &dyn Manager, unit: &str) -> Result<Verdict> {
    wait_ready(manager, unit, "", || None)
}

/// `before` is the invocation that the unit was in when its job was queued.
fn wait_ready(
    manager: &dyn Manager,
    unit: &str,
    before: &str,
    mut job: impl FnMut() -> Option<i32>,
) -> Result<Verdict> {
    let (begin, mut pause) = (manager.clock(), FIRST);
    loop {
        let now = show_one(manager, unit)?;
        if let Some(verdict) = judge_start(&now, before) {
            return Ok(verdict);
        }
        let limit = start_limit(&now);
        if manager.clock() - begin > limit {
            return Ok(Verdict::Bad(format!("it was not ready after {} s", limit.as_secs())));
        }
        let processes: Vec<i32> = job().into_iter().collect();
        let wait = if processes.is_empty() { pause } else { INTERVAL };
        if manager.wait(&processes, wait)? == Wake::Interrupted {
            return Ok(Verdict::Interrupted);
        }
        if processes.is_empty() {
            pause = INTERVAL.min(pause * 2);
        }
    }
}

/// Watches a unit that is ready for `soak`, and for one restart at least, and units that are to be active at its end.
pub fn watch(manager: &dyn Manager, unit: &str, soak: Duration, dependents: &[String]) -> Result<Verdict> {
    let first = show_one(manager, unit)?;
    if first.is_oneshot() {
        return Ok(judge_start(&first, "").unwrap_or(Verdict::Good));
    }
    let (before, since) = (manager.show(dependents)?, SystemTime::now());
    let (begin, limit) =
        (manager.clock(), soak.max(first.restart_delay.saturating_add(Duration::from_secs(1))));
    loop {
        let left = limit.saturating_sub(manager.clock() - begin);
        let now = show_one(manager, unit)?;
        if let Some(why) = what_changed(&now, &first) {
            // Whoever stops it says nothing of the deployment, and does not want it started.
            let is_stopped = manager.was_stop_requested(unit, since)?;
            return Ok(if is_stopped { Verdict::Good } else { Verdict::Bad(why) });
        }
        let statuses = manager.show(dependents)?;
        if let Some(why) = bad_dependent(&statuses, &before, left.is_zero()) {
            return Ok(Verdict::Bad(why));
        }
        if left.is_zero() {
            return Ok(Verdict::Good);
        }
        let processes: Vec<i32> =
            statuses.iter().chain([&now]).filter_map(|status| status.main_pid).collect();
        if manager.wait(&processes, left.min(INTERVAL))? == Wake::Interrupted {
            return Ok(Verdict::Interrupted);
        }
    }
}

/// Stops a unit, and waits as long as that may take. What was begun is ended, whoever tells this program to end.
pub fn stop(manager: &dyn Manager, unit: &str) -> Result<()> {
    let mut job = manager.begin(Verb::Stop, unit)?;
    let begin = manager.clock();
    loop {
        let now = show_one(manager, unit)?;
        if !now.has_job && now.is_down() {
            return Ok(());
        }
        if manager.clock() - begin > stop_limit(&now) {
            return Err(Error::new(format!("cannot stop {unit}: it is still {}", now.explain())));
        }
        let processes: Vec<i32> = job.process().into_iter().collect();
        let wait = if processes.is_empty() { FIRST } else { INTERVAL };
        if manager.wait(&processes, wait)? == Wake::Interrupted {
            // The signal stays pending, so that this would return at once; the job is what is waited for.
            std::thread::sleep(FIRST);
        }
    }
}

/// What became of a start that was queued, once something did.
fn judge_start(now: &UnitStatus, before: &str) -> Option<Verdict> {
    let was_restarted = now.restarts > 0 && now.active_state != "active";
    if now.invocation != before && (now.waits_for_restart() || was_restarted) {
        return Some(Verdict::Bad(format!("it does not stay up, it is {}", now.explain())));
    }
    if now.has_job {
        return None;
    }
    if now.is_up() || now.is_done_oneshot() {
        return Some(Verdict::Good);
    }
    now.is_down().then(|| Verdict::Bad(format!("it did not start, it is {}", now.explain())))
}

/// Why a service is not what was seen at first.
fn what_changed(now: &UnitStatus, first: &UnitStatus) -> Option<String> {
    if now.is_up() && now.main_pid == first.main_pid && now.restarts == first.restarts {
        return None;
    }
    Some(if now.is_up() {
        "the main process exited, and systemd restarted it".to_owned()
    } else {
        format!("the service left the active state: {}", now.explain())
    })
}

/// One that was active, and is not now; those that are on their way may be until it is over.
fn bad_dependent(now: &[UnitStatus], before: &[UnitStatus], is_over: bool) -> Option<String> {
    let is_bad = |status: &&UnitStatus| {
        let first = before.iter().find(|first| first.id == status.id);
        let was_restarted = first.is_some_and(|first| first.restarts != status.restarts);
        if was_restarted || status.waits_for_restart() {
            return true;
        }
        match status.active_state.as_str() {
            "active" | "reloading" => false,
            "failed" => true,
            _ => is_over && !status.is_done_oneshot(),
        }
    };
    let bad = now.iter().find(is_bad)?;
    Some(format!("{}, which needs it, is {}", bad.id, bad.explain()))
}

fn start_limit(status: &UnitStatus) -> Duration {
    bounded(status.start_timeout).saturating_add(stop_limit(status))
}

fn stop_limit(status: &UnitStatus) -> Duration {
    bounded(status.stop_timeout) + GRACE
}

fn bounded(timeout: Duration) -> Duration {
    if timeout == Duration::MAX { START_MAX } else { timeout }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(text: &str) -> UnitStatus {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        UnitStatus::from_properties(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
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
            let good = judge_start(&status_of(text), "old").map(|verdict| verdict == Verdict::Good);
            assert_eq!(good, verdict, "{text}");
        }
    }

    #[test]
    fn says_what_changed() {
        let first = status_of("ActiveState=active SubState=running MainPID=7 NRestarts=0");
        assert_eq!(what_changed(&first, &first), None);
        assert_eq!(what_changed(&status_of("ActiveState=reloading MainPID=7 NRestarts=0"), &first), None);
        let restarted = status_of("ActiveState=active MainPID=9 NRestarts=1");
        assert_eq!(
            what_changed(&restarted, &first).unwrap(),
            "the main process exited, and systemd restarted it"
        );
        let failed = status_of(
            "ActiveState=failed Result=exit-code ExecMainCode=1 ExecMainStatus=7 MainPID=0 NRestarts=0",
        );
        let why = what_changed(&failed, &first).unwrap();
        assert_eq!(why, "the service left the active state: failed (exit-code, status 7)");
    }

    #[test]
    fn judges_dependents() {
        let before = [status_of("Id=a.service ActiveState=active NRestarts=0")];
        for (text, while_watching, at_the_end) in [
            ("Id=a.service ActiveState=active NRestarts=0", false, false),
            ("Id=a.service ActiveState=active NRestarts=1", true, true),
            ("Id=a.service ActiveState=activating SubState=auto-restart", true, true),
            ("Id=a.service ActiveState=failed", true, true),
            ("Id=a.service ActiveState=inactive", false, true),
            ("Id=a.service ActiveState=inactive Type=oneshot Result=success", false, false),
        ] {
            let now = [status_of(text)];
            assert_eq!(bad_dependent(&now, &before, false).is_some(), while_watching, "{text}");
            assert_eq!(bad_dependent(&now, &before, true).is_some(), at_the_end, "{text}");
        }
    }
}
