//! `--unset`: values that the user takes back.

use std::collections::BTreeSet;

use crate::container::settings;
use crate::error::{Error, Result};
use crate::install::previous::Previous;

/// Fails for variables of which nothing was set or marked, as they may be mistyped.
pub fn check(previous: &Previous, unset: &BTreeSet<String>) -> Result<()> {
    let Previous { user_values, user_secrets, image_secrets, .. } = previous;
    let known: BTreeSet<&String> = user_values.keys().chain(user_secrets).chain(image_secrets).collect();
    let Some(name) = unset.iter().find(|name| !known.contains(name)) else { return Ok(()) };
    Err(Error::new(match settings::key(name) {
        Some(key) => format!("cannot unset {name}: it is a key, not a variable; use '-o {}='", key.name),
        None if known.is_empty() => {
            format!("cannot unset {name}: it is not set, and neither is any other variable")
        }
        None => {
            let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
            format!("cannot unset {name}: it is not set; what is set: {}", known.join(", "))
        }
    }))
}
