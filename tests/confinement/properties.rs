//! The properties of a runtime configuration that a payload sees something of: one line each, as tests/podman.md has them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Options of mounts that say what may be done there.
const OPTIONS: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];
const SETS: [&str; 5] = ["bounding", "effective", "permitted", "inheritable", "ambient"];

/// Their names and values, of a configuration and the unit that it runs in, if there is one.
pub fn properties(config: &Value, unit: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |name: String, value: String| found.insert(format!("config {name}"), value);
    let at = |pointer: &str| config.pointer(pointer).map(ToString::to_string).unwrap_or_default();
    for key in ["uid", "gid", "umask"] {
        add(key.into(), at(&format!("/process/user/{key}")));
    }
    add("groups".into(), sorted(config, "/process/user/additionalGids"));
    for key in ["args", "cwd"] {
        add(key.into(), at(&format!("/process/{key}")));
    }
    add("hostname".into(), at("/hostname"));
    for key in ["/process/noNewPrivileges", "/process/terminal", "/root/readonly"] {
        let name = key.rsplit('/').next().unwrap_or(key);
        add(name.into(), (config.pointer(key) == Some(&Value::Bool(true))).to_string());
    }
    for variable in list(config, "/process/env").filter_map(Value::as_str) {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        add(format!("env {name}"), value.into());
    }
    SETS.iter().for_each(|set| {
        add(format!("capabilities {set}"), sorted(config, &format!("/process/capabilities/{set}")));
    });
    for mount in list(config, "/mounts") {
        add(format!("mount {}", text(mount, "destination")), shown_mount(mount));
    }
    for namespace in list(config, "/linux/namespaces") {
        add(format!("namespace {}", text(namespace, "type")), text(namespace, "path").into());
    }
    for (key, name) in [("maskedPaths", "masked"), ("readonlyPaths", "read-only")] {
        for path in list(config, &format!("/linux/{key}")).filter_map(Value::as_str) {
            add(format!("{name} {path}"), "yes".into());
        }
    }
    for device in list(config, "/linux/devices") {
        add(format!("device {}", text(device, "path")), "yes".into());
    }
    for (name, value) in config.pointer("/linux/sysctl").and_then(Value::as_object).into_iter().flatten() {
        add(format!("sysctl {name}"), value.to_string());
    }
    let tasks = config.pointer("/linux/resources/pids/limit").map(ToString::to_string);
    add("tasks".into(), unit.get("TasksMax").cloned().or(tasks).unwrap_or_default());
    for limit in list(config, "/process/rlimits") {
        let kind = text(limit, "type").trim_start_matches("RLIMIT_");
        add(format!("limit {kind}"), format!("{} {}", limit["soft"], limit["hard"]));
    }
    for kind in ["NOFILE", "NPROC"] {
        let of_unit = (unit.get(&format!("Limit{kind}Soft")), unit.get(&format!("Limit{kind}")));
        if let (Some(soft), Some(hard)) = of_unit {
            add(format!("limit {kind}"), format!("{soft} {hard}"));
        }
    }
    found
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn sorted(config: &Value, pointer: &str) -> String {
    let mut all: Vec<String> =
        list(config, pointer).map(|value| value.to_string().trim_matches('"').to_owned()).collect();
    all.sort();
    all.join(" ")
}

/// What is mounted, with its options; of what comes from the host, only these.
fn shown_mount(mount: &Value) -> String {
    let has = |wanted: &str| list(mount, "/options").any(|option| option == wanted);
    let kind = if has("bind") || has("rbind") { "bind" } else { text(mount, "type") };
    let options = OPTIONS.iter().filter(|option| has(option)).copied();
    std::iter::once(kind).chain(options).collect::<Vec<_>>().join(" ")
}
