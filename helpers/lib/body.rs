//! The units of a container: stub and body, composed from its registration.

use std::path::Path;

use crate::error::Result;
use crate::name::Name;
use crate::registration::Registration;

/// The stub: description, marker and `[Install]`, what `systemctl enable` works on.
pub fn stub(_registration: &Registration) -> Result<String> {
    Ok(String::new())
}

/// The generated body of a good registration that was read from `source`.
pub fn compose(_registration: &Registration, _source: &Path) -> Result<String> {
    Ok(String::new())
}

/// A body that says what is wrong: for a registration that cannot be converted.
pub fn expansion(_v: &str, _n: &Name) -> String {
    String::new()
}
/// X
pub fn broken(_name: &Name, _source: &Path, _reason: &str) -> String {
    String::new()
}
