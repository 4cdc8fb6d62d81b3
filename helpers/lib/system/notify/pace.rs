//! How many notifications of a payload are read in a time: it can send more than anybody could read, and each one that
//! is passed on is work for systemd, too.
//!
//! What is not read stays in the socket, and when that is full, whoever sends waits.

use std::time::{Duration, Instant};

/// How many are read without a pause, more than any payload sends that says something with each.
const BURST: u32 = 256;
/// The time between two of them after that.
const INTERVAL: Duration = Duration::from_millis(20);

/// The pace of reading from one socket.
#[derive(Debug)]
pub struct Pace {
    /// When all that were read so far would have been if there had been this time between them.
    due: Instant,
}

impl Pace {
    /// Nothing has been read yet.
    pub fn new(now: Instant) -> Pace {
        Pace { due: now }
    }

    /// Counts one that is read.
    pub fn count(&mut self, now: Instant) {
        self.due = self.due.max(now) + INTERVAL;
    }

    /// How long nothing is to be read; `None` if the next one may be.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let ahead = self.due.saturating_duration_since(now);
        ahead.checked_sub(INTERVAL * (BURST - 1)).filter(|pause| !pause.is_zero())
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
        let mut pace = Pace::new(begin);
        assert_eq!(read_within(&mut pace, begin, Duration::ZERO), BURST);
        assert_eq!(read_within(&mut pace, begin, Duration::from_secs(10)), 500);
    }

    #[test]
    fn what_comes_now_and_then_is_read_at_once() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        for n in 0..10_000 {
            let now = begin + INTERVAL * n;
            assert_eq!(pace.pause(now), None);
            pace.count(now);
        }
        // A time without any is not saved up for more than the first ones.
        let later = begin + Duration::from_secs(3600);
        assert_eq!(read_within(&mut pace, later, Duration::ZERO), BURST);
    }
}
