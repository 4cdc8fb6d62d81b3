//! What an administrator decides about a container, `-o KEY=VALUE`: recorded in the deployment, and kept by updates.
//!
//! Keys are named as in podman-systemd.unit(5) where that has them. Like there, and in unit files, a key that may be
//! repeated collects its values, and an empty value removes those that were given before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container::keys::mounts::UserMount;
use crate::container::keys::payload::Namespace;
use crate::container::keys::{devices, host_name, limits, mounts, payload, stop, systemd, words};
use crate::container::output;
use crate::container::readiness::UserNotify;
use crate::error::{Error, Result};

pub use crate::container::keys::boolean::{boolean, check_boolean};
use Scope::{All, Plain, Written};

/// A key that may be set.
#[derive(Debug)]
pub struct Key {
    /// Its name, as it is written.
    pub name: &'static str,
    /// The images that it is for.
    pub scope: Scope,
    /// Whether it may have several values.
    pub repeats: bool,
    /// Fails if a text is not one of its values.
    pub check: fn(&str) -> Result<()>,
}

/// The images that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them: it is not about the runtime's configuration.
    All,
    /// Those whose payload may write to its root file system.
    Written,
    /// Those without a configuration of their own, which says itself what the key is about.
    Plain,
}

/// Whether the root file system is read-only.
pub const READ_ONLY: &str = "ReadOnly";

/// What the container is called, if not as the host.
pub const HOST_NAME: &str = "HostName";

/// How much the payload may write to its root file system.
pub const SCRATCH_SIZE: &str = "ScratchSize";

/// All keys, sorted by name.
pub const KEYS: &[Key] = &[
    Key { name: "AddCapability", scope: Plain, repeats: true, check: payload::check_capabilities },
    Key { name: "AddDevice", scope: Plain, repeats: true, check: devices::check_device },
    Key { name: "DropCapability", scope: Plain, repeats: true, check: payload::check_capabilities },
    Key { name: "Entrypoint", scope: Plain, repeats: false, check: payload::check_entrypoint },
    Key { name: "Environment", scope: Plain, repeats: true, check: payload::check_assignments },
    Key { name: "EnvironmentFile", scope: Plain, repeats: true, check: mounts::check_path },
    Key { name: "Exec", scope: Plain, repeats: false, check: payload::check_command },
    Key { name: "Group", scope: Plain, repeats: false, check: payload::check_group },
    Key { name: HOST_NAME, scope: Plain, repeats: false, check: host_name::check },
    Key { name: "IpcNamespace", scope: Plain, repeats: false, check: payload::check_namespace },
    Key { name: "Label", scope: All, repeats: true, check: payload::check_assignments },
    Key { name: "Mount", scope: Plain, repeats: true, check: mounts::check_mount },
    Key { name: "Network", scope: Plain, repeats: false, check: payload::check_network },
    Key { name: "NoNewPrivileges", scope: Plain, repeats: false, check: check_boolean },
    Key { name: "Notify", scope: All, repeats: false, check: payload::check_notify },
    Key { name: output::KEY, scope: All, repeats: false, check: output::check },
    Key { name: "PidNamespace", scope: Plain, repeats: false, check: payload::check_namespace },
    Key { name: READ_ONLY, scope: Plain, repeats: false, check: check_boolean },
    Key { name: SCRATCH_SIZE, scope: Written, repeats: false, check: limits::check_size },
    Key { name: "ShmSize", scope: Plain, repeats: false, check: limits::check_size },
    Key { name: STOP_SIGNAL, scope: All, repeats: false, check: stop::check_signal },
    Key { name: STOP_TIMEOUT, scope: All, repeats: false, check: stop::check_timeout },
    Key { name: systemd::KEY, scope: Plain, repeats: false, check: systemd::check },
    Key { name: "Timezone", scope: Plain, repeats: false, check: payload::check_timezone },
    Key { name: "Tmpfs", scope: Plain, repeats: true, check: mounts::check_tmpfs },
    Key { name: "Ulimit", scope: Plain, repeats: true, check: limits::check_ulimit },
    Key { name: "User", scope: Plain, repeats: false, check: payload::check_user },
    Key { name: "Volume", scope: Plain, repeats: true, check: mounts::check_volume },
    Key { name: "WorkingDir", scope: Plain, repeats: false, check: mounts::check_path },
];

/// The signal that asks the payload to end.
pub const STOP_SIGNAL: &str = "StopSignal";
/// How long the payload may take to end after that.
pub const STOP_TIMEOUT: &str = "StopTimeout";

/// Other names of keys, which people know from elsewhere.
const ALIASES: &[(&str, &str)] = &[("Device", "AddDevice")];

/// The keys whose values are assignments, of which some may be secret.
const ASSIGNMENTS: &[&str] = &["Environment"];

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
        Assignment::parse(text)
            .map_err(|e| Error::usage(format!("{e}; see KEYS in syscontainer-checkout(8)")))
    }
}

impl Assignment {
    fn parse(text: &str) -> Result<Assignment> {
        let (name, value) = text.split_once('=').ok_or_else(|| Error::usage("expected KEY=VALUE"))?;
        let key =
            key(name).ok_or_else(|| Error::usage(format!("there is no key {name:?}{}", suggestion(name))))?;
        // A value that may be secret is not shown.
        let shown = if ASSIGNMENTS.contains(&key.name) { "" } else { value };
        Assignment::new(key, value).map_err(|e| Error::usage(format!("invalid {name}={shown}: {e}")))
    }

    /// An assignment of this value, if it is one of the key's, or empty.
    pub fn new(key: &'static Key, value: &str) -> Result<Assignment> {
        if !value.is_empty() {
            (key.check)(value)?;
        }
        Ok(Assignment { key, value: value.to_owned() })
    }

    /// The name of the key.
    pub fn key(&self) -> &'static str {
        self.key.name
    }

    /// The new value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    let known = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| known);
    KEYS.iter().find(|key| key.name == known)
}

/// The key that somebody may have meant who wrote it in another case.
fn suggestion(name: &str) -> String {
    let meant = KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name));
    meant.map_or_else(String::new, |key| format!("; did you mean {}=?", key.name))
}

impl Settings {
    /// The settings that these assignments make.
    #[cfg(test)]
    pub fn of(texts: &[&str]) -> Settings {
        let mut settings = Settings::default();
        texts.iter().for_each(|text| settings.assign(&text.parse().expect("an assignment")));
        settings
    }

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
        // Of several that contradict each other, the last one counts.
        values.retain(|other| other != value);
        values.push(value.clone());
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

    /// The names of keys that are set and have this scope. One that this version does not know, which is one of
    /// another, is for plain images.
    pub fn of_scope(&self, scope: Scope) -> impl Iterator<Item = &str> {
        let scope_of =
            |name: &str| KEYS.iter().find(|key| key.name == name).map_or(Scope::Plain, |key| key.scope);
        self.0.keys().map(String::as_str).filter(move |name| scope_of(name) == scope)
    }

    /// What `Volume=`, `Tmpfs=` and `Mount=` mount, in this order. Values that this version does not know, which are those
    /// of another one, are left out.
    pub fn mounts(&self) -> Vec<UserMount> {
        let parsers =
            [("Volume", mounts::volume as fn(&str) -> _), ("Tmpfs", mounts::tmpfs), ("Mount", mounts::mount)];
        parsers.iter().flat_map(|(key, parse)| self.all(key).filter_map(|text| parse(text).ok())).collect()
    }

    /// The network that `Network=` says.
    pub fn network(&self) -> Option<Namespace> {
        self.last("Network").and_then(|text| payload::network(text).ok())
    }

    /// Whether a namespace is the host's.
    pub fn shares(&self, key: &str) -> bool {
        self.last(key).and_then(|text| payload::namespace(text).ok()) == Some(Namespace::Host)
    }

    /// The file that `Timezone=` stands for.
    pub fn timezone(&self) -> Option<PathBuf> {
        self.last("Timezone").and_then(|text| payload::timezone(text).ok())
    }

    /// How the payload notifies systemd, if `Notify=` says that.
    pub fn notify(&self) -> Option<UserNotify> {
        self.last("Notify").and_then(|text| payload::notify(text).ok())
    }

    /// The variables that `Environment=` sets, with their values.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.all("Environment").flat_map(|text| payload::assignments(text).unwrap_or_default()).collect()
    }

    /// These settings with `mask` in place of the values of variables that are secret.
    pub fn masked(&self, is_secret: impl Fn(&str) -> bool, mask: &str) -> Settings {
        let mut masked = self.clone();
        let assignments = masked.0.iter_mut().filter(|(key, _)| ASSIGNMENTS.contains(&key.as_str()));
        for value in assignments.flat_map(|(_, values)| values) {
            let pairs = payload::assignments(value).unwrap_or_default();
            if pairs.iter().any(|(name, _)| is_secret(name)) {
                let shown = pairs.iter().map(|(name, value)| {
                    words::quoted(&format!("{name}={}", if is_secret(name) { mask } else { value }))
                });
                *value = shown.collect::<Vec<_>>().join(" ");
            }
        }
        masked
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

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(settings: &mut Settings, text: &str) {
        settings.assign(&text.parse().unwrap());
    }

    #[test]
    fn keys_are_sorted_and_each_is_there_once() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(ALIASES.iter().all(|(_, name)| KEYS.iter().any(|key| key.name == *name)));
    }

    #[test]
    fn values_are_collected_replaced_and_removed() {
        let mut settings = Settings::default();
        for text in [
            "User=a",
            "User=b",
            "Volume=/a:/b",
            "Volume=/c:/d",
            "Volume=/a:/b",
            "Device=/dev/fuse",
            "Label=a=b",
        ] {
            assign(&mut settings, text);
        }
        assert_eq!(settings.all("User").collect::<Vec<_>>(), ["b"]);
        assert_eq!(settings.all("Volume").collect::<Vec<_>>(), ["/c:/d", "/a:/b"]);
        assert_eq!(settings.last("AddDevice"), Some("/dev/fuse"));
        assert_eq!(settings.of_scope(Scope::Plain).collect::<Vec<_>>(), ["AddDevice", "User", "Volume"]);
        for text in ["User=", "Volume=", "AddDevice=", "Label="] {
            assign(&mut settings, text);
        }
        assert!(settings.is_empty());
    }

    #[test]
    fn the_last_value_of_a_variable_counts_also_if_it_was_given_before() {
        let mut settings = Settings::default();
        ["Environment=A=1 B=1", "Environment=A=2", "Environment=A=1 B=1"]
            .iter()
            .for_each(|text| assign(&mut settings, text));
        let expected = [("A".to_owned(), "1".to_owned()), ("B".into(), "1".into())];
        assert_eq!(settings.environment(), expected.into());
    }

    #[test]
    fn what_is_no_value_is_refused_and_not_shown_if_it_may_be_secret() {
        for (text, expected) in [
            ("x", "expected KEY=VALUE"),
            ("user=x", "there is no key \"user\"; did you mean User=?"),
            ("Pod=x", "there is no key \"Pod\""),
            ("Ulimit=x", "invalid Ulimit=x: expected NAME=SOFT[:HARD], as in nofile=1024:4096"),
            (
                "Environment=PASSWORD=half secret",
                "invalid Environment=: expected NAME=VALUE; quote a value that contains white space",
            ),
        ] {
            let error = text.parse::<Assignment>().unwrap_err();
            let expected = format!("{expected}; see KEYS in syscontainer-checkout(8)");
            assert!(error.is_usage() && error.to_string() == expected, "{error}");
        }
    }

    #[test]
    fn secret_values_are_masked() {
        let mut settings = Settings::default();
        for text in ["Environment=A=b 'PW=c d'", "Environment=C=x\\ty", "Label=PW=x"] {
            if let Ok(assignment) = text.parse() {
                settings.assign(&assignment);
            }
        }
        let masked = settings.masked(|name| name == "PW", "***");
        assert_eq!(masked.all("Environment").collect::<Vec<_>>(), ["A=b PW=***", "C=x\\ty"]);
        assert_eq!(masked.last("Label"), Some("PW=x"));
        assert_eq!(settings.masked(|_| false, "***"), settings);
    }
}
