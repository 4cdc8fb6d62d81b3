//! Trying again what failed for reasons that pass.

use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// Waits before the second and the third attempt. Registries that ask for longer ones (429, Retry-After) are obeyed by
/// skopeo itself.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// What skopeo says of networks and of servers that are overloaded; it gives no codes.
const TRANSIENT: [&str; 19] = [
    "connection refused",
    "connection reset",
    "connection timed out",
    "i/o timeout",
    "tls handshake timeout",
    "timeout awaiting",
    "timeout exceeded",
    "deadline exceeded",
    "unexpected eof",
    "use of closed network connection",
    "network is unreachable",
    "no route to host",
    "temporary failure in name resolution",
    "server misbehaving",
    "too many requests",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
];

/// Runs `attempt`, and again if it failed for a reason that passes; `tell` is told before each wait.
pub fn with_retries<T>(tell: &dyn Fn(&str), mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for wait in WAITS {
        match attempt() {
            Err(e) if is_transient(&e) => {
                tell(&format!("{e}; trying again in {} s", wait.as_secs()));
                thread::sleep(wait);
            }
            result => return result,
        }
    }
    attempt()
}

fn is_transient(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    TRANSIENT.iter().any(|reason| text.contains(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        let count = Cell::new(0);
        let run = |text: &'static str| {
            count.set(0);
            with_retries(&|_| {}, || -> Result<()> {
                count.set(count.get() + 1);
                if count.get() == 2 { Ok(()) } else { Err(Error::new(text)) }
            })
        };
        assert!(run("manifest unknown").is_err() && count.get() == 1);
        assert!(run("dial tcp: connect: Connection refused").is_ok() && count.get() == 2);
    }
}
