//! Attempts that are repeated if they fail for a reason that may pass.

use std::thread;
use std::time::Duration;

use super::failure;
use crate::error::Result;

/// Waits before the second and the third attempt. Registries that ask for longer ones (429, Retry-After) are obeyed by
/// skopeo itself.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Runs `attempt` up to three times, as long as it fails for a reason that may pass. `tell` is called before each wait.
pub fn with_retries<T>(tell: &dyn Fn(&str), mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for wait in WAITS {
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
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let run = |error: &dyn Fn() -> Error| {
            let mut count = 0;
            let result = with_retries(&|_| {}, || {
                count += 1;
                if count == 2 { Ok(()) } else { Err(error()) }
            });
            (result.is_ok(), count)
        };
        assert_eq!(run(&|| Error::new("connection refused, but that is only text")), (false, 1));
        let refused = || Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(run(&|| refused().context(|| "cannot ask".into()).unwrap_err()), (true, 2));
    }
}
