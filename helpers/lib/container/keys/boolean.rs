//! Booleans as unit files have them.

use crate::error::{Error, Result};

/// A boolean as systemd reads it.
pub fn boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text {
        _ if is_one_of(&["1", "yes", "y", "true", "t", "on"]) => Some(true),
        _ if is_one_of(&["0", "no", "n", "false", "f", "off"]) => Some(false),
        _ => None,
    }
}

/// [`crate::container::settings::Key::check`] of boolean keys.
pub fn check_boolean(text: &str) -> Result<()> {
    boolean(text).map(|_| ()).ok_or_else(|| Error::new("it is neither yes nor no"))
}
