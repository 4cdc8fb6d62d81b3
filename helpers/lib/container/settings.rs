//! What an administrator decides about a container, `-o KEY=VALUE`: recorded in the deployment, and kept by updates.
//!
//! Keys are named as in podman-systemd.unit(5) where that has them. Like there, and in unit files, a key that may be
//! repeated collects its values, and an empty value removes those that were given before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A key that may be set.
#[derive(Debug)]
pub struct Key {
    /// Its name, as it is written.
    pub name: &'static str,
    /// Whether it may have several values.
    pub repeats: bool,
    /// Fails if a text is none of its values.
    pub check: fn(&str) -> Result<()>,
}

/// Whether the root file system is read-only.
pub const READ_ONLY: &str = "ReadOnly";

/// What the container is called, if not as the host.
pub const HOST_NAME: &str = "HostName";

/// How much the payload may write to its root file system.
pub const SCRATCH_SIZE: &str = "ScratchSize";

/// All keys, sorted by name.
pub const KEYS: &[Key] = &[
    Key { name: HOST_NAME, repeats: false, check: check_host_name },
    Key { name: READ_ONLY, repeats: false, check: check_boolean },
    Key { name: SCRATCH_SIZE, repeats: false, check: check_size },
];

/// Length of a host name at most, which is the kernel's.
const HOST_NAME_MAX: usize = 64;

/// The keys that are set, with their values in order. Never one without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Vec<String>>);

/// A key and its new value, which is empty if the key is to be unset.
#[derive(Clone, Debug)]
pub struct Assignment {
    key: &'static Key,
    value: String,
}

impl std::str::FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Assignment> {
        let (name, value) = text.split_once('=').ok_or_else(|| Error::usage("expected KEY=VALUE"))?;
        let key = KEYS.iter().find(|key| key.name == name);
        let key = key.ok_or_else(|| Error::usage(format!("there is no key {name:?}{}", suggestion(name))))?;
        if !value.is_empty() {
            (key.check)(value).map_err(|e| Error::usage(format!("invalid {name}={value}: {e}")))?;
        }
        Ok(Assignment { key, value: value.to_owned() })
    }
}

/// The key that somebody may have meant who wrote it in another case.
fn suggestion(name: &str) -> String {
    let meant = KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name));
    meant.map_or_else(String::new, |key| format!("; did you mean {}=?", key.name))
}

impl Settings {
    /// Applies an assignment.
    pub fn assign(&mut self, assignment: &Assignment) {
        let Assignment { key, value } = assignment;
        if value.is_empty() {
            self.0.remove(key.name);
            return;
        }
        let values = self.0.entry(key.name.to_owned()).or_default();
        if !key.repeats {
            values.clear();
        }
        if !values.contains(value) {
            values.push(value.clone());
        }
    }

    /// The values of a key, in order.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// The value of a key that has one at most.
    pub fn last(&self, key: &str) -> Option<&str> {
        self.all(key).last()
    }

    /// Whether a boolean key is set to true.
    pub fn is_on(&self, key: &str) -> bool {
        self.last(key).and_then(boolean) == Some(true)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys that are set, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

/// A size in bytes as systemd reads it, K, M, G and T being powers of 1024; `None` for what is not one, or 0.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let power = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << (10 * power)).filter(|size| *size > 0)
}

/// [`Key::check`] of sizes.
fn check_size(text: &str) -> Result<()> {
    size(text).map(|_| ()).ok_or_else(|| Error::new("it is not a size, such as 512M or 2G"))
}

/// A boolean as systemd reads it.
pub fn boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text {
        _ if is_one_of(&["1", "yes", "y", "true", "t", "on"]) => Some(true),
        _ if is_one_of(&["0", "no", "n", "false", "f", "off"]) => Some(false),
        _ => None,
    }
}

/// [`Key::check`] of host names.
fn check_host_name(text: &str) -> Result<()> {
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(is_good) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() > HOST_NAME_MAX {
        return Err(Error::new(format!("a host name has {HOST_NAME_MAX} characters at most")));
    }
    if text.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::new("it is not a host name: letters, digits and hyphens, in parts that are separated by dots"))
}

/// [`Key::check`] of boolean keys.
pub fn check_boolean(text: &str) -> Result<()> {
    boolean(text).map(|_| ()).ok_or_else(|| Error::new("it is neither yes nor no"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_host_names() {
        let sizes = [
            ("1", Some(1)),
            ("2k", Some(2048)),
            ("512M", Some(512 << 20)),
            ("3G", Some(3 << 30)),
            ("1TB", None),
        ];
        let bad = ["", "M", "0", "-1", "1.5G", "99999999999T", "1 M"].map(|text| (text, None));
        for (text, expected) in sizes.into_iter().chain(bad) {
            assert_eq!(size(text), expected, "{text}");
        }
        let long = "a".repeat(65);
        for bad in ["a b", "-a", "a-", "a.", ".a", "a..b", "ä", &long] {
            assert!(check_host_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "web-1.example", &long[1..]] {
            assert!(check_host_name(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn keys_are_sorted() {
        assert!(KEYS.is_sorted_by_key(|key| key.name));
    }
}
