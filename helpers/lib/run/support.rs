//! Parts of a runtime configuration that this host does not support. Runtimes would refuse the whole configuration, but
//! images are made for all kinds of hosts.

use std::fs;

use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::oci::capabilities;
use crate::paths::Root;

/// What the running host supports.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// The capabilities that processes can have here, as a bit mask.
    pub capabilities: u64,
}

impl Host {
    /// Finds out what a host supports, by what its kernel shows below `root`.
    pub fn look(root: &Root) -> Result<Host> {
        let path = "/proc/self/status";
        let what = || format!("cannot read {path}");
        let status = fs::read_to_string(root.join(path)).context(what)?;
        let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let bounding = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        let apparmor = fs::read(root.join("/sys/module/apparmor/parameters/enabled"));
        let apparmor = apparmor.is_ok_and(|text| text.starts_with(b"Y"));
        Ok(Host {
            selinux: root.join("/sys/fs/selinux/enforce").exists(),
            apparmor,
            capabilities: bounding.ok_or_else(|| Error::new("it has no CapBnd")).context(what)?,
        })
    }

    /// Removes from a configuration what the host does not support; returns the names of what was removed.
    pub fn adapt(&self, config: &mut BundleConfig) -> Result<Vec<String>> {
        let mut dropped = Vec::new();
        for (object, key, is_there) in [
            ("process", "selinuxLabel", self.selinux),
            ("linux", "mountLabel", self.selinux),
            ("process", "apparmorProfile", self.apparmor),
        ] {
            let keys = if object == "linux" { config.linux_mut()? } else { config.process_mut()? };
            let removed = if is_there { None } else { keys.remove(key) };
            if removed.is_some_and(|value| value != "") {
                dropped.push(format!("{object}.{key}"));
            }
        }
        let sets = config.process_mut()?.get_mut("capabilities").and_then(Value::as_object_mut);
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
        Ok(dropped)
    }

    /// Unknown names are left to the runtime.
    fn has(&self, capability: &str) -> bool {
        capabilities::number(capability).is_none_or(|number| self.capabilities & (1 << number) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_host_is_what_its_kernel_shows() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(Host::look(&root).is_err());
        write("proc/self/status", "Name:\tx\nCapBnd:\t0000000000000003\n");
        let bare = Host::look(&root).unwrap();
        assert_eq!((bare.selinux, bare.apparmor, bare.capabilities), (false, false, 3));
        write("sys/module/apparmor/parameters/enabled", "N\n");
        assert!(!Host::look(&root).unwrap().apparmor);
        write("sys/module/apparmor/parameters/enabled", "Y\n");
        write("sys/fs/selinux/enforce", "0");
        let both = Host::look(&root).unwrap();
        assert!(both.selinux && both.apparmor);
    }

    #[test]
    fn removes_what_is_not_supported() {
        let config = BundleConfig::of(json!({
            "process": {
                "selinuxLabel": "a:b:c", "apparmorProfile": "",
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_OF_TOMORROW"], "ambient": ["CAP_KILL"]}
            },
            "linux": {"mountLabel": "a"}
        }));
        let mut bare = config.clone();
        let host = Host { selinux: false, apparmor: false, capabilities: 1 };
        assert_eq!(host.adapt(&mut bare).unwrap(), ["process.selinuxLabel", "linux.mountLabel", "CAP_KILL"]);
        assert_eq!(
            bare,
            BundleConfig::of(json!({
                "process": {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_OF_TOMORROW"], "ambient": []}},
            }))
        );
        let mut whole = config.clone();
        let host = Host { selinux: true, apparmor: true, capabilities: u64::MAX };
        assert!(host.adapt(&mut whole).unwrap().is_empty());
        assert_eq!(whole, config);
    }
}
