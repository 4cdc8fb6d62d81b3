//! Limits of the unit, as a payload sees them that has a cgroup of its own below the unit's, which runc makes.
//!
//! The limits are those of the unit's cgroup, where systemd sets and changes them. A payload whose cgroup namespace begins
//! below would find none: so its own files are covered with the unit's.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::run::bundle::Bundle;
use crate::system::{cgroup, record};

/// Where payloads look for their limits.
const CGROUP: &str = "/sys/fs/cgroup";
/// What systemd sets, and programs read.
const FILES: [&str; 6] =
    ["cpu.max", "cpu.weight", "memory.high", "memory.max", "memory.swap.max", "pids.max"];

/// Has the runtime run the payload of a bundle in this cgroup, below the unit's, whose limits the payload sees there. One
/// that is systemd gets a cgroup below it, which is its own.
pub fn set_cgroup(bundle: &Bundle, payload: &Path, is_systemd: bool) -> Result<()> {
    let path = bundle.config();
    let what = || format!("cannot set the cgroup in {}", path.display());
    let text = fs::read(&path).context(what)?;
    let mut config = BundleConfig::read_back(&text).context(what)?;
    show(&mut config, &cgroup::above(payload)).context(what)?;
    let own = is_systemd.then(|| cgroup::delegate(payload)).transpose()?;
    let payload = own.as_deref().unwrap_or(payload);
    let linux = config.linux_mut().context(what)?;
    linux.insert("cgroupsPath".into(), payload.to_string_lossy().into());
    record::save_volatile(&path, &config)
}

/// Has a configuration show the limits in the cgroup `unit`, a directory on the host, if it shows cgroups at all.
fn show(config: &mut BundleConfig, unit: &Path) -> Result<()> {
    let mounts = config.mounts_mut()?;
    let is_cgroup = |mount: &Value| mount["destination"] == CGROUP && mount["type"] == "cgroup";
    if !mounts.iter().any(is_cgroup) {
        return Ok(());
    }
    // Without its controller, a file is in neither cgroup.
    let there = FILES.iter().map(|file| (file, unit.join(file))).filter(|(_, path)| path.exists());
    mounts.extend(there.map(|(file, path)| {
        json!({
            "destination": format!("{CGROUP}/{file}"), "type": "bind", "source": path.to_string_lossy(),
            "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
        })
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_where_cgroups_are() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["memory.max", "memory.current"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let mut config = BundleConfig::of(json!({"mounts": [{"destination": CGROUP, "type": "cgroup"}]}));
        show(&mut config, dir.path()).unwrap();
        // The first one is of /dev.
        let mounts = config.value()["mounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[2]["destination"], "/sys/fs/cgroup/memory.max");
        assert_eq!(mounts[2]["source"], dir.path().join("memory.max").to_str().unwrap());
        assert!(mounts[2]["options"].as_array().unwrap().contains(&json!("ro")));
        let other = json!({"mounts": [{"destination": CGROUP, "type": "bind", "source": CGROUP}]});
        let other = BundleConfig::of(other);
        let mut same = other.clone();
        show(&mut same, dir.path()).unwrap();
        assert_eq!(same, other);
    }
}
