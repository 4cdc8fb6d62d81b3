//! Repeating attempts after temporary failures.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use super::failure;
use crate::error::Result;

/// Waits before the second and the third attempt. skopeo itself honours registries that ask for longer ones (429,
/// Retry-After).
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Waits between pulls for a unit that nobody waits for: a minute, in which networks and registries come up.
const PATIENT: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(30),
];

/// How many attempts are repeated in one pull at most, whatever they are about.
const TOTAL: u32 = 10;

/// The attempts that may still be repeated.
pub struct Retries {
    left: Cell<u32>,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries { left: Cell::new(TOTAL) }
    }
}

impl Retries {
    /// Runs `attempt` up to three times, as long as its failures are temporary. `tell` is called before each wait.
    pub fn run<T>(&self, tell: &dyn Fn(&str), mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        for wait in WAITS {
            match attempt() {
                Err(e) if failure::is_transient(&e) && self.left.get() > 0 => {
                    self.left.set(self.left.get() - 1);
                    tell(&format!("{e}; trying again in {} s", wait.as_secs()));
                    thread::sleep(wait);
                }
                result => return result,
            }
        }
        attempt()
    }
}

/// Runs `attempt` for a minute, as long as its failures are temporary. `tell` is called before each wait.
pub fn patiently<T>(tell: &dyn Fn(&str), mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for wait in PATIENT {
        match attempt() {
            Err(e) if failure::is_transient(&e) => {
                tell(&format!("{e}; trying again in {} s", wait.as_secs()));
                thread::sleep(wait);
            }
            result => return result,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Context, Error};
    use std::io;

    #[test]
    fn only_temporary_failures_are_tried_again() {
        let run = |error: &dyn Fn() -> Error| {
            let mut count = 0;
            let result = Retries::default().run(&|_| {}, || {
                count += 1;
                if count == 2 { Ok(()) } else { Err(error()) }
            });
            (result.is_ok(), count)
        };
        assert_eq!(run(&|| Error::new("connection refused, but that is only text")), (false, 1));
        let refused = || Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(run(&|| refused().context(|| "cannot ask".into()).unwrap_err()), (true, 2));
    }

    #[test]
    fn a_pull_does_not_go_on_like_that_for_ever() {
        let retries = Retries { left: Cell::new(1) };
        let count = Cell::new(0);
        let refused = || {
            count.set(count.get() + 1);
            Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)).context(|| "cannot ask".into())
        };
        assert!(retries.run(&|_| {}, refused).is_err());
        assert_eq!(count.get(), 2);
        assert!(retries.run(&|_| {}, refused).is_err());
        assert_eq!(count.get(), 3);
    }
}
