//! The error type of this package: what was attempted, and why it failed.
//!
//! Causes are boxed, so that programs do not link libraries only for the types of their errors.

use std::error::Error as StdError;
use std::fmt;

/// Result with the error of this package.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn StdError + Send + Sync>;

/// What was being attempted, and why it failed; displays as `what: cause`, one line, outermost first.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: Option<Cause>,
    kind: Kind,
}

/// Kinds of failures that callers distinguish, by the exit status of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Something failed: 1.
    #[default]
    Failure,
    /// A usage error, a call that can never work: 2.
    Usage,
    /// What was named does not exist: 3.
    NotFound,
    /// A new deployment failed, and the switch was reverted: 4.
    Reverted,
    /// Something is damaged: 5.
    Damaged,
    /// An update brings what the user has to accept first: 6.
    Unaccepted,
}

impl Error {
    /// An error without a cause.
    pub fn new(what: impl Into<String>) -> Self {
        Error { what: what.into(), cause: None, kind: Kind::Failure }
    }

    /// A usage error: exit status 2 instead of 1.
    pub fn usage(what: impl Into<String>) -> Self {
        Error { what: what.into(), cause: None, kind: Kind::Usage }
    }

    /// What the caller named does not exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Error { what: what.into(), cause: None, kind: Kind::NotFound }
    }

    /// A new deployment failed, and the switch was reverted.
    pub fn reverted(what: impl Into<String>) -> Self {
        Error { what: what.into(), cause: None, kind: Kind::Reverted }
    }

    /// An error of a kind that has no constructor of its own.
    pub fn of_kind(kind: Kind, what: impl Into<String>) -> Self {
        Error { what: what.into(), cause: None, kind }
    }

    /// The kind of the failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is a usage error.
    pub fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let mut cause = self.cause.as_deref().map(|c| c as &dyn StdError);
        while let Some(c) = cause {
            write!(f, ": {c}")?;
            // Our own Display already prints the rest of its chain.
            cause = if c.is::<Error>() { None } else { c.source() };
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|c| c as &(dyn StdError + 'static))
    }
}

/// Adds what was being attempted to an error.
pub trait Context<T> {
    /// `what` has the form `cannot VERB OBJECT`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| {
            let cause = e.into();
            let kind = cause.downcast_ref::<Error>().map_or(Kind::Failure, Error::kind);
            Error { what: what(), cause: Some(cause), kind }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_the_whole_chain_once() {
        let io = std::io::Error::from_raw_os_error(2);
        let inner: Result<()> = Err(io).context(|| "cannot read /x".into());
        let outer = inner.context(|| "cannot prepare etcd".into()).unwrap_err();
        assert_eq!(
            outer.to_string(),
            "cannot prepare etcd: cannot read /x: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn usage_survives_context() {
        let e: Result<()> = Err(Error::usage("bad"));
        assert!(e.context(|| "x".into()).unwrap_err().is_usage());
    }
}
