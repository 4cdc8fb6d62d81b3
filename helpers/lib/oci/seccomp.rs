//! The seccomp profile of the host's container tools, containers/common's seccomp.json, converted for a runtime configuration.
//!
//! Neither crun nor runc has a profile of its own. Engines derive theirs from this file, in which rules depend on architecture,
//! capabilities and kernel.

use serde_json::{Map, Value, json};

use crate::error::{Context, Result};
use crate::paths::Root;

/// Where administrators and packages put the profile; the first file wins.
const FILES: [&str; 2] = ["/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"];

/// Returns `linux.seccomp` for a payload with these capabilities; `None` where the host has no profile.
pub fn profile(root: &Root, capabilities: &[&str]) -> Result<Option<Value>> {
    let Some(path) = FILES.into_iter().find(|path| root.join(*path).is_file()) else {
        return Ok(None);
    };
    let what = || format!("cannot read the seccomp profile {}", path);
    let text = std::fs::read(root.join(path)).context(what)?;
    let profile: Value = serde_json::from_slice(&text).context(what)?;
    Ok(Some(convert(&profile, std::env::consts::ARCH, capabilities)))
}

fn convert(profile: &Value, arch: &str, capabilities: &[&str]) -> Value {
    let mut out = Map::new();
    for key in ["defaultAction", "defaultErrnoRet"] {
        out.extend(profile.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let names = names_of(arch);
    let is_this = |entry: &&Value| entry.get("architecture").and_then(Value::as_str) == Some(names.1);
    if let Some(entry) = list(profile, "archMap").find(is_this) {
        let sub = list(entry, "subArchitectures").cloned();
        out.insert("architectures".into(), [json!(names.1)].into_iter().chain(sub).collect());
    }
    let applies = |rule: &&Value| {
        let meets = |condition: &Value| {
            let listed = |key, name: &str| list(condition, key).any(|value| value == name);
            let arches = condition.get("arches").is_none_or(|_| listed("arches", names.0));
            let caps = condition.get("caps").is_none_or(|_| capabilities.iter().any(|c| listed("caps", c)));
            arches && caps
        };
        let empty = |key| rule.get(key).and_then(Value::as_object).is_none_or(Map::is_empty);
        // Rules also name a minimal kernel version, which is older than what systemd requires.
        (empty("includes") || meets(&rule["includes"])) && (empty("excludes") || !meets(&rule["excludes"]))
    };
    let syscalls = list(profile, "syscalls").filter(applies).map(syscall);
    out.insert("syscalls".into(), syscalls.collect());
    Value::Object(out)
}

/// Keeps those keys of a rule that the runtime specification has.
fn syscall(rule: &Value) -> Value {
    let mut out = Map::new();
    for key in ["names", "action", "errnoRet"] {
        out.extend(
            rule.get(key).filter(|value| !value.is_null()).map(|value| (key.to_owned(), value.clone())),
        );
    }
    let arguments: Vec<Value> = list(rule, "args").cloned().collect();
    if !arguments.is_empty() {
        out.insert("args".into(), arguments.into());
    }
    Value::Object(out)
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

    #[test]
    fn conditions_are_decided() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}, {"architecture": "SCMP_ARCH_AARCH64"}],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
                {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["umount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            ],
        });
        let out = convert(&profile, "x86_64", &["CAP_SYS_CHROOT"]);
        let names: Vec<_> = list(&out, "syscalls").map(|rule| rule["names"][0].as_str().unwrap()).collect();
        assert_eq!(names, ["read", "chroot", "umount", "clone"]);
        assert_eq!(out["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!(out["syscalls"][0], json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"}));
        assert_eq!(out["defaultErrnoRet"], 38);
        serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(out).unwrap();
    }
}
