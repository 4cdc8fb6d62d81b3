//! Watching a service that was just started: whether it becomes ready, and stays up.
//!
//! There is no busy polling: a wait ends when a job or a main process does, or after [`INTERVAL`], since a unit can
//! change without the end of a process.

use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::system::systemd::manager::{Manager, Verb, Wake, show_one};
use crate::system::systemd::status::UnitStatus;

/// How often units are queried if no process ends.
const INTERVAL: Duration = Duration::from_secs(2);
/// The first wait for a start if there is no job to wait for; each further wait is twice as long.
const FIRST: Duration = Duration::from_millis(50);
/// The limit for units whose own limit is infinity.
const START_MAX: Duration = Duration::from_secs(600);
/// How much longer than a unit's own limits a job may take, for example in the queue.
const GRACE: Duration = Duration::from_secs(60);

/// The result of watching a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service became ready, or stayed up.
    Good,
    /// The service failed; the text says why.
    Bad(String),
    /// A termination signal ended the watch.
    Interrupted,
}

/// Starts or restarts a unit, no matter how often it was started recently, and waits until it is ready.
pub fn start(manager: &dyn Manager, verb: Verb, unit: &str) -> Result<Verdict> {
    // The previous run says nothing about this one: neither its restarts nor how it ended.
    let before = show_one(manager, unit)?.invocation;
    // Fails if the unit is not loaded, and then there is nothing to clear.
    let _ = manager.reset_failed(unit);
    let mut job = manager.begin(verb, unit)?;
    wait_ready(manager, unit, &before, || job.process())
}

/// Waits until a unit is ready whose start another program queued.
pub fn await_ready(manager: &dyn Manager, unit: &str) -> Result<Verdict> {
    wait_ready(manager, unit, "", || None)
}

/// `before` is the unit's invocation at the time when its job was queued.
fn wait_ready(
    manager: &dyn Manager,
    unit: &str,
    before: &str,
    mut job: impl FnMut() -> Option<i32>,
) -> Result<Verdict> {
    let (begin, mut pause) = (manager.clock(), FIRST);
    loop {
        // The job is queried before the unit: if it ended in between, the status would still be that of before.
        let process = job();
        let now = show_one(manager, unit)?;
        // Until then, the status is that of the previous run, which may well be up, or none at all: systemd forgets a
        // unit that is neither up nor failed.
        let is_new_run = !now.invocation.is_empty() && now.invocation != before;
        let has_begun = process.is_none() || is_new_run;
        let verdict = if has_begun { judge_start(&now, before) } else { None };
        if let Some(verdict) = verdict {
            return Ok(verdict);
        }
        let limit = start_limit(&now);
        if manager.clock() - begin > limit {
            return Ok(Verdict::Bad(format!("it was not ready after {} s", limit.as_secs())));
        }
        let processes: Vec<i32> = process.into_iter().collect();
        let wait = if processes.is_empty() { pause } else { INTERVAL };
        if manager.wait(&processes, wait)? == Wake::Interrupted {
            return Ok(Verdict::Interrupted);
        }
        if processes.is_empty() {
            pause = INTERVAL.min(pause * 2);
        }
    }
}

/// Watches a unit that is ready, for `soak` and for at least one restart, and `dependents`, which have to be active at
/// the end.
pub fn watch(manager: &dyn Manager, unit: &str, soak: Duration, dependents: &[String]) -> Result<Verdict> {
    let units: Vec<String> = [&[unit.to_owned()], dependents].concat();
    let since = SystemTime::now();
    let (first, before) = show_with(manager, &units)?;
    if first.is_oneshot() {
        return Ok(judge_start(&first, "").unwrap_or(Verdict::Good));
    }
    let (begin, limit) =
        (manager.clock(), soak.max(first.restart_delay.saturating_add(Duration::from_secs(1))));
    loop {
        let left = limit.saturating_sub(manager.clock() - begin);
        let (now, statuses) = show_with(manager, &units)?;
        if let Some(why) = what_changed(&now, &first) {
            // A stop on request says nothing about the deployment, and the service must not be started again.
            let is_stopped = manager.was_stop_requested(unit, since)?;
            return Ok(if is_stopped { Verdict::Good } else { Verdict::Bad(why) });
        }
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

/// The status of the first of these units, and those of the others, from a single query.
fn show_with(manager: &dyn Manager, units: &[String]) -> Result<(UnitStatus, Vec<UnitStatus>)> {
    let mut found = manager.show(units)?.into_iter();
    let first = found.next().unwrap_or_else(|| UnitStatus::unknown(&units[0]));
    Ok((first, found.collect()))
}

/// Stops a unit, and waits as long as that may take, even if this program receives a termination signal.
pub fn stop(manager: &dyn Manager, unit: &str) -> Result<()> {
    let mut job = manager.begin(Verb::Stop, unit)?;
    let (begin, mut pause) = (manager.clock(), FIRST);
    loop {
        let now = show_one(manager, unit)?;
        if !now.has_job && now.is_down() {
            return Ok(());
        }
        if manager.clock() - begin > stop_limit(&now) {
            return Err(Error::new(format!("cannot stop {unit}: it is still {}", now.explain())));
        }
        let processes: Vec<i32> = job.process().into_iter().collect();
        let wait = if processes.is_empty() { pause } else { INTERVAL };
        if manager.wait(&processes, wait)? == Wake::Interrupted {
            // The signal stays pending, so every further wait would return at once.
            std::thread::sleep(pause);
        }
        pause = INTERVAL.min(pause * 2);
    }
}

/// The verdict on a start, once there is one.
fn judge_start(now: &UnitStatus, before: &str) -> Option<Verdict> {
    let was_restarted = now.restarts > 0 && now.active_state != "active";
    if now.invocation != before && (now.waits_for_restart() || was_restarted) {
        return Some(Verdict::Bad(format!("it does not stay up: {}", now.explain())));
    }
    if now.has_job {
        return None;
    }
    if now.is_up() || now.is_done_oneshot() {
        return Some(Verdict::Good);
    }
    now.is_down().then(|| Verdict::Bad(format!("it did not start: {}", now.explain())))
}

/// What changed about a service since it was ready.
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

/// Finds a dependent that was active and is not now; one that is being started may be so until the watch is over.
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
    use crate::system::systemd::fake::{Fake, Fate};

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
    fn a_unit_that_is_up_says_nothing_about_a_job_that_has_not_begun() {
        let fake = Fake::new();
        let unit = "web.service";
        assert_eq!(start(&fake, Verb::Start, unit).unwrap(), Verdict::Good);
        let before = show_one(&fake, unit).unwrap().invocation;
        fake.decide(|_| Fate::Fails);
        let mut asked = 0;
        let job = || {
            asked += 1;
            if asked == 1 {
                return Some(1);
            }
            fake.queue(Verb::Restart, &[unit.to_owned()]).unwrap();
            None
        };
        let verdict = wait_ready(&fake, unit, &before, job).unwrap();
        assert!(matches!(verdict, Verdict::Bad(_)), "{verdict:?}");
    }

    #[test]
    fn a_unit_that_systemd_forgot_says_nothing_about_a_job_that_has_not_begun() {
        let fake = Fake::new();
        let unit = "web.service";
        let mut asked = 0;
        let job = || {
            asked += 1;
            if asked == 1 {
                assert_eq!(show_one(&fake, unit).unwrap().invocation, "");
                return Some(1);
            }
            fake.queue(Verb::Start, &[unit.to_owned()]).unwrap();
            None
        };
        assert_eq!(wait_ready(&fake, unit, "the run before", job).unwrap(), Verdict::Good);
    }

    #[test]
    fn a_watch_asks_once_in_each_interval() {
        let (fake, unit, soak) = (Fake::new(), "web.service", Duration::from_secs(30));
        let dependents = ["a.service", "b.service"].map(str::to_owned);
        fake.queue(Verb::Start, &[&[unit.to_owned()], dependents.as_slice()].concat()).unwrap();
        assert_eq!(watch(&fake, unit, soak, &dependents).unwrap(), Verdict::Good);
        assert!(fake.clock() >= soak);
        // The first query is for comparison, and the last one at the end.
        assert_eq!(fake.queries.get(), 15 + 2);
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
