//! The pace of what arrives from a source. One that goes quiet, or sends a byte now and then, would otherwise hold a
//! pull, and what waits for it, forever.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::program::options::{Completes, Opt};
use crate::program::timespan;

/// Minimum rate in bytes per second, on average over [`Patience::average`].
pub const RATE: u64 = 1024;
/// How long a source may send nothing, unless the user says otherwise. Registries ask for up to a minute before the next
/// attempt, and skopeo obliges.
const IDLE: Duration = Duration::from_secs(60);
/// How many samples the average is made of.
const SAMPLES: u32 = 32;

/// How long a source is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long it may send nothing while a layer is fetched.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { idle: IDLE }
    }
}

impl Patience {
    /// The option `--idle-timeout=TIME`.
    pub const OPTION: Opt = Opt::valued(
        "idle-timeout",
        "TIME",
        "give up if nothing arrives for TIME, or next to nothing for twice as long; 60s by default",
    )
    .completes(Completes::Nothing);

    /// The value of the option.
    pub fn parse(text: &str) -> Result<Patience> {
        match timespan::parse(text)? {
            Duration::ZERO => {
                Err(Error::usage("the idle timeout must not be 0; to wait forever, use 'infinity'"))
            }
            idle => Ok(Patience { idle }),
        }
    }

    /// The time over which the average rate counts, and within which everything but layers has to be answered.
    pub fn average(&self) -> Duration {
        self.idle.saturating_mul(2)
    }
}

/// Judges how fast something grows.
pub struct Pace {
    patience: Patience,
    /// The last time at which something arrived, and how much there was then.
    last: (Duration, u64),
    /// Times and amounts, oldest first; the first one is as old as the average reaches.
    samples: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Begins with nothing at time 0.
    pub fn new(patience: Patience) -> Pace {
        Pace { patience, last: (Duration::ZERO, 0), samples: VecDeque::from([(Duration::ZERO, 0)]) }
    }

    /// Fails if nothing arrived for too long. At `now`, `total` bytes are there.
    pub fn check_idle(&mut self, now: Duration, total: u64) -> Result<()> {
        if total != self.last.1 {
            self.last = (now, total);
        }
        if now.saturating_sub(self.last.0) < self.patience.idle {
            return Ok(());
        }
        Err(give_up(&format!("nothing arrived for {}", timespan::about(self.patience.idle))))
    }

    /// Fails if too little arrived on average.
    pub fn check_average(&mut self, now: Duration, total: u64) -> Result<()> {
        let over = self.patience.average();
        if self.samples.back().is_none_or(|(time, _)| now.saturating_sub(*time) >= over / SAMPLES) {
            self.samples.push_back((now, total));
        }
        while self.samples.get(1).is_some_and(|(time, _)| now.saturating_sub(*time) >= over) {
            self.samples.pop_front();
        }
        let (begin, before) = self.samples.front().copied().unwrap_or_default();
        let span = now.saturating_sub(begin);
        // Of directories, files that were no longer needed may have gone.
        let arrived = total.saturating_sub(before);
        if span < over || u128::from(arrived) >= u128::from(RATE) * span.as_millis() / 1000 {
            return Ok(());
        }
        Err(give_up(&format!("only {arrived} bytes arrived in {}", timespan::about(span))))
    }
}

fn give_up(why: &str) -> Error {
    Error::new(format!("{why}, giving up; for a slow source, use a longer --idle-timeout="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds a pull is given up on, if so much arrives in each; `None` if it is not, in a day.
    fn ends(idle: u64, arrives: impl Fn(u64) -> u64) -> Option<(u64, String)> {
        let mut pace = Pace::new(Patience { idle: SECOND * idle as u32 });
        let mut total = 0;
        (1..86_400u64).find_map(|second| {
            total += arrives(second);
            let now = SECOND * second as u32;
            let judged = pace.check_idle(now, total).and_then(|()| pace.check_average(now, total));
            judged.err().map(|e| (second, e.to_string()))
        })
    }

    #[test]
    fn quiet_sources_are_given_up_on() {
        assert_eq!(ends(60, |_| 0).unwrap().0, 60);
        let (after, why) = ends(60, |second| if second < 1000 { 1 << 20 } else { 0 }).unwrap();
        assert_eq!(after, 999 + 60);
        assert!(
            why.starts_with("nothing arrived for 60 seconds") && why.contains("--idle-timeout="),
            "{why}"
        );
    }

    #[test]
    fn drips_are_given_up_on() {
        let (after, why) = ends(60, |_| 1).unwrap();
        assert!((120..130).contains(&after) && why.starts_with("only 1"), "{after}: {why}");
        // Whatever came before, and in whatever pieces.
        let (after, _) = ends(60, |second| if second < 3600 { 1 << 30 } else { RATE - 1 }).unwrap();
        assert!((3600..3600 + 130).contains(&after), "{after}");
        assert!(ends(60, |second| if second % 59 == 0 { 59 * (RATE - 50) } else { 0 }).is_some());
    }

    #[test]
    fn slow_but_honest_sources_are_not() {
        assert_eq!(ends(60, |_| RATE), None);
        assert_eq!(ends(60, |second| if second % 50 == 0 { 80 * RATE } else { 0 }), None);
        assert_eq!(ends(3600, |second| if second % 3000 == 0 { 1 << 30 } else { 0 }), None);
    }

    #[test]
    fn patience_may_be_endless_but_not_absent() {
        let endless = Patience::parse("infinity").unwrap();
        assert_eq!(endless.average(), Duration::MAX);
        let mut pace = Pace::new(endless);
        let year = SECOND * 31_536_000;
        assert!(pace.check_idle(year, 0).is_ok() && pace.check_average(year, 0).is_ok());
        assert_eq!(Patience::parse("2min").unwrap().idle, SECOND * 120);
        assert!(Patience::parse("0").unwrap_err().is_usage() && Patience::parse("x").unwrap_err().is_usage());
    }
}
