//! The runtime configuration of an image without one in `/exports`: made of its OCI image configuration.
//!
//! The payload has the host's network and the other namespaces of its own, as system containers commonly have.

use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::store::Image;
use crate::tree::Tree;

/// Capabilities of a service that brings no configuration: those that container engines give, without making devices.
const CAPABILITIES: [&str; 10] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The configuration of a container called `name`, as JSON text.
pub fn of(tree: &Tree, image: &Image, name: &Name) -> Result<String> {
    let what = || format!("cannot make a configuration for {}", image.name);
    let config: ImageConfiguration = serde_json::from_str(&image.config).context(what)?;
    let config = config.config().clone().unwrap_or_default();
    let lists = [config.entrypoint(), config.cmd()];
    let args: Vec<String> = lists.into_iter().flatten().flatten().cloned().collect();
    if args.is_empty() {
        let why = "it has neither exports/config.json nor an Entrypoint or Cmd, so there is nothing to run";
        return Err(Error::new(why)).context(what);
    }
    let mut env = config.env().clone().unwrap_or_default();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(PATH.into());
    }
    let user = match config.user().as_deref() {
        None | Some("") => json!({"uid": 0, "gid": 0}),
        Some(user) => find_user(tree, user).context(what)?,
    };
    let cwd = config.working_dir().as_deref().filter(|cwd| cwd.starts_with('/')).unwrap_or("/");
    let value = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": user, "args": args, "env": env, "cwd": cwd, "noNewPrivileges": true,
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": name,
        "mounts": mounts(),
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    Ok(format!("{value:#}\n"))
}

fn mounts() -> Value {
    let tmpfs = |destination: &str, mode: &str| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", mode]});
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        tmpfs("/dev/shm", "mode=1777"),
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        tmpfs("/run", "mode=755"),
        tmpfs("/tmp", "mode=1777"),
        tmpfs("/var/tmp", "mode=1777"),
    ])
}

/// `USER` or `USER:GROUP`, each a number, or a name in the image's own passwd(5) and group(5).
fn find_user(tree: &Tree, text: &str) -> Result<Value> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let read = |path| -> Result<String> {
        Ok(String::from_utf8_lossy(&tree.read(path)?.unwrap_or_default()).into_owned())
    };
    let entry = find_entry(&read("etc/passwd")?, user);
    let uid = entry.as_ref().map(|e| e.0).or_else(|| user.parse().ok());
    let uid: u32 = uid.ok_or_else(|| Error::new(format!("its user {user:?} is not in its /etc/passwd")))?;
    let gid = match group {
        Some(group) => find_entry(&read("etc/group")?, group).map(|e| e.0).or_else(|| group.parse().ok()),
        None => Some(entry.and_then(|e| e.1).unwrap_or(0)),
    };
    let gid: u32 =
        gid.ok_or_else(|| Error::new(format!("its group in {text:?} is not in its /etc/group")))?;
    Ok(json!({"uid": uid, "gid": gid}))
}

/// Third and fourth field of the entry called `name`, as numbers.
fn find_entry(file: &str, name: &str) -> Option<(u32, Option<u32>)> {
    let fields = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
    Some((entry.get(2)?.parse().ok()?, entry.get(3).and_then(|gid| gid.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_up_names() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/:\nbad:x:y:1\n";
        assert_eq!(find_entry(passwd, "web"), Some((33, Some(44))));
        assert_eq!(find_entry("adm:x:7:\n", "adm"), Some((7, None)));
        assert_eq!(find_entry(passwd, "bad"), None);
        assert_eq!(find_entry(passwd, "we"), None);
    }
}
