//! Comparing two runtime configurations property by property.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What is compared below; a property that is not here is reported, whoever has it.
const KNOWN: [(&str, &[&str]); 4] = [
    ("", &["annotations", "hostname", "linux", "mounts", "ociVersion", "process", "root"]),
    (
        "/process",
        &[
            "apparmorProfile",
            "args",
            "capabilities",
            "cwd",
            "env",
            "noNewPrivileges",
            "oomScoreAdj",
            "rlimits",
            "selinuxLabel",
            "terminal",
            "user",
        ],
    ),
    ("/process/user", &["uid", "gid", "umask", "additionalGids"]),
    (
        "/linux",
        &[
            "cgroupsPath",
            "devices",
            "maskedPaths",
            "mountLabel",
            "namespaces",
            "readonlyPaths",
            "resources",
            "rootfsPropagation",
            "seccomp",
            "sysctl",
        ],
    ),
];

/// Files that podman makes for a container, which ours has from the image.
const FILES: [&str; 7] = [
    "/etc/group",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/run/.containerenv",
    "/run/secrets",
];

/// Everything in which `ours`, in a unit with these properties, is weaker than `podman`.
pub fn weaknesses(podman: &Value, ours: &Value, unit: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (pointer, known) in KNOWN {
        for (who, config) in [("podman", podman), ("ours", ours)] {
            let keys = config.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
            let unknown = keys.map(|(key, _)| key).filter(|key| !known.contains(&key.as_str()));
            found.extend(unknown.map(|key| format!("{who} has {pointer}/{key}, which nothing compares")));
        }
    }
    process(podman, ours, unit, &mut found);
    linux(podman, ours, &mut found);
    seccomp(podman, ours, &mut found);
    mounts(podman, ours, &mut found);
    resources(podman, unit, &mut found);
    found
}

fn texts<'a>(value: &'a Value, pointer: &str) -> BTreeSet<&'a str> {
    list(value, pointer).filter_map(Value::as_str).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

fn process(podman: &Value, ours: &Value, unit: &BTreeMap<String, String>, found: &mut Vec<String>) {
    for key in ["uid", "gid", "umask"] {
        let of = |config| number(config, &format!("/process/user/{key}"));
        if of(podman) != of(ours) {
            found.push(format!("{key}: {:?}, podman {:?}", of(ours), of(podman)));
        }
    }
    let groups = |config| -> BTreeSet<i64> {
        list(config, "/process/user/additionalGids").filter_map(Value::as_i64).collect()
    };
    if groups(podman) != groups(ours) {
        found.push(format!("additionalGids: {:?}, podman {:?}", groups(ours), groups(podman)));
    }
    let holds = |config: &Value| config.pointer("/process/noNewPrivileges") == Some(&Value::Bool(true));
    if holds(podman) && !holds(ours) {
        found.push("noNewPrivileges".into());
    }
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        let of = |config| texts(config, &format!("/process/capabilities/{set}"));
        let more: Vec<_> = of(ours).difference(&of(podman)).copied().collect();
        if !more.is_empty() {
            found.push(format!("capabilities.{set} has {more:?}"));
        }
    }
    if number(ours, "/process/oomScoreAdj") < number(podman, "/process/oomScoreAdj").or(Some(0))
        && number(ours, "/process/oomScoreAdj").is_some()
    {
        found.push("oomScoreAdj".into());
    }
    for key in ["/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel"] {
        let (his, own) = (podman.pointer(key), ours.pointer(key));
        if his.is_some() && own.is_none() || own.is_some_and(|label| label == "unconfined") {
            found.push(format!("{key}: {own:?}, podman {his:?}"));
        }
    }
    limits(podman, ours, unit, found);
}

/// Limits of processes are the unit's. That of all processes of a user is as good as one of those of the unit.
fn limits(podman: &Value, ours: &Value, unit: &BTreeMap<String, String>, found: &mut Vec<String>) {
    for limit in list(ours, "/process/rlimits") {
        let same = list(podman, "/process/rlimits").find(|other| other["type"] == limit["type"]);
        if same.is_none_or(|other| other["hard"].as_u64() < limit["hard"].as_u64()) {
            found.push(format!("the limit {limit}"));
        }
    }
    for limit in list(podman, "/process/rlimits") {
        let property = match limit["type"].as_str() {
            Some("RLIMIT_NOFILE") => "LimitNOFILE",
            Some("RLIMIT_NPROC") => "TasksMax",
            _ => {
                found.push(format!("podman has the limit {limit}"));
                continue;
            }
        };
        let own = unit.get(property).map(|value| value.parse::<u64>());
        match own {
            Some(Ok(own)) if Some(own) <= limit["hard"].as_u64() => {}
            // What is made here leaves it to systemd, whose own limit a story sees.
            None if property == "LimitNOFILE" => {}
            _ => found.push(format!("{property}: {own:?}, podman {limit}")),
        }
    }
}

fn linux(podman: &Value, ours: &Value, found: &mut Vec<String>) {
    let masked = texts(ours, "/linux/maskedPaths");
    found.extend(
        texts(podman, "/linux/maskedPaths").difference(&masked).map(|path| format!("podman masks {path}")),
    );
    let kept = texts(ours, "/linux/readonlyPaths").union(&masked).copied().collect();
    found.extend(
        texts(podman, "/linux/readonlyPaths").difference(&kept).map(|path| format!("{path} can be written")),
    );
    let namespaces = |config| -> BTreeSet<&str> {
        let own = list(config, "/linux/namespaces").filter(|namespace| namespace.get("path").is_none());
        own.filter_map(|namespace| namespace["type"].as_str()).collect()
    };
    let missing = namespaces(podman);
    found.extend(missing.difference(&namespaces(ours)).map(|kind| format!("it has no namespace {kind}")));
    for key in ["/linux/devices", "/linux/sysctl"] {
        if ours.pointer(key).is_some_and(|own| Some(own) != podman.pointer(key)) {
            found.push(key.trim_start_matches('/').replace('/', "."));
        }
    }
    let shares = |config: &Value| {
        let propagation = config.pointer("/linux/rootfsPropagation").and_then(Value::as_str);
        propagation.is_some_and(|propagation| propagation.contains("shared"))
    };
    if shares(ours) && !shares(podman) {
        found.push("rootfsPropagation".into());
    }
    let is_read_only = |config: &Value| config.pointer("/root/readonly") == Some(&Value::Bool(true));
    if is_read_only(podman) && !is_read_only(ours) {
        found.push("root.readonly".into());
    }
}

fn seccomp(podman: &Value, ours: &Value, found: &mut Vec<String>) {
    let Some(his) = podman.pointer("/linux/seccomp").filter(|profile| profile.is_object()) else {
        found.push("podman has no seccomp profile to compare with".into());
        return;
    };
    let Some(own) = ours.pointer("/linux/seccomp").filter(|profile| profile.is_object()) else {
        found.push("it has no seccomp profile".into());
        return;
    };
    for key in ["defaultAction", "defaultErrnoRet"] {
        if his[key] != own[key] {
            found.push(format!("seccomp.{key}: {}, podman {}", own[key], his[key]));
        }
    }
    if !texts(own, "/architectures").is_subset(&texts(his, "/architectures"))
        || own.get("architectures").is_none()
    {
        found.push("seccomp.architectures".into());
    }
    let more = allowed(own).difference(&allowed(his)).cloned().collect::<BTreeSet<_>>();
    found.extend(more.into_iter().map(|(name, arguments)| format!("seccomp allows {name} {arguments}")));
}

/// System calls that are not refused, with the conditions on their arguments.
fn allowed(profile: &Value) -> BTreeSet<(String, String)> {
    let refuses =
        ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"];
    let mut all = BTreeSet::new();
    for rule in
        list(profile, "/syscalls").filter(|rule| !refuses.iter().any(|action| rule["action"] == *action))
    {
        let conditions = list(rule, "/args").map(|argument| {
            let at = |key: &str| argument.get(key).cloned().unwrap_or_default();
            format!("{} {} {}", at("index"), at("op"), at("value"))
        });
        let conditions = conditions.collect::<Vec<_>>().join(", ");
        all.extend(texts(rule, "/names").into_iter().map(|name| (name.to_owned(), conditions.clone())));
    }
    all
}

fn mounts(podman: &Value, ours: &Value, found: &mut Vec<String>) {
    let mounts = |config| -> BTreeMap<&str, &Value> {
        list(config, "/mounts").filter_map(|mount| Some((mount["destination"].as_str()?, mount))).collect()
    };
    let (his, own) = (mounts(podman), mounts(ours));
    for (destination, mount) in &his {
        let Some(same) = own.get(destination) else {
            if !FILES.contains(destination) {
                found.push(format!("it has no {destination}"));
            }
            continue;
        };
        let (his, own) = (texts(mount, "/options"), texts(same, "/options"));
        for option in ["ro", "nosuid", "noexec", "nodev"] {
            if his.contains(option) && !own.contains(option) {
                found.push(format!("{destination}: {option} is missing"));
            }
        }
        if mount["type"] != same["type"] && mount["type"] != "bind" {
            found.push(
                format!("{destination}: {} instead of {}", same["type"], mount["type"]).replace('"', ""),
            );
        }
        if let (Some(his), Some(own)) = (size(&his), size(&own)) {
            if own > his {
                found.push(format!("{destination}: size"));
            }
        }
    }
    for (destination, mount) in &own {
        let options = texts(mount, "/options");
        if mount["type"] == "tmpfs" && !options.iter().any(|option| option.starts_with("size=")) {
            found.push(format!("{destination}: it has no bound"));
        }
        let is_tame = options.contains("nosuid") && options.contains("nodev");
        if !his.contains_key(destination) && !is_tame {
            found.push(format!("{destination}, which podman does not mount"));
        }
    }
}

/// A size in KiB; one that is a part of the memory is not comparable, and `None`.
fn size(options: &BTreeSet<&str>) -> Option<u64> {
    let size = options.iter().find_map(|option| option.strip_prefix("size="))?;
    let (digits, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
    let factor = match unit {
        "k" => 1,
        "m" => 1024,
        "g" => 1024 * 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok().map(|number| number * factor)
}

fn resources(podman: &Value, unit: &BTreeMap<String, String>, found: &mut Vec<String>) {
    let tasks = unit.get("TasksMax").and_then(|tasks| tasks.parse::<i64>().ok());
    let limit = number(podman, "/linux/resources/pids/limit");
    if limit.is_some_and(|limit| tasks.is_none_or(|tasks| tasks > limit)) {
        found.push(format!("TasksMax: {tasks:?}, podman {limit:?}"));
    }
    if unit.get("DevicePolicy").is_none_or(|policy| policy != "closed") {
        found.push("DevicePolicy".into());
    }
}
