//! How many notifications are read in a time: a payload can send more than anybody could read, and each one that is
//! passed on is work for systemd, too.
//!
//! What is not read stays in the socket, and when that is full, whoever sends waits. Users of the host may reach the
//! socket as well: what they send is read much faster, so that those of the payload are not behind it for long, but not as
//! fast as possible.

use std::time::{Duration, Instant};

/// How fast messages are read.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many are read without a pause.
    burst: u32,
    /// The time between two of them after that.
    interval: Duration,
}

/// Those of the unit: at first more than any payload sends that says something with each.
pub const OWN: Rate = Rate { burst: 256, interval: Duration::from_millis(20) };
/// Those of others, which are thrown away: finding that out takes a tenth of this.
pub const STRANGE: Rate = Rate { burst: 256, interval: Duration::from_micros(100) };

/// The pace of reading some of the messages of a socket.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    /// When all that were read so far would have been if there had been this time between them.
    due: Instant,
}

impl Pace {
    /// Nothing has been read yet.
    pub fn new(rate: Rate, now: Instant) -> Pace {
        Pace { rate, due: now }
    }

    /// Counts one that is read.
    pub fn count(&mut self, now: Instant) {
        self.due = self.due.max(now) + self.rate.interval;
    }

    /// How long nothing is to be read; `None` if the next one may be.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let ahead = self.due.saturating_duration_since(now);
        ahead.checked_sub(self.rate.interval * (self.rate.burst - 1)).filter(|pause| !pause.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are read until `time` has passed since the begin, by somebody who never waits for one.
    fn read_within(pace: &mut Pace, begin: Instant, time: Duration) -> u32 {
        let (mut now, mut count) = (begin, 0);
        while now <= begin + time {
            match pace.pause(now) {
                Some(pause) => now += pause,
                None => {
                    pace.count(now);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn a_flood_is_read_slowly() {
        let begin = Instant::now();
        let mut pace = Pace::new(OWN, begin);
        assert_eq!(read_within(&mut pace, begin, Duration::ZERO), OWN.burst);
        assert_eq!(read_within(&mut pace, begin, Duration::from_secs(10)), 500);
    }

    #[test]
    fn thousands_of_strangers_wait_for_a_moment_each() {
        let begin = Instant::now();
        let mut pace = Pace::new(STRANGE, begin);
        assert_eq!(read_within(&mut pace, begin, Duration::ZERO), STRANGE.burst);
        assert_eq!(read_within(&mut pace, begin, Duration::from_secs(1)), 10_000);
    }

    #[test]
    fn what_comes_now_and_then_is_read_at_once() {
        let begin = Instant::now();
        let mut pace = Pace::new(OWN, begin);
        for n in 0..10_000 {
            let now = begin + OWN.interval * n;
            assert_eq!(pace.pause(now), None);
            pace.count(now);
        }
        // A time without any is not saved up for more than the first ones.
        let later = begin + Duration::from_secs(3600);
        assert_eq!(read_within(&mut pace, later, Duration::ZERO), OWN.burst);
    }
}
