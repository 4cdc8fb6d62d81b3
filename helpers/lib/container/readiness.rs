//! Who tells systemd that a service is ready, sd_notify(3).

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How systemd learns that a container is ready.
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

/// What the user says about a payload's notifications (`--notify=`); [`Notify`] follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNotify {
    /// The payload sends none.
    No,
    /// The payload sends READY.
    Ready,
    /// The payload gets systemd's own socket, and is trusted with everything that can be done there.
    Full,
}

impl UserNotify {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            UserNotify::No => "no",
            UserNotify::Ready => "ready",
            UserNotify::Full => "full",
        }
    }
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
