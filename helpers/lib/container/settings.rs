//! What an administrator decides about a container, `-o KEY=VALUE`: recorded in the deployment, and kept by updates.
//!
//! Keys are named as in podman-systemd.unit(5) where that has them. Like there, and in unit files, a key that may be
//! repeated collects its values, and an empty value removes those that were given before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::program::timespan;
use crate::signal;

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

/// All keys, sorted by name.
pub const KEYS: &[Key] = &[
    Key { name: STOP_SIGNAL, repeats: false, check: check_signal },
    Key { name: STOP_TIMEOUT, repeats: false, check: check_timeout },
];

/// The signal that asks the payload to end.
pub const STOP_SIGNAL: &str = "StopSignal";
/// How long the payload may take to end after that.
pub const STOP_TIMEOUT: &str = "StopTimeout";

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

/// A boolean as systemd reads it.
pub fn boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text {
        _ if is_one_of(&["1", "yes", "y", "true", "t", "on"]) => Some(true),
        _ if is_one_of(&["0", "no", "n", "false", "f", "off"]) => Some(false),
        _ => None,
    }
}

/// [`Key::check`] of boolean keys.
pub fn check_boolean(text: &str) -> Result<()> {
    boolean(text).map(|_| ()).ok_or_else(|| Error::new("it is neither yes nor no"))
}

fn check_signal(text: &str) -> Result<()> {
    let why = || Error::new("it is not a signal; write it as SIGINT, INT or 2");
    signal::number(text).map(|_| ()).ok_or_else(why)
}

fn check_timeout(text: &str) -> Result<()> {
    if timespan::parse(text)?.is_zero() {
        // systemd takes it for infinity.
        return Err(Error::new("a payload needs time to end; write 'infinity' for no limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_checked() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for good in
            ["StopSignal=SIGRTMIN+3", "StopSignal=int", "StopTimeout=1min 30s", "StopTimeout=infinity"]
        {
            good.parse::<Assignment>().unwrap();
        }
        for (bad, why) in [
            (
                "StopSignal=SIGNOTHING",
                "invalid StopSignal=SIGNOTHING: it is not a signal; write it as SIGINT, INT or 2",
            ),
            (
                "StopTimeout=0",
                "invalid StopTimeout=0: a payload needs time to end; write 'infinity' for no limit",
            ),
            ("StopTimeout=soon", "invalid StopTimeout=soon: invalid time span \"soon\""),
            ("stopsignal=INT", "there is no key \"stopsignal\"; did you mean StopSignal=?"),
        ] {
            let error = bad.parse::<Assignment>().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
