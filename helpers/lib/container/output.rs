//! Where what a payload prints goes.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What standard output and standard error of a payload are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// What systemd has for the unit. That is a socket of the journal, which nobody can open by name.
    Journal,
    /// A pipe, which syscontainer-relay reads.
    Pipe,
}

/// The key by which an administrator decides that.
pub const KEY: &str = "Output";

/// How many pipes there may be, one for each of the two.
pub const PIPES: usize = 2;

impl Output {
    /// What it is where the key is absent.
    pub fn journal() -> Output {
        Output::Journal
    }

    /// What a value of [`KEY`] says; `None` if that is to be found out.
    pub fn chosen(value: Option<&str>) -> Option<Output> {
        match value {
            Some("journal") => Some(Output::Journal),
            Some("pipe") => Some(Output::Pipe),
            _ => None,
        }
    }

    /// Whether it is the one that needs nothing of ours.
    pub fn is_journal(&self) -> bool {
        *self == Output::Journal
    }
}

/// Fails if a text is not a value of [`KEY`].
pub fn check(value: &str) -> Result<()> {
    match value {
        "auto" => Ok(()),
        _ if Output::chosen(Some(value)).is_some() => Ok(()),
        _ => Err(Error::new("expected auto, journal or pipe")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_of_three() {
        for (value, chosen) in
            [("auto", None), ("journal", Some(Output::Journal)), ("pipe", Some(Output::Pipe))]
        {
            assert!(check(value).is_ok(), "{value}");
            assert_eq!(Output::chosen(Some(value)), chosen);
        }
        for value in ["Pipe", "none", " pipe"] {
            assert!(check(value).is_err(), "{value}");
        }
        assert_eq!(Output::chosen(None), None);
    }
}
