//! The configuration that is made for an image without one, compared with the one that podman makes for the same image:
//! ours is not weaker in anything.
//!
//! A story runs this with CONFINEMENT=DIRECTORY, in which are NAME.podman.json, NAME.ours.json and NAME.unit (lines of
//! `systemctl show`) of real containers. Otherwise what podman 4.3.1 makes of an image is compared with what is made
//! here. The properties of each are written to NAME.his and NAME.own there, for who compares them both ways.

#![allow(clippy::unwrap_used)]

#[path = "confinement/comparison.rs"]
mod comparison;
#[path = "confinement/properties.rs"]
mod properties;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use comparison::weaknesses;
use properties::properties;
use syscontainers::commit::Commit;
use syscontainers::container::info::Values;
use syscontainers::container::settings::Settings;
use syscontainers::digest::Digest;
use syscontainers::image::Image;
use syscontainers::image::generated_config;
use syscontainers::image::installation::Installation;
use syscontainers::image::tree::Directory;
use syscontainers::oci::bundle_config::BundleConfig;
use syscontainers::oci::config::{Config, Normalised};
use syscontainers::oci::{resources, seccomp};
use syscontainers::paths::{Root, TreePath};
use syscontainers::provenance::Provenance;

/// What is compared: podman's, ours, and the properties of our unit.
struct Case {
    podman: Value,
    ours: Value,
    unit: BTreeMap<String, String>,
}

/// What podman 4.3.1 makes of an image that says no more than its command, on a host with cgroups of version 2, perhaps
/// with `--read-only`.
fn podman(user: Value, is_root: bool, read_only: bool) -> Value {
    let all = syscontainers::oci::capabilities::DEFAULT;
    let capabilities = match is_root {
        true => json!({"bounding": all, "effective": all, "permitted": all}),
        false => json!({"bounding": all}),
    };
    let tmpfs = |destination: &str| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]});
    let limit = |kind: &str, value: u64| json!({"type": kind, "hard": value, "soft": value});
    let mut made = json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "user": user, "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/", "capabilities": capabilities,
            "rlimits": [limit("RLIMIT_NOFILE", 1048576), limit("RLIMIT_NPROC", 32768)],
        },
        "root": {"path": "/merged"},
        "hostname": "host",
        "mounts": [
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "bind", "source": "/shm", "options": ["bind", "rprivate", "nosuid", "noexec", "nodev"]},
            {"destination": "/etc/hosts", "type": "bind", "source": "/hosts", "options": ["bind", "rprivate", "ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 2048}},
            "cgroupsPath": "/libpod",
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "seccomp": seccomp::profile(&Root::new("/nonexistent"), &all).unwrap(),
            "maskedPaths": [
                "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block",
            ],
            "readonlyPaths": [
                "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    });
    if read_only {
        made["root"]["readonly"] = json!(true);
        made["mounts"].as_array_mut().unwrap().extend(["/tmp", "/run", "/var/tmp"].map(tmpfs));
    }
    made
}

/// What is made here of an image with this `USER`, and what a start adds to it.
fn ours(user: &str, read_only: bool) -> Normalised {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:\napp:x:1000:1000::/home/app:\n").unwrap();
    fs::write(dir.path().join("etc/group"), "wheel:x:10:root\nextra:x:1005:app\n").unwrap();
    let config = json!({"Cmd": ["sh"], "User": user});
    let image = Image {
        name: "r/web:1".into(),
        title: "r/web:1".into(),
        provenance: Provenance {
            transport: "docker".into(),
            source: "docker://r/web:1".into(),
            architecture: "amd64".into(),
            policy_scope: None,
        },
        commit: Commit::unknown(),
        digest: Digest::of(b""),
        manifest: String::new(),
        config: json!({
            "architecture": "amd64", "os": "linux", "config": config, "history": [],
            "rootfs": {"type": "layers", "diff_ids": []},
        })
        .to_string(),
    };
    let none = Values::new();
    let mut settings = Settings::default();
    settings.assign(&format!("ReadOnly={read_only}").parse().unwrap());
    let runtime = TreePath::from("/usr/bin/crun");
    let installation = Installation {
        name: &"web".parse().unwrap(),
        image: &image.name,
        digest: &image.digest,
        root: &Root::new(dir.path()),
        link: "/d/web".into(),
        deployment: "/d/web.0".into(),
        runtime: Some(&runtime),
        uid: 0,
        gid: 0,
        uuid: None,
        user_values: &none,
        user_secrets: &Default::default(),
        settings: &settings,
        user_notify: None,
    };
    let tree = Directory(dir.path().to_path_buf());
    let made = generated_config::generate(&tree, &image, &installation, &none).unwrap();
    let mut value: Value = serde_json::from_str(&made.text).unwrap();
    value["linux"]["seccomp"] =
        seccomp::profile(&Root::new("/nonexistent"), &syscontainers::oci::capabilities::DEFAULT).unwrap();
    Config::new(value).check(true).unwrap()
}

fn made_here() -> BTreeMap<String, Case> {
    let users = [
        ("", json!({"uid": 0, "gid": 0, "umask": 18, "additionalGids": [10]})),
        ("1000", json!({"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [1000, 1005]})),
        ("app", json!({"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [1000, 1005]})),
        ("app:extra", json!({"uid": 1000, "gid": 1005, "umask": 18, "additionalGids": [1005]})),
    ];
    let cases = users.into_iter().flat_map(|(user, expected)| {
        [("", false), (" read-only", true)].map(|(suffix, read_only)| {
            let (podman, ours) =
                (podman(expected.clone(), user.is_empty(), read_only), ours(user, read_only));
            let unit = resources::settings(&ours).settings.into_iter().collect();
            (
                format!("{user}{suffix}"),
                Case { podman, ours: serde_json::to_value(BundleConfig::from(ours)).unwrap(), unit },
            )
        })
    });
    cases.collect()
}

/// The containers of a story.
fn recorded(directory: &Path) -> BTreeMap<String, Case> {
    let read = |name: &str, end: &str| {
        let path = directory.join(format!("{name}.{end}"));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let parse = |name: &str, end: &str| serde_json::from_str(&read(name, end)).unwrap();
    let files =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = files.filter_map(|file| file.strip_suffix(".unit").map(str::to_owned));
    let case = |name: String| {
        let unit = read(&name, "unit");
        let unit = unit.lines().filter_map(|line| line.split_once('='));
        let unit = unit.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let case = Case { podman: parse(&name, "podman.json"), ours: parse(&name, "ours.json"), unit };
        (name, case)
    };
    names.map(case).collect()
}

#[test]
fn a_plain_image_is_not_confined_less_than_by_podman() {
    let cases = match std::env::var_os("CONFINEMENT") {
        Some(directory) => recorded(&PathBuf::from(directory)),
        None => made_here(),
    };
    assert!(cases.len() > 2, "there are only {} cases", cases.len());
    for (name, case) in cases {
        let found = weaknesses(&case.podman, &case.ours, &case.unit);
        assert!(found.is_empty(), "{name:?}:\n{}", found.join("\n"));
        println!("{name:?} is not weaker");
    }
}

/// A line for each property: its name, a tab, and its value.
fn lines(config: &Value, unit: &BTreeMap<String, String>) -> String {
    properties(config, unit).iter().map(|(name, value)| format!("{name}\t{value}\n")).collect()
}

#[test]
fn the_properties_of_each_are_written() {
    let Some(directory) = std::env::var_os("CONFINEMENT").map(PathBuf::from) else { return };
    for (name, case) in recorded(&directory) {
        let write = |end: &str, lines: String| {
            fs::write(directory.join(format!("{name}.{end}")), lines).unwrap();
        };
        write("his", lines(&case.podman, &BTreeMap::new()));
        // Where the machine lets nobody raise limits, podman's configuration has none.
        let mut unit = case.unit.clone();
        if case.podman.pointer("/process/rlimits").is_none() {
            unit.remove("LimitNOFILE");
        }
        write("own", lines(&case.ours, &unit));
    }
}

#[test]
fn what_differs_in_a_configuration_differs_in_a_line() {
    let case = made_here().remove("1000 read-only").unwrap();
    let before = properties(&case.ours, &case.unit);
    for (pointer, value) in [
        ("/process/user/uid", json!(1)),
        ("/process/user/additionalGids", json!([1000])),
        ("/process/args", json!(["x"])),
        ("/process/cwd", json!("/x")),
        ("/process/env", json!(["HOME=/x"])),
        ("/process/capabilities/bounding", json!([])),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "hard": 1, "soft": 1}])),
        ("/hostname", json!("x")),
        ("/root/readonly", json!(false)),
        ("/mounts", json!([])),
        ("/linux/namespaces", json!([])),
        ("/linux/maskedPaths", json!([])),
        ("/linux/sysctl", json!({"x": "1"})),
    ] {
        let mut changed = case.ours.clone();
        let (above, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(above).unwrap()[key] = value;
        assert_ne!(properties(&changed, &case.unit), before, "{pointer}");
    }
    let unit = BTreeMap::from([("TasksMax".to_owned(), "1".to_owned())]);
    assert_ne!(properties(&case.ours, &unit), before);
}

/// Changes of a configuration, and what is found then; nothing where podman has the same.
fn changes() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/process/user/gid", json!(0), "gid"),
        ("/process/user/additionalGids", json!([1000]), "additionalGids"),
        ("/process/user/umask", json!(0), "umask"),
        ("/process/noNewPrivileges", json!(false), ""),
        ("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN"]), "capabilities.bounding"),
        ("/process/capabilities/effective", json!(["CAP_CHOWN"]), "capabilities.effective"),
        ("/process/capabilities/ambient", json!(["CAP_CHOWN"]), "capabilities.ambient"),
        ("/process/oomScoreAdj", json!(-500), "oomScoreAdj"),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "hard": 1, "soft": 1}]), "RLIMIT_CORE"),
        ("/process/apparmorProfile", json!("unconfined"), "apparmorProfile"),
        ("/process/scheduler", json!({}), "scheduler"),
        ("/root/readonly", json!(false), "root.readonly"),
        ("/hooks", json!({}), "hooks"),
        ("/linux/maskedPaths", json!(["/proc/kcore"]), "masks /proc/acpi"),
        ("/linux/readonlyPaths", json!([]), "/proc/asound"),
        ("/linux/namespaces", json!([{"type": "pid"}, {"type": "mount"}]), "namespace ipc"),
        ("/linux/namespaces/0/path", json!("/proc/1/ns/pid"), "namespace pid"),
        ("/linux/devices", json!([{"path": "/dev/sda"}]), "linux.devices"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}), "linux.sysctl"),
        ("/linux/rootfsPropagation", json!("shared"), "rootfsPropagation"),
        ("/linux/seccomp", Value::Null, "seccomp"),
        ("/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW"), "seccomp.defaultAction"),
        ("/linux/seccomp/architectures", json!(["SCMP_ARCH_MIPS"]), "seccomp.architectures"),
        ("/linux/seccomp/syscalls/0/names/0", json!("bpf"), "seccomp allows bpf"),
        ("/linux/seccomp/syscalls/1/action", json!("SCMP_ACT_LOG"), "seccomp allows"),
        ("/mounts/1/options", json!(["nosuid", "mode=755", "size=65536k"]), "/dev: noexec"),
        ("/mounts/1/options", json!(["nosuid", "noexec", "size=1g"]), "/dev: size"),
        ("/mounts/3/options", json!(["nosuid", "noexec", "nodev"]), "/dev/shm: it has no bound"),
        ("/mounts/6/options", json!(["nosuid", "noexec", "nodev"]), "/sys/fs/cgroup: ro"),
        ("/mounts/6/type", json!("tmpfs"), "/sys/fs/cgroup: tmpfs"),
        ("/mounts/7/options", json!(["nosuid", "nodev"]), "/run: it has no bound"),
        (
            "/mounts/7",
            json!({"destination": "/host", "type": "bind", "source": "/", "options": ["rbind"]}),
            "/host",
        ),
    ]
}

/// Every way to be weaker is found.
#[test]
fn the_comparison_finds_what_is_weaker() {
    let case = made_here().remove("1000 read-only").unwrap();
    for (pointer, value, expected) in changes() {
        let mut ours = case.ours.clone();
        let (above, key) = pointer.rsplit_once('/').unwrap();
        match ours.pointer_mut(above).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            object => object[key] = value,
        }
        let found = weaknesses(&case.podman, &ours, &case.unit);
        // Without noNewPrivileges, ours is as podman's.
        let is_found = found.iter().any(|found| found.contains(expected)) || expected.is_empty();
        assert!(is_found && found.is_empty() == expected.is_empty(), "{pointer}: {found:?}");
    }
    for (property, value) in [("TasksMax", "infinity"), ("TasksMax", "4096"), ("DevicePolicy", "auto")] {
        let mut unit = case.unit.clone();
        unit.insert(property.to_owned(), value.to_owned());
        let found = weaknesses(&case.podman, &case.ours, &unit);
        assert!(found.iter().any(|found| found.contains(property)), "{property}={value}: {found:?}");
    }
    let mut newer = case.podman.clone();
    newer["process"]["apparmorProfile"] = json!("containers-default-1");
    newer["linux"]["ofTomorrow"] = json!(true);
    let found = weaknesses(&newer, &case.ours, &case.unit).join("\n");
    assert!(found.contains("apparmorProfile") && found.contains("ofTomorrow"), "{found}");
}
