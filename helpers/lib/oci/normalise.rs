//! The upgrade of old configurations: what runtimes took before OCI 1.0 becomes what crun and runc of today take.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::oci::mount::Mount;

/// Returns whether runtimes of today accept a configuration of this version.
pub fn is_released(version: &str) -> bool {
    version.starts_with("1.") && !version.contains('-')
}

/// Rewrites a configuration in place. What is not an object stays as it is.
pub(super) fn normalise(config: &mut Value) {
    drop_nulls(config);
    let Some(config) = config.as_object_mut() else { return };
    if !config.get("ociVersion").and_then(Value::as_str).is_some_and(is_released) {
        config.insert("ociVersion".into(), json!("1.0.2"));
    }
    // Gone since 1.0; no runtime reads it.
    config.remove("platform");
    let mut linux = take_object(config, "linux");
    let mut process = take_object(config, "process");
    for (old, new) in
        [("capabilities", "capabilities"), ("rlimits", "rlimits"), ("selinuxProcessLabel", "selinuxLabel")]
    {
        if let Some(value) = linux.remove(old) {
            process.entry(new).or_insert(value);
        }
    }
    if linux.get("seccomp").and_then(|s| s.get("defaultAction")).is_some_and(|action| action == "") {
        linux.remove("seccomp");
    }
    normalise_process(&mut process);
    config.insert("process".into(), Value::Object(process));
    config.insert("linux".into(), Value::Object(linux));
    normalise_mounts(config);
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn take_object(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn normalise_process(process: &mut Map<String, Value>) {
    // Services have no terminal, and runtimes refuse a console size without one.
    process.insert("terminal".into(), json!(false));
    process.remove("consoleSize");
    let user = process.entry("user").or_insert_with(|| json!({}));
    if let Some(user) = user.as_object_mut() {
        user.entry("uid").or_insert(json!(0));
        user.entry("gid").or_insert(json!(0));
    }
    if process.get("cwd").is_none_or(|cwd| cwd == "") {
        process.insert("cwd".into(), json!("/"));
    }
    if let Some(list @ Value::Array(_)) = process.get("capabilities") {
        // Before 1.0 the list meant every set but the ambient one, which did not exist.
        let list = list.clone();
        let sets = ["bounding", "effective", "permitted", "inheritable"];
        let object: Map<_, _> = sets.iter().map(|set| (set.to_string(), list.clone())).collect();
        process.insert("capabilities".into(), Value::Object(object));
    }
}

fn normalise_mounts(config: &mut Map<String, Value>) {
    let mounts = config.entry("mounts").or_insert_with(|| json!([]));
    let Some(mounts) = mounts.as_array_mut() else { return };
    for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
        if mount.get("type").is_some_and(|kind| kind == "rbind") {
            mount.insert("type".into(), json!("bind"));
            let options = mount.entry("options").or_insert_with(|| json!([]));
            if let Some(options) = options.as_array_mut().filter(|o| !o.contains(&json!("rbind"))) {
                options.push(json!("rbind"));
            }
        }
    }
    let is_dev = |mount: &Value| Mount::new(mount).destination().is_some_and(|d| d == Path::new("/dev"));
    if !mounts.iter().any(is_dev) {
        // Otherwise runtimes would create device nodes in the root file system, whose files are the store's. It is the
        // first mount, since others may be below it.
        let options = ["nosuid", "strictatime", "mode=755", "size=65536k"];
        mounts.insert(
            0,
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_old_forms() {
        let mut config = json!({
            "ociVersion": "0.3.0", "platform": {"os": "linux"},
            "root": {"path": "rootfs", "readonly": true},
            "process": {"terminal": true, "consoleSize": {"height": 0, "width": 0}, "user": {}, "args": ["x"], "cwd": null},
            "mounts": [{"type": "rbind", "source": "/a", "destination": "/a"}],
            "linux": {"capabilities": ["CAP_KILL"], "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}],
                      "devices": null, "seccomp": {"defaultAction": "", "architectures": null}}
        });
        normalise(&mut config);
        assert_eq!(config["ociVersion"], "1.0.2");
        assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_KILL"]));
        assert_eq!(config["process"]["rlimits"][0]["hard"], 1);
        assert_eq!(config["process"]["user"], json!({"uid": 0, "gid": 0}));
        assert_eq!(config["process"]["terminal"], false);
        assert_eq!(config["mounts"][0]["destination"], "/dev");
        assert_eq!(config["mounts"][1]["type"], "bind");
        assert_eq!(config["mounts"][1]["options"], json!(["rbind"]));
        assert_eq!(config["linux"], json!({}));
        serde_json::from_value::<oci_spec::runtime::Spec>(config.clone()).unwrap();
        let again = config.clone();
        normalise(&mut config);
        assert_eq!(config, again);
    }
}
