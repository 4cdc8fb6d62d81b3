//! What this host cannot do of what a runtime configuration asks for. Runtimes refuse such a configuration as a whole, while
//! images are made for hosts of all kinds.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::oci::capabilities;

/// What matters of the running host.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Whether it labels files and processes.
    pub selinux: bool,
    /// Whether it has profiles for processes.
    pub apparmor: bool,
    /// The capabilities that a process here can have at all, a bit each.
    pub capabilities: u64,
}

impl Host {
    /// Looks at the running host.
    pub fn look() -> Result<Host> {
        let path = "/proc/self/status";
        let what = || format!("cannot read {path}");
        let status = fs::read_to_string(path).context(what)?;
        let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let bounding = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        let apparmor =
            fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
        Ok(Host {
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            apparmor,
            capabilities: bounding.ok_or_else(|| Error::new("it has no CapBnd")).context(what)?,
        })
    }

    /// Takes out of a configuration what cannot be had here; returns what that was.
    pub fn adapt(&self, config: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        for (pointer, key, is_there) in [
            ("/process", "selinuxLabel", self.selinux),
            ("/linux", "mountLabel", self.selinux),
            ("/process", "apparmorProfile", self.apparmor),
        ] {
            let object = config.pointer_mut(pointer).and_then(Value::as_object_mut).filter(|_| !is_there);
            if object.and_then(|object| object.remove(key)).is_some_and(|value| value != "") {
                dropped.push(format!("{}.{key}", &pointer[1..]));
            }
        }
        let sets = config.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
        for list in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
            list.retain(|name| {
                let name = name.as_str().unwrap_or_default();
                let is_there = self.has(name);
                if !is_there && !dropped.iter().any(|other| other == name) {
                    dropped.push(name.to_owned());
                }
                is_there
            });
        }
        dropped
    }

    /// Names that are not known here are the runtime's to judge.
    fn has(&self, capability: &str) -> bool {
        capabilities::number(capability).is_none_or(|number| self.capabilities & (1 << number) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drops_what_is_not_there() {
        let config = json!({
            "process": {
                "selinuxLabel": "a:b:c", "apparmorProfile": "",
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_OF_TOMORROW"], "ambient": ["CAP_KILL"]}
            },
            "linux": {"mountLabel": "a"}
        });
        let mut bare = config.clone();
        let host = Host { selinux: false, apparmor: false, capabilities: 1 };
        assert_eq!(host.adapt(&mut bare), ["process.selinuxLabel", "linux.mountLabel", "CAP_KILL"]);
        assert_eq!(
            bare,
            json!({
                "process": {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_OF_TOMORROW"], "ambient": []}},
                "linux": {}
            })
        );
        let mut whole = config.clone();
        assert!(Host { selinux: true, apparmor: true, capabilities: u64::MAX }.adapt(&mut whole).is_empty());
        assert_eq!(whole, config);
    }
}
