//! The seccomp profile of the host's container tools, containers/common's seccomp.json, converted for a runtime
//! configuration; where the host has none, the one that is built in.
//!
//! Neither crun nor runc has a profile of its own. Engines derive theirs from this file, in which rules depend on
//! architecture, capabilities and kernel. A file that cannot be used is an error: a payload never runs without a
//! profile because the one that is meant for it is damaged.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use nix::errno::Errno;
use serde_json::{Map, Value, json};

use crate::error::{Context, Error, Result};
use crate::oci::seccomp_default;
use crate::paths::Root;
use crate::system::files;

/// Where administrators and packages put the profile; the first file that exists is used.
const FILES: [&str; 2] = ["/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"];

/// Maximum size of such a file in bytes.
const MAX_SIZE: usize = 4 << 20;

/// The kernel's version.
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// What a rule can do, as runtimes know it.
const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The kernel's keyrings, which no namespace divides: what root or a user of the host keeps there, such as passphrases of
/// disks and tickets, would be that of a payload with the same ID. Programs do without where this is not permitted, as
/// they have to in containers of Docker.
const KEYRINGS: [&str; 3] = ["add_key", "keyctl", "request_key"];

/// What rules depend on.
struct Host<'a> {
    arch: &'a str,
    /// Version and patch level of the kernel.
    kernel: (u32, u32),
    capabilities: &'a [&'a str],
}

/// Returns `linux.seccomp` for a payload with these capabilities.
pub fn profile(root: &Root, capabilities: &[&str]) -> Result<Value> {
    let release = fs::read_to_string(RELEASE).context(|| format!("cannot read {RELEASE}"))?;
    let kernel = version(&release).unwrap_or_default();
    let host = Host { arch: std::env::consts::ARCH, kernel, capabilities };
    for path in FILES {
        let file = root.join(path);
        if fs::symlink_metadata(&file).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            continue;
        }
        let remedy = "repair or remove it; nothing is run without a profile";
        let converted = read(&file).and_then(|profile| convert(&profile, &host)).map(without_keyrings);
        return converted.context(|| format!("cannot use the seccomp profile {path}; {remedy}"));
    }
    convert(&seccomp_default::profile(), &host).map(without_keyrings)
}

/// Whatever a profile says of keyrings, it is not permitted to use them.
fn without_keyrings(mut profile: Value) -> Value {
    let Some(rules) = profile.get_mut("syscalls").and_then(Value::as_array_mut) else { return profile };
    for rule in rules.iter_mut() {
        let names = rule.get_mut("names").and_then(Value::as_array_mut);
        names.into_iter().for_each(|names| names.retain(|name| !KEYRINGS.iter().any(|other| name == other)));
    }
    rules.retain(|rule| list(rule, "names").next().is_some());
    rules.push(json!({"names": KEYRINGS, "action": "SCMP_ACT_ERRNO", "errnoRet": Errno::EPERM as i32}));
    profile
}

fn read(file: &Path) -> Result<Value> {
    // A pipe would hold up the start.
    let text = files::read_bounded(file, MAX_SIZE)?.ok_or_else(|| Error::new("it is not a regular file"))?;
    serde_json::from_slice(&text).context(|| "it is not valid JSON".into())
}

fn convert(profile: &Value, host: &Host) -> Result<Value> {
    let mut out = Map::new();
    out.insert("defaultAction".into(), action(profile, "defaultAction")?.into());
    if let Some(number) = errno(profile, "defaultErrno", "defaultErrnoRet")? {
        out.insert("defaultErrnoRet".into(), number);
    }
    for key in ["flags", "listenerPath", "listenerMetadata"] {
        out.extend(profile.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let names = names_of(host.arch);
    let is_this = |entry: &&Value| entry.get("architecture").and_then(Value::as_str) == Some(names.1);
    if let Some(entry) = list(profile, "archMap").find(is_this) {
        let sub = list(entry, "subArchitectures").cloned();
        out.insert("architectures".into(), [json!(names.1)].into_iter().chain(sub).collect());
    } else if let Some(architectures) = profile.get("architectures").filter(|list| list.is_array()) {
        out.insert("architectures".into(), architectures.clone());
    }
    let rules = profile.get("syscalls").and_then(Value::as_array);
    let rules = rules.ok_or_else(|| Error::new("it has no array 'syscalls'"))?;
    let mut syscalls = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let what = || format!("rule {} of 'syscalls'", number + 1);
        let converted = syscall(rule).context(what)?;
        let allows = converted["action"] == "SCMP_ACT_ALLOW";
        let is_empty = |key| rule.get(key).and_then(Value::as_object).is_none_or(Map::is_empty);
        let is_included = is_empty("includes") || host.meets(&rule["includes"]).unwrap_or(!allows);
        let is_excluded = !is_empty("excludes") && host.meets(&rule["excludes"]).unwrap_or(allows);
        if is_included && !is_excluded {
            syscalls.push(converted);
        }
    }
    out.insert("syscalls".into(), syscalls.into());
    Ok(Value::Object(out))
}

impl Host<'_> {
    /// Whether a condition holds here; `None` if nobody can tell, since it is of a newer kind.
    fn meets(&self, condition: &Value) -> Option<bool> {
        let mut holds = true;
        for (key, value) in condition.as_object()? {
            let listed = |name: &str| list(condition, key).any(|value| value == name);
            holds &= match key.as_str() {
                "arches" => listed(names_of(self.arch).0),
                "caps" => self.capabilities.iter().any(|name| listed(name)),
                "minKernel" => self.kernel >= version(value.as_str()?)?,
                _ => return None,
            };
        }
        Some(holds)
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Keeps those keys of a rule that the runtime specification has.
fn syscall(rule: &Value) -> Result<Value> {
    let mut out = Map::new();
    // Old profiles have one name for each rule.
    let names: Vec<&Value> = rule.get("name").into_iter().chain(list(rule, "names")).collect();
    if names.is_empty() || !names.iter().all(|name| name.is_string()) {
        return Err(Error::new("it names no system calls"));
    }
    out.insert("names".into(), names.into_iter().cloned().collect());
    out.insert("action".into(), action(rule, "action")?.into());
    if let Some(number) = errno(rule, "errno", "errnoRet")? {
        out.insert("errnoRet".into(), number);
    }
    let arguments: Vec<Value> = list(rule, "args").cloned().collect();
    if !arguments.is_empty() {
        out.insert("args".into(), arguments.into());
    }
    Ok(Value::Object(out))
}

fn action<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    let action = value.get(key).and_then(Value::as_str).unwrap_or_default();
    if ACTIONS.contains(&action) {
        return Ok(action);
    }
    Err(Error::new(format!("{key} {action:?} is not an action")))
}

/// The error that a system call ends with, by its name or as a number.
fn errno(value: &Value, name: &str, number: &str) -> Result<Option<Value>> {
    let number = value.get(number).filter(|number| !number.is_null()).cloned();
    let Some(name) = value.get(name).and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Ok(number);
    };
    let is_meant = |number: &i32| format!("{:?}", Errno::from_raw(*number)) == name;
    let found = name.parse().ok().or_else(|| (1..=133).find(is_meant));
    found
        .map(|number| Some(json!(number)))
        .ok_or_else(|| Error::new(format!("{name:?} is not the name of an errno")))
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Returns the names of an architecture in conditions, and in seccomp itself.
fn names_of(arch: &str) -> (&str, &str) {
    match arch {
        "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
        "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
        "arm" => ("arm", "SCMP_ARCH_ARM"),
        "powerpc64" => ("ppc64le", "SCMP_ARCH_PPC64LE"),
        "s390x" => ("s390x", "SCMP_ARCH_S390X"),
        "riscv64" => ("riscv64", "SCMP_ARCH_RISCV64"),
        _ => (arch, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const X86: Host = Host { arch: "x86_64", kernel: (6, 1), capabilities: &["CAP_SYS_CHROOT"] };

    fn names(out: &Value) -> Vec<&str> {
        list(out, "syscalls").map(|rule| rule["names"][0].as_str().unwrap()).collect()
    }

    #[test]
    fn conditions_are_decided() {
        let allow = "SCMP_ACT_ALLOW";
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}, {"architecture": "SCMP_ARCH_AARCH64"}],
            "syscalls": [
                {"names": ["read"], "action": allow, "args": [], "comment": "", "includes": {}, "excludes": {}},
                {"names": ["chroot"], "action": allow, "includes": {"caps": ["CAP_SYS_CHROOT"]}},
                {"names": ["mount"], "action": allow, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["umount"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["arm"], "action": allow, "includes": {"arches": ["arm64"]}},
                {"names": ["clone"], "action": allow, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
                {"names": ["ptrace"], "action": allow, "includes": {"minKernel": "4.8"}},
                {"names": ["newer"], "action": allow, "includes": {"minKernel": "6.2"}},
                {"names": ["moon"], "action": allow, "includes": {"moon": "full"}},
                {"names": ["moon2"], "action": allow, "excludes": {"moon": "full"}},
                {"names": ["moon3"], "action": "SCMP_ACT_KILL", "includes": {"moon": "full"}},
                {"name": "old", "action": allow},
            ],
        });
        let out = convert(&profile, &X86).unwrap();
        assert_eq!(names(&out), ["read", "chroot", "umount", "clone", "ptrace", "moon3", "old"]);
        assert_eq!(out["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!(out["syscalls"][0], json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"}));
        assert_eq!(out["syscalls"][2]["errnoRet"], 1);
        assert_eq!(out["defaultErrnoRet"], 38);
        serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(out).unwrap();
    }

    /// A host with these files.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = Root::new(dir.path());
        (dir, root)
    }

    const VENDOR: &str = "usr/share/containers/seccomp.json";
    const LOCAL: &str = "etc/containers/seccomp.json";

    fn text(syscall: &str) -> String {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": [syscall], "action": "SCMP_ACT_ALLOW"}]})
            .to_string()
    }

    #[test]
    fn the_first_file_is_used_and_otherwise_what_is_built_in() {
        let both = [(LOCAL, text("local")), (VENDOR, text("vendor"))];
        let both: Vec<_> = both.iter().map(|(path, text)| (*path, text.as_str())).collect();
        for (files, expected) in [(&both[..], "local"), (&both[1..], "vendor")] {
            let (_dir, root) = host(files);
            assert_eq!(names(&profile(&root, &[]).unwrap()), [expected, KEYRINGS[0]]);
        }
        let (_dir, root) = host(&[]);
        let built_in = profile(&root, &["CAP_SYS_CHROOT"]).unwrap();
        assert_eq!(built_in["defaultAction"], "SCMP_ACT_ERRNO");
        assert!(list(&built_in, "syscalls").count() > 5);
    }

    #[test]
    fn no_profile_permits_keyrings() {
        let allow = "SCMP_ACT_ALLOW";
        let careless = json!({"defaultAction": allow, "syscalls": [
            {"names": ["read", "keyctl", "add_key"], "action": allow},
            {"names": ["request_key"], "action": "SCMP_ACT_LOG"},
            {"names": ["keyctl"], "action": allow, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]});
        let careless = careless.to_string();
        for files in [&[(LOCAL, careless.as_str())][..], &[(VENDOR, careless.as_str())], &[]] {
            let (_dir, root) = host(files);
            let found = profile(&root, &["CAP_SYS_ADMIN"]).unwrap();
            let about = list(&found, "syscalls")
                .filter(|rule| list(rule, "names").any(|name| KEYRINGS.iter().any(|other| name == other)));
            let about: Vec<_> = about.collect();
            assert_eq!(about, [&json!({"names": KEYRINGS, "action": "SCMP_ACT_ERRNO", "errnoRet": 1})]);
            assert!(allowed(&found).contains("read"));
            serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(found).unwrap();
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error() {
        let no_rules = r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#;
        for (written, reason) in [
            ("", "it is not valid JSON: EOF while parsing"),
            ("{}", "defaultAction \"\" is not an action"),
            ("[]", "defaultAction \"\" is not an action"),
            (no_rules, "it has no array 'syscalls'"),
            (
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}"#,
                "rule 1 of",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENO", "syscalls": []}"#,
                "\"ENO\" is not",
            ),
        ] {
            let vendor = text("vendor");
            let (_dir, root) = host(&[(LOCAL, written), (VENDOR, &vendor)]);
            let error = profile(&root, &[]).unwrap_err().to_string();
            let begin = "cannot use the seccomp profile /etc/containers/seccomp.json; repair or remove it; ";
            assert!(error.starts_with(begin) && error.contains(reason), "{error}");
        }
        let (dir, root) = host(&[("etc/containers/x", "")]);
        std::os::unix::fs::symlink("nowhere", dir.path().join(LOCAL)).unwrap();
        assert!(profile(&root, &[]).unwrap_err().to_string().contains("it is not a regular file"));
    }

    /// Names that a converted profile allows, whatever their arguments.
    fn allowed(profile: &Value) -> BTreeSet<String> {
        let rules = list(profile, "syscalls").filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
        rules.flat_map(|rule| list(rule, "names")).map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_built_in_depends_on_capabilities_and_architecture() {
        let of = |arch, capabilities| {
            convert(&seccomp_default::profile(), &Host { arch, kernel: (6, 1), capabilities }).unwrap()
        };
        let few = of("x86_64", &["CAP_SYS_CHROOT"]);
        for (name, is_there) in [
            ("read", true),
            ("clone3", true),
            ("chroot", true),
            ("arch_prctl", true),
            ("personality", true),
            ("socket", true),
            ("bpf", false),
            ("init_module", false),
            ("kexec_load", false),
            ("keyctl", false),
            ("add_key", false),
            ("userfaultfd", false),
            ("open_by_handle_at", false),
            ("perf_event_open", false),
            ("io_uring_setup", false),
            ("s390_runtime_instr", false),
        ] {
            assert_eq!(allowed(&few).contains(name), is_there, "{name}");
        }
        assert!(allowed(&of("x86_64", &["CAP_SYS_ADMIN"])).contains("bpf"));
        let arm = of("aarch64", &[]);
        assert!(!allowed(&arm).contains("arch_prctl") && !allowed(&arm).contains("chroot"));
        assert!(allowed(&arm).contains("sync_file_range2"));
        assert_eq!(arm["architectures"], json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]));
        // Sockets of the kernel's audit are for those with its capability.
        let sockets = |profile: &Value| -> Vec<Value> {
            let rules = list(profile, "syscalls").filter(|rule| rule["names"] == json!(["socket"]));
            rules.map(|rule| rule.get("args").cloned().unwrap_or_default()).collect()
        };
        assert!(sockets(&few).iter().all(|arguments| !arguments.is_null()));
        assert_eq!(sockets(&of("x86_64", &["CAP_AUDIT_WRITE"])), [Value::Null]);
        serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(few).unwrap();
    }
}
