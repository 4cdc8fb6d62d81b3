//! The runtime configuration of an image without one in `/exports`: made of its OCI image configuration.
//!
//! The payload has the host's network and the other namespaces of its own, as system containers commonly have.

use std::path::{Component, Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};

use crate::container::volumes::Volume;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::tree::Tree;
use crate::image::variables::Values;
use crate::name::Name;
use crate::oci::capabilities;
use crate::oci::config;
use crate::oci::seccomp;
use crate::oci::signal;
use crate::paths::Root;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What an image without a configuration of its own is run as.
pub struct GeneratedConfig {
    /// The configuration, as JSON text.
    pub config: String,
    /// Directories that it writes to, which outlive deployments.
    pub volumes: Vec<Volume>,
}

/// The default of a container called `name`; `values` add to its environment, `state` is where volumes are.
pub fn of(
    tree: &dyn Tree,
    image: &Image,
    name: &Name,
    root: &Root,
    values: &Values,
    state: &Path,
) -> Result<GeneratedConfig> {
    let what = || format!("cannot make a configuration for {}", image.name);
    let config: ImageConfiguration = serde_json::from_str(&image.config).context(what)?;
    let config = config.config().clone().unwrap_or_default();
    let lists = [config.entrypoint(), config.cmd()];
    let args: Vec<String> = lists.into_iter().flatten().flatten().cloned().collect();
    if args.is_empty() {
        let why = "it has neither exports/config.json nor an Entrypoint or Cmd, so there is nothing to run";
        return Err(Error::new(why)).context(what);
    }
    let user = match config.user().as_deref() {
        None | Some("") => json!({"uid": 0, "gid": 0}),
        Some(user) => find_user(tree, user).context(what)?,
    };
    let volumes =
        volumes(config.volumes().as_deref().unwrap_or_default(), name, state, &user).context(what)?;
    let seccomp = seccomp::profile(root, &capabilities::DEFAULT).context(what)?;
    let mut value = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": user, "args": args, "env": env(config.env().as_deref(), values),
            "cwd": working_directory(config.working_dir().as_deref()).context(what)?, "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities::DEFAULT, "effective": capabilities::DEFAULT, "permitted": capabilities::DEFAULT},
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": name,
        "mounts": mounts(&volumes),
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    if let Some(seccomp) = seccomp {
        value["linux"]["seccomp"] = seccomp;
    }
    if let Some(signal) = config.stop_signal().as_deref().filter(|signal| !signal.is_empty()) {
        if signal::number(signal).is_none() {
            return Err(Error::new(format!("its StopSignal {signal:?} is no signal"))).context(what);
        }
        value["annotations"] = json!({config::STOP_SIGNAL: signal});
    }
    Ok(GeneratedConfig { config: format!("{value:#}\n"), volumes })
}

/// The image's environment, in which the user's values win.
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

/// Below `state`, at the path that they have in the container.
fn volumes(paths: &[String], name: &Name, state: &Path, user: &Value) -> Result<Vec<Volume>> {
    let id = |key: &str| user.get(key).and_then(Value::as_u64).unwrap_or(0) as u32;
    let mut volumes = Vec::new();
    for path in paths {
        let destination: PathBuf = Path::new(path).components().collect();
        let mut parts = destination.components();
        let is_plain = parts.next() == Some(Component::RootDir)
            && parts.all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || destination == Path::new("/") {
            return Err(Error::new(format!("its volume {path:?} is no absolute path of a directory")));
        }
        let directory = state.join(name.as_str()).join(destination.strip_prefix("/").unwrap_or(&destination));
        volumes.push(Volume { directory, destination, owner: (id("uid"), id("gid")) });
    }
    // One inside another is mounted after it.
    volumes.sort_by(|a, b| a.destination.cmp(&b.destination));
    Ok(volumes)
}

fn mounts(volumes: &[Volume]) -> Value {
    let tmpfs = |destination: &str, mode: &str| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", mode]});
    let mut mounts = json!([
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
    ]);
    let volumes = volumes.iter().map(|volume| {
        let (source, destination) = (volume.directory.to_string_lossy(), volume.destination.to_string_lossy());
        json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw", "nosuid", "nodev"]})
    });
    mounts.as_array_mut().into_iter().for_each(|mounts| mounts.extend(volumes.clone()));
    mounts
}

/// `USER` or `USER:GROUP`, each a number, or a name in the image's own passwd(5) and group(5).
fn find_user(tree: &dyn Tree, text: &str) -> Result<Value> {
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
    let mut found = json!({"uid": uid, "gid": gid});
    // As at a login: of a user that is named, the groups that name them.
    let others = if group.is_none() { memberships(&read("etc/group")?, user) } else { Vec::new() };
    if !others.is_empty() {
        found["additionalGids"] = json!(others);
    }
    Ok(found)
}

/// Numbers of the groups that have `user` among their members.
fn memberships(file: &str, user: &str) -> Vec<u32> {
    let fields = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let of_user =
        fields.filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|m| m == user)));
    of_user.filter_map(|fields| fields.get(2)?.parse().ok()).collect()
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
        assert_eq!(memberships("ssl:x:104:web,db\nweb:x:44:\n", "web"), [104]);
    }

    #[test]
    fn environments_and_volumes() {
        let image = ["A=1".to_owned(), "B=2".into()];
        let values = Values::from([("B".into(), "x=y".into()), ("C".into(), "".into())]);
        assert_eq!(env(Some(&image), &values), ["A=1", "B=x=y", "C=", PATH]);
        let name = "web".parse().unwrap();
        let paths = ["/var/lib/x/".to_owned(), "/data".into()];
        let found = volumes(&paths, &name, Path::new("/var/lib"), &json!({"uid": 7})).unwrap();
        let directories: Vec<_> = found.iter().map(|v| v.directory.to_str().unwrap()).collect();
        assert_eq!(directories, ["/var/lib/web/data", "/var/lib/web/var/lib/x"]);
        for bad in ["data", "/", "", "/a/../b"] {
            assert!(volumes(&[bad.to_owned()], &name, Path::new("/"), &json!({})).is_err(), "{bad}");
        }
    }
}
