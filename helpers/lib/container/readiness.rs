//! Who tells systemd that a service is ready, sd_notify(3).

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How a container tells that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notify {
    /// `syscontainer-start` sends READY once the container is created: the image does not notify.
    Created,
    /// The image notifies; its PID namespace is its own, so only its READY is passed on.
    Ready,
    /// The image notifies and shares the host's PID namespace: it gets systemd's socket itself.
    Socket,
}

/// What the user says of a payload's notifications (`--notify=`); [`Notify`] is what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNotify {
    /// It sends none.
    No,
    /// It sends READY.
    Ready,
    /// It gets systemd's own socket: it is trusted with what one can do there.
    Full,
}

impl std::str::FromStr for UserNotify {
    type Err = Error;

    fn from_str(text: &str) -> Result<UserNotify, Error> {
        match text {
            "no" => Ok(UserNotify::No),
            "ready" => Ok(UserNotify::Ready),
            "full" => Ok(UserNotify::Full),
            _ => Err(Error::usage("expected no, ready or full")),
        }
    }
}
