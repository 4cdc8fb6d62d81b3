//! Why skopeo failed.
//!
//! skopeo returns text, and before version 1.19 nothing else. The text is only examined here; everywhere else, a
//! failure has a [`Reason`].

use std::error::Error as StdError;
use std::fmt;
use std::io;

use containers_image_proxy::Error as ProxyError;

use crate::error::Error;
use crate::program::credentials;

/// The program that reaches sources.
pub const SKOPEO: &str = "skopeo";
/// Texts about failures of networks and overloaded servers.
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
/// Texts about a pipe whose reader has closed it.
const BROKEN_PIPE: [&str; 2] = ["broken pipe", "epipe"];
/// Texts about an image that the signature policy does not allow.
const REJECTED: [&str; 1] = ["source image rejected"];

/// A failure of skopeo.
#[derive(Debug)]
pub struct Failure {
    reason: Reason,
    message: String,
}

/// What a failure means for the caller of skopeo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The network failed, or a server was overloaded: a later attempt may succeed.
    Transient,
    /// The blob was not read to its end.
    BrokenPipe,
    /// The signature policy does not allow the image.
    Rejected,
    /// Anything else, for which another attempt would be pointless.
    Other,
}

impl Failure {
    /// A failure to start skopeo.
    pub fn not_started(error: impl fmt::Display) -> Failure {
        Failure { reason: Reason::Other, message: format!("{error}; install the package skopeo") }
    }

    /// An end that skopeo did not come to by itself.
    pub fn given_up(why: Error) -> Failure {
        Failure { reason: Reason::Other, message: why.to_string() }
    }

    /// The end of a blob that its reader no longer wants.
    pub fn unwanted() -> Failure {
        Failure { reason: Reason::BrokenPipe, message: "its reader has closed it".into() }
    }

    /// The failure that skopeo's last line on stderr gives as logfmt: `time=… level=fatal msg="…"`.
    pub fn from_stderr(stderr: &[u8]) -> Failure {
        let stderr = String::from_utf8_lossy(stderr);
        let line = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").trim();
        let message = line.split_once("msg=").map(|(_, quoted)| {
            // Go quotes as JSON does, except for what is not printable, which the log replaces anyway.
            serde_json::from_str(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned())
        });
        Failure::from_message(message.unwrap_or_else(|| line.to_owned()))
    }

    fn from_message(message: String) -> Failure {
        let text = message.to_lowercase();
        let says_one_of = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        let reason = if says_one_of(&BROKEN_PIPE) {
            Reason::BrokenPipe
        } else if says_one_of(&REJECTED) {
            Reason::Rejected
        } else if says_one_of(&TRANSIENT) {
            Reason::Transient
        } else {
            Reason::Other
        };
        // It may quote the URL that a registry redirected to, with a signature.
        Failure { reason, message: credentials::concealed(&message) }
    }

    /// What the failure means.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl From<ProxyError> for Failure {
    fn from(error: ProxyError) -> Failure {
        let is_retryable = error.is_retryable();
        let text = match error {
            ProxyError::SkopeoSpawnError(e) => {
                return Failure::not_started(format_args!("cannot run {SKOPEO}: {e}"));
            }
            // Leaves out what the proxy's protocol adds to skopeo's message.
            ProxyError::RequestInitiationFailure { error, .. }
            | ProxyError::RetryableRequestFailure { error, .. }
            | ProxyError::RequestReturned(error) => error.to_string(),
            other => other.to_string(),
        };
        let text = text.trim();
        let mut failure =
            Failure::from_message(text.strip_prefix("remote error: ").unwrap_or(text).to_owned());
        if is_retryable {
            failure.reason = Reason::Transient;
        }
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {}

/// Whether an error comes from a temporary failure, of skopeo or of a connection of our own.
pub fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.reason == Reason::Transient;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut
            );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Context, Result};

    #[test]
    fn messages_on_stderr() {
        for (stderr, text) in [
            ("a\ntime=\"2026\" level=fatal msg=\"x \\\"y\\\": z\"\n", "x \"y\": z"),
            ("level=fatal msg=word\n", "word"),
            ("plain\n\n", "plain"),
            ("", "it gave no reason"),
        ] {
            assert_eq!(Failure::from_stderr(stderr.as_bytes()).to_string(), text);
        }
    }

    #[test]
    fn messages_of_the_proxy() {
        let method = || "OpenImage".into();
        for (error, text, reason) in [
            (
                ProxyError::RequestInitiationFailure {
                    method: method(),
                    error: "remote error: tls: no".into(),
                },
                "tls: no",
                Reason::Other,
            ),
            (
                ProxyError::RetryableRequestFailure { method: method(), error: "busy".into() },
                "busy",
                Reason::Transient,
            ),
            (
                ProxyError::RequestReturned("write |1: broken pipe".into()),
                "write |1: broken pipe",
                Reason::BrokenPipe,
            ),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.to_string().as_str(), failure.reason()), (text, reason));
        }
        let spawn = ProxyError::SkopeoSpawnError(io::Error::from_raw_os_error(2));
        let text = Failure::from(spawn).to_string();
        assert!(
            text.starts_with("cannot run skopeo: ") && text.ends_with("; install the package skopeo"),
            "{text}"
        );
    }

    #[test]
    fn what_may_pass_is_found_below_the_context() {
        let of = |message: &str| -> Result<()> {
            Err(Failure::from_message(message.into())).context(|| "cannot open x".into())
        };
        assert!(is_transient(&of("dial tcp: connect: Connection refused").unwrap_err()));
        assert!(!is_transient(&of("manifest unknown").unwrap_err()));
        let io: Result<()> = Err(io::Error::from(io::ErrorKind::ConnectionRefused)).context(|| "x".into());
        assert!(is_transient(&io.context(|| "y".into()).unwrap_err()));
    }
}
