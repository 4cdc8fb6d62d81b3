//! Whether a payload gets what systemd needs as process 1: `Systemd=`.

use crate::error::{Error, Result};

/// The key by which an administrator decides that.
pub const KEY: &str = "Systemd";

/// When a payload is taken for systemd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// If its command looks like it.
    #[default]
    Auto,
    /// Whatever its command is.
    Always,
    /// Never.
    No,
}

impl Mode {
    /// What a value of [`KEY`] says.
    pub fn parse(value: &str) -> Result<Mode> {
        match value {
            "auto" => Ok(Mode::Auto),
            "always" => Ok(Mode::Always),
            "no" => Ok(Mode::No),
            _ => Err(Error::new("expected auto, always or no")),
        }
    }
}

/// Fails if a text is no value of [`KEY`].
pub fn check(value: &str) -> Result<()> {
    Mode::parse(value).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_of_three() {
        for (value, mode) in [("auto", Mode::Auto), ("always", Mode::Always), ("no", Mode::No)] {
            assert_eq!(Mode::parse(value).unwrap(), mode);
        }
        for value in ["yes", "false", "No", " no"] {
            assert!(check(value).is_err(), "{value}");
        }
    }
}
