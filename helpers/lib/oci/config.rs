//! The OCI runtime configuration of a deployment, `config.json`: checks, and the upgrade of old forms.
//!
//! Deployments keep the configuration as the image rendered it; what runtimes of today refuse or ignore is rewritten in
//! the bundle only, see [`normalise`].

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use crate::error::{Context, Error, Result};
use crate::oci::signal;

/// Parses and checks a configuration; `origin` names it in errors. The result is as it was written. The root file system may be
/// writable if it is a scratch one, as with `run_once`.
pub fn parse(text: &str, origin: &str, run_once: bool) -> Result<Value> {
    let value: Value =
        serde_json::from_str(text).context(|| format!("invalid JSON in {origin}, after substitution"))?;
    check(&value, run_once).context(|| format!("invalid configuration in {origin}"))?;
    Ok(value)
}

fn check(config: &Value, run_once: bool) -> Result<()> {
    if !run_once && config.pointer("/root/readonly") != Some(&Value::Bool(true)) {
        let why = "root.readonly must be true: the files of a container are shared with the image store";
        return Err(Error::new(why));
    }
    match config.pointer("/root/path") {
        Some(Value::String(path)) if path == "rootfs" => {}
        Some(path) => return Err(Error::new(format!("root.path must be \"rootfs\", not {path}"))),
        None => return Err(Error::new("root.path is missing; it must be \"rootfs\"")),
    }
    let spec: Spec =
        serde_json::from_value(normalised(config)).context(|| "not an OCI runtime configuration".into())?;
    let args = spec.process().as_ref().and_then(|process| process.args().clone());
    if args.is_none_or(|args| args.is_empty()) {
        return Err(Error::new("process.args is empty: nothing to run"));
    }
    Ok(())
}

/// Rewrites what runtimes of before OCI 1.0 took, so that crun and runc of today do what was meant.
pub fn normalise(config: &mut Value) {
    drop_nulls(config);
    let Some(config) = config.as_object_mut() else { return };
    if !config.get("ociVersion").and_then(Value::as_str).is_some_and(is_released) {
        config.insert("ociVersion".into(), json!("1.0.2"));
    }
    // Of before 1.0: no runtime reads it.
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

/// A copy as [`normalise`] leaves it.
pub fn normalised(config: &Value) -> Value {
    let mut normal = config.clone();
    normalise(&mut normal);
    normal
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

/// Whether runtimes of today take a configuration of this version.
pub fn is_released(version: &str) -> bool {
    version.starts_with("1.") && !version.contains('-')
}

fn take_object(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn normalise_process(process: &mut Map<String, Value>) {
    // Services have no terminal, and a console size without one is refused.
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
        // The list of before 1.0 meant every set but the ambient one, which did not exist.
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
    let is_dev = |mount: &Value| destination(mount).is_some_and(|d| d == Path::new("/dev"));
    if !mounts.iter().any(is_dev) {
        // Without it runtimes make device nodes in the root file system, which is the store's. First, as mounts below it follow.
        let options = ["nosuid", "strictatime", "mode=755", "size=65536k"];
        mounts.insert(
            0,
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
    }
}

/// Mounts in their order.
pub fn mounts(config: &Value) -> impl Iterator<Item = &Value> {
    config.get("mounts").and_then(Value::as_array).into_iter().flatten()
}

/// Where a mount goes, without trailing slashes.
pub fn destination(mount: &Value) -> Option<PathBuf> {
    mount.get("destination").and_then(Value::as_str).map(|d| Path::new("/").join(d).components().collect())
}

/// The host path that a mount binds, if it is a bind mount.
pub fn bind_source(mount: &Value) -> Option<&Path> {
    let source = mount.get("source").and_then(Value::as_str).map(Path::new)?;
    (is_bind(mount) && source.is_absolute()).then_some(source)
}

/// Whether runtimes bind it: they go by the options, whatever the type.
pub fn is_bind(mount: &Value) -> bool {
    let options = mount.get("options").and_then(Value::as_array);
    has_bind_type(mount)
        || options.is_some_and(|o| o.iter().any(|option| option == "bind" || option == "rbind"))
}

/// Whether it says so by its type: only for these the original made what was missing.
pub fn has_bind_type(mount: &Value) -> bool {
    mount.get("type").and_then(Value::as_str).is_some_and(|kind| kind.contains("bind"))
}

/// Where a configuration has its image's stop signal, see conversion.md of the OCI image specification.
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// The signal that ends the payload, where the configuration says so.
pub fn stop_signal(config: &Value) -> Option<i32> {
    let signal = config.get("annotations").and_then(|annotations| annotations.get(STOP_SIGNAL));
    signal.and_then(Value::as_str).and_then(signal::number)
}

/// Whether the payload gets a PID namespace of its own.
pub fn has_pid_namespace(config: &Value) -> bool {
    has_namespace(config, "pid")
}

/// Whether the payload gets a user namespace.
pub fn has_user_namespace(config: &Value) -> bool {
    has_namespace(config, "user")
}

fn has_namespace(config: &Value, kind: &str) -> bool {
    let namespaces = config.pointer("/linux/namespaces").and_then(Value::as_array);
    namespaces.is_some_and(|list| list.iter().any(|n| n.get("type").is_some_and(|t| t == kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Value {
        json!({"ociVersion": "1.0.0", "root": {"path": "rootfs", "readonly": true}, "process": {"args": ["true"]}})
    }

    #[test]
    fn accepts_the_minimum() {
        parse(&minimal().to_string(), "x", false).unwrap();
    }

    #[test]
    fn refuses_with_a_reason() {
        for (pointer, value, reason) in [
            ("/root/readonly", json!(false), "root.readonly must be true"),
            ("/root/readonly", Value::Null, "root.readonly must be true"),
            ("/root/path", json!("/"), "root.path must be \"rootfs\", not \"/\""),
            ("/root/path", Value::Null, "root.path must be"),
            ("/process/args", json!([]), "process.args is empty"),
            ("/process/args", json!("x"), "not an OCI runtime configuration"),
        ] {
            let mut config = minimal();
            *config.pointer_mut(pointer).unwrap() = value;
            let error = parse(&config.to_string(), "exports/config.json", false).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid configuration in exports/config.json: ") && error.contains(reason),
                "{error}"
            );
        }
        for text in ["", "{", "[]", "3", "{}"] {
            assert!(parse(text, "x", false).is_err());
        }
        let error = parse("{\n  \"a\": ,\n}", "x", false).unwrap_err().to_string();
        assert!(error.contains("line 2 column 8"), "{error}");
    }

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
        serde_json::from_value::<Spec>(config.clone()).unwrap();
        let again = config.clone();
        normalise(&mut config);
        assert_eq!(config, again);
    }
}
