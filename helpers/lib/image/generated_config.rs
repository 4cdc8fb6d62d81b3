//! The runtime configuration of an image that has none in `/exports`, made from its OCI image configuration.
//!
//! The payload shares the host's network and has all other namespaces to itself, as is usual for system containers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::container::info::Values;
use crate::container::volume::Volume;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::installation::Installation;
use crate::image::tree::Tree;
use crate::name::Name;
use crate::oci::capabilities;
use crate::oci::config::STOP_SIGNAL;
use crate::oci::seccomp;
use crate::oci::signal;
use crate::paths;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A configuration made for an image, and what it needs on the host.
pub struct GeneratedConfig {
    /// The configuration, as JSON text.
    pub text: String,
    /// Directories that the payload writes to, which outlive deployments.
    pub volumes: Vec<Volume>,
}

/// Makes a configuration. `environment` extends and overrides the image's environment.
pub fn generate(
    tree: &dyn Tree,
    image: &Image,
    installation: &Installation,
    environment: &Values,
) -> Result<GeneratedConfig> {
    let config = image.configuration()?.config().clone().unwrap_or_default();
    let args: Vec<&String> = [config.entrypoint(), config.cmd()].into_iter().flatten().flatten().collect();
    if args.is_empty() {
        let why = "it has neither exports/config.json nor an Entrypoint or Cmd, so there is nothing to run";
        return Err(Error::new(why));
    }
    let user = match config.user().as_deref() {
        None | Some("") => User::default(),
        Some(user) => find_user(tree, user)?,
    };
    let volumes = volumes(config.volumes().as_deref().unwrap_or_default(), &user)?;
    let capabilities = capabilities::DEFAULT;
    let mut value = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": user.to_json(),
            "args": args,
            "env": env(config.env().as_deref(), environment),
            "cwd": working_directory(config.working_dir().as_deref())?,
            "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": installation.name,
        "mounts": mounts(installation.name, &volumes),
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    if let Some(seccomp) = seccomp::profile(installation.root, &capabilities)? {
        value["linux"]["seccomp"] = seccomp;
    }
    if let Some(signal) = stop_signal(config.stop_signal().as_deref())? {
        value["annotations"] = json!({STOP_SIGNAL: signal});
    }
    Ok(GeneratedConfig { text: format!("{value:#}\n"), volumes })
}

fn stop_signal(signal: Option<&str>) -> Result<Option<&str>> {
    match signal {
        None | Some("") => Ok(None),
        Some(signal) if signal::number(signal).is_some() => Ok(Some(signal)),
        Some(signal) => Err(Error::new(format!("its StopSignal {signal:?} is not a signal"))),
    }
}

/// Returns the image's environment, overridden by the user's values.
fn env(image: Option<&[String]>, values: &Values) -> Vec<String> {
    let key = |entry: &str| entry.split_once('=').map_or(entry, |(key, _)| key).to_owned();
    let mut env: Vec<String> = image.unwrap_or_default().to_vec();
    env.retain(|entry| !values.contains_key(&key(entry)));
    env.extend(values.iter().map(|(key, value)| format!("{key}={value}")));
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(PATH.into());
    }
    env
}

fn working_directory(directory: Option<&str>) -> Result<&str> {
    match directory {
        None | Some("") => Ok("/"),
        Some(directory) if directory.starts_with('/') => Ok(directory),
        Some(directory) => Err(Error::new(format!("its WorkingDir {directory:?} is not absolute"))),
    }
}

/// Returns the volumes at `paths` of the container, outer ones first; those that the image does not have are `user`'s.
fn volumes(paths: &[String], user: &User) -> Result<Vec<Volume>> {
    let mut destinations = BTreeSet::new();
    for path in paths {
        let parts = paths::components(Path::new(path)).filter(|parts| !parts.is_empty());
        let parts = parts.ok_or_else(|| {
            Error::new(format!("its volume {path:?} is not an absolute path of a directory"))
        })?;
        if parts[0] == "proc" {
            // As at an installation, where links in the image are known, too.
            return Err(Error::new(format!("its volume {path:?} would be in /proc, which is the kernel's")));
        }
        destinations.insert(Path::new("/").join(parts.iter().collect::<PathBuf>()));
    }
    let owner = Some((user.uid, user.gid));
    // Sorted by components, a volume inside another one comes after it, and is mounted after it.
    Ok(destinations.into_iter().map(|destination| Volume { destination, owner }).collect())
}

fn mounts(name: &Name, volumes: &[Volume]) -> Vec<Value> {
    let tmpfs = |destination: &str, mode: &str| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", mode]});
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        tmpfs("/dev/shm", "mode=1777"),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
               "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
               "options": ["nosuid", "noexec", "nodev", "ro"]}),
        tmpfs("/run", "mode=755"),
        tmpfs("/tmp", "mode=1777"),
        tmpfs("/var/tmp", "mode=1777"),
    ];
    mounts.extend(volumes.iter().map(|volume| {
        let (source, destination) = (volume.directory(name).to_string(), volume.destination.to_string_lossy());
        json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "rw", "nosuid", "nodev"]})
    }));
    mounts
}

/// The user that a payload runs as.
#[derive(Debug, Default, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl User {
    fn to_json(&self) -> Value {
        let mut value = json!({"uid": self.uid, "gid": self.gid});
        if !self.groups.is_empty() {
            value["additionalGids"] = json!(self.groups);
        }
        value
    }
}

/// Finds `USER` or `USER:GROUP`, each a number, or a name in the image's own passwd(5) and group(5).
fn find_user(tree: &dyn Tree, text: &str) -> Result<User> {
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
    // As at a login: a user without an explicit group is in all groups that list it as a member.
    let groups = if group.is_none() { memberships(&read("etc/group")?, user) } else { Vec::new() };
    Ok(User { uid, gid, groups })
}

/// Returns the numbers of the groups that have `user` among their members.
fn memberships(file: &str, user: &str) -> Vec<u32> {
    let fields = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let of_user =
        fields.filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|m| m == user)));
    of_user.filter_map(|fields| fields.get(2)?.parse().ok()).collect()
}

/// Returns the third and the fourth field of the entry called `name`, as numbers.
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
        assert_eq!(memberships("ssl:x:104:web,db\nweb:x:44:\n", "web"), [104]);
    }

    #[test]
    fn environments_and_volumes() {
        let image = ["A=1".to_owned(), "B=2".into()];
        let values = Values::from([("B".into(), "x=y".into()), ("C".into(), "".into())]);
        assert_eq!(env(Some(&image), &values), ["A=1", "B=x=y", "C=", PATH]);
        let user = User { uid: 7, ..User::default() };
        let paths = ["/a/b", "/a-b", "/var/lib/x/", "/a", "/a/."].map(str::to_owned);
        let found = volumes(&paths, &user).unwrap();
        let destinations: Vec<_> = found.iter().map(|v| v.destination.to_str().unwrap()).collect();
        // An outer one is mounted first, and none twice.
        assert_eq!(destinations, ["/a", "/a/b", "/a-b", "/var/lib/x"]);
        assert!(found.iter().all(|volume| volume.owner == Some((7, 0))));
        let name = "web".parse().unwrap();
        let mounts = mounts(&name, &found);
        let sources: Vec<_> =
            mounts.iter().rev().take(4).map(|mount| mount["source"].as_str().unwrap()).collect();
        let expected =
            ["var-lib-x", "a\\x2db", "a-b", "a"].map(|file| format!("/var/lib/syscontainers/web/{file}"));
        assert_eq!(sources, expected);
        for bad in ["data", "/", "", "/a/../b", "/..", "/.", "/proc", "//proc/sys/"] {
            assert!(volumes(&[bad.to_owned()], &user).is_err(), "{bad}");
        }
    }
}
