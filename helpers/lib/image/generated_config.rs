//! The runtime configuration of an image that has none in `/exports`, made from its OCI image configuration.
//!
//! The payload shares the host's network and has all other namespaces to itself, as is usual for system containers.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::container::info::Values;
use crate::container::settings::{HOST_NAME, READ_ONLY as READ_ONLY_ROOT, Settings};
use crate::container::volume::Volume;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::grants;
use crate::image::installation::Installation;
use crate::image::kernel;
use crate::image::limits;
use crate::image::lookup::{Found, Lookup};
use crate::image::overrides;
use crate::image::systemd;
use crate::image::tree::Tree;
use crate::image::user::User;
use crate::name::Name;
use crate::oci::config::STOP_SIGNAL;
use crate::oci::mount::{Mount, TMPCOPYUP};
use crate::paths::{self, KERNEL};
use crate::signal;

/// How many processes and threads a payload may have, as with podman.
const PIDS: u32 = 2048;

/// What a payload does not see of the host's hardware and kernel: what podman masks, and the meters of power, from
/// which secrets can be told.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// What a payload can read, but not change.
const READ_ONLY: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Many images of systemd declare a volume there. The payload has the cgroup file system in its place: systemd to make
/// cgroups, and all others to read.
const CGROUP: &str = "/sys/fs/cgroup";

/// The directories that a payload writes to in memory, and for which ones they are, with the mode of one that the image
/// does not have, and bounds. Together they hardly are what the kernel gives to a single one, half of the memory, and no
/// number of empty files takes more.
const IN_MEMORY: [(&str, Whose, &str, &str, &str); 5] = [
    ("/run", Whose::Both, "mode=755", "size=10%", "nr_inodes=100k"),
    ("/run/lock", Whose::Systemd, "mode=755", "size=1%", "nr_inodes=10k"),
    ("/tmp", Whose::Both, "mode=1777", "size=20%", "nr_inodes=200k"),
    ("/var/log/journal", Whose::Systemd, "mode=755", "size=10%", "nr_inodes=10k"),
    ("/var/tmp", Whose::ReadOnly, "mode=1777", "size=20%", "nr_inodes=200k"),
];

/// The payloads that have a directory in memory: those whose root file system is read-only, and those that are systemd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    ReadOnly,
    Systemd,
    Both,
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What podman has payloads believe that nobody may be looking at.
const TERM: &str = "TERM=xterm";
/// By this, programs know that they are in a container, as systemd does: see its container interface.
const CONTAINER: &str = "container=oci";

/// A configuration made for an image, and what it needs on the host.
pub struct GeneratedConfig {
    /// The configuration, as JSON text.
    pub text: String,
    /// Directories that the payload writes to, which outlive deployments.
    pub volumes: Vec<Volume>,
    /// Whether the payload is systemd.
    pub systemd: bool,
}

/// Makes a configuration. `environment` extends and overrides the image's environment.
pub fn generate(
    tree: &dyn Tree,
    image: &Image,
    installation: &Installation,
    environment: &Values,
) -> Result<GeneratedConfig> {
    kernel::check(tree)?;
    let settings = installation.settings;
    let mut config = image.configuration()?.config().clone().unwrap_or_default();
    overrides::apply(&mut config, settings)?;
    let args: Vec<&String> = [config.entrypoint(), config.cmd()].into_iter().flatten().flatten().collect();
    if args.is_empty() {
        let why = "it has neither exports/config.json nor an Entrypoint or Cmd, so there is nothing to run";
        return Err(Error::new(why));
    }
    let user = User::find(tree, (installation.root, settings), config.user().as_deref().unwrap_or_default());
    let user = match settings.last("User") {
        Some(text) => user.context(|| format!("cannot use User={text}"))?,
        None => user?,
    };
    let directory = paths::cleaned(config.working_dir().as_deref().unwrap_or_default());
    let directory = directory.to_string_lossy();
    let environment = overrides::environment(environment, settings)?;
    let systemd = systemd::is_payload(&args, settings)?;
    let mut volumes = volumes(config.volumes().as_deref().unwrap_or_default(), &user)?;
    volumes.retain(|volume| !systemd || systemd::keeps(&volume.destination, settings));
    let read_only = installation.settings.is_on(READ_ONLY_ROOT);
    let mut value = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": user.to_json(),
            "args": args,
            "env": env(config.env().as_deref(), &environment, home(&user, &directory)),
            "cwd": directory,
        },
        "root": {"path": "rootfs", "readonly": read_only},
        "mounts": mounts(installation.name, &volumes, read_only, systemd),
        "linux": {
            "resources": {"pids": {"limit": PIDS}},
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    });
    if let Some(name) = installation.settings.last(HOST_NAME) {
        value["hostname"] = json!(name);
    }
    grants::apply(&mut value, settings, user.uid == 0)?;
    grants::check_kinds(tree, installation.root, settings)?;
    grants::check_room(&value, installation.root)?;
    check_directory(tree, &value, settings)?;
    let default = systemd.then_some(systemd::STOP_SIGNAL);
    if let Some(signal) = stop_signal(config.stop_signal().as_deref())?.or(default) {
        value["annotations"] = json!({STOP_SIGNAL: signal});
    }
    Ok(GeneratedConfig { text: format!("{value:#}\n"), volumes, systemd })
}

/// Fails if the working directory is a file of the image. Where it is missing, it is made.
fn check_directory(tree: &dyn Tree, config: &Value, settings: &Settings) -> Result<()> {
    let directory = config["process"]["cwd"].as_str().unwrap_or("/");
    if directory == "/" {
        return Ok(());
    }
    let mounts = Mount::all(config).filter_map(|mount| mount.destination());
    match Lookup::new(tree, mounts)?.find(directory.as_ref())? {
        Found::Directory | Found::Missing | Found::Mounted => Ok(()),
        Found::File(_) | Found::Other(_) => Err(Error::new(match settings.last("WorkingDir") {
            Some(text) => format!("cannot use WorkingDir={text}: it is not a directory in the image"),
            None => format!("its WorkingDir {directory:?} is not a directory in it"),
        })),
    }
}

fn stop_signal(signal: Option<&str>) -> Result<Option<&str>> {
    match signal {
        None | Some("") => Ok(None),
        Some(signal) if signal::number(signal).is_some() => Ok(Some(signal)),
        Some(signal) => Err(Error::new(format!("its StopSignal {signal:?} is not a signal"))),
    }
}

/// The home of a user, which is the working directory of one that the image does not know, as with podman.
fn home<'a>(user: &'a User, directory: &'a str) -> &'a str {
    user.home().unwrap_or(if user.uid == 0 { "/" } else { directory })
}

/// Returns the image's environment, overridden by the user's values.
fn env(image: Option<&[String]>, values: &Values, home: &str) -> Vec<String> {
    let key = |entry: &str| entry.split_once('=').map_or(entry, |(key, _)| key).to_owned();
    let mut env: Vec<String> = image.unwrap_or_default().to_vec();
    env.retain(|entry| !values.contains_key(&key(entry)));
    env.extend(values.iter().map(|(key, value)| format!("{key}={value}")));
    let home = format!("HOME={home}");
    for default in [PATH, TERM, CONTAINER, &home] {
        if !env.iter().any(|entry| key(entry) == key(default)) {
            env.push(default.to_owned());
        }
    }
    env
}

/// Returns the volumes at `paths` of the container, outer ones first; those that the image does not have are `user`'s.
fn volumes(paths: &[String], user: &User) -> Result<Vec<Volume>> {
    limits::check_mount_count(paths.len())?;
    let mut destinations = BTreeSet::new();
    for path in paths {
        let destination = paths::cleaned(path);
        if destination == Path::new("/") {
            let why = format!("its volume {path:?} would be the whole root file system");
            return Err(Error::new(why));
        }
        if destination == Path::new(CGROUP) {
            continue;
        }
        if let Some(place) = KERNEL.iter().find(|place| destination.starts_with(place)) {
            // As at an installation, where links in the image are known, too.
            return Err(Error::new(format!(
                "its volume {path:?} would be in {place}, which is the kernel's"
            )));
        }
        destinations.insert(destination);
    }
    let owner = Some((user.uid, user.gid));
    // Sorted by components, a volume inside another one comes after it, and is mounted after it.
    Ok(destinations.into_iter().map(|destination| Volume { destination, owner }).collect())
}

fn mounts(name: &Name, volumes: &[Volume], read_only: bool, systemd: bool) -> Vec<Value> {
    let tmpfs = |destination: &str, options: &[&str]| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options});
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        tmpfs("/dev", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        tmpfs("/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
               "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
               "options": ["nosuid", "noexec", "nodev", "ro"]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
               "options": ["nosuid", "noexec", "nodev", "relatime", if systemd { "rw" } else { "ro" }]}),
    ];
    // One that is a volume is on disk.
    let is_volume = |path: &str| volumes.iter().any(|volume| volume.destination == Path::new(path));
    let in_memory = IN_MEMORY.iter().filter(|(destination, whose, ..)| {
        let is_theirs = read_only && *whose != Whose::Systemd || systemd && *whose != Whose::ReadOnly;
        is_theirs && !is_volume(destination)
    });
    mounts.extend(in_memory.map(|(destination, _, mode, size, inodes)| {
        tmpfs(destination, &["nosuid", "nodev", TMPCOPYUP, mode, size, inodes])
    }));
    mounts.extend(volumes.iter().map(|volume| {
        let (source, destination) = (volume.directory(name).to_string(), volume.destination.to_string_lossy());
        json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "rw", "nosuid", "nodev"]})
    }));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_directory_is_no_file_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/file"), "").unwrap();
        let tree = crate::image::tree::Directory(dir.path().into());
        let check = |cwd: &str, settings: &[&str]| {
            let config = json!({"process": {"cwd": cwd}, "mounts": [{"destination": "/etc/file/mounted"}]});
            check_directory(&tree, &config, &Settings::of(settings)).map_err(|e| e.to_string())
        };
        for good in ["/", "/etc", "/none/x"] {
            check(good, &[]).unwrap();
        }
        let own = "its WorkingDir \"/etc/file/x\" is not a directory in it";
        assert_eq!(check("/etc/file/x", &[]).unwrap_err(), own);
        let users = "cannot use WorkingDir=/etc/file: it is not a directory in the image";
        assert_eq!(check("/etc/file", &["WorkingDir=/etc/file"]).unwrap_err(), users);
    }

    #[test]
    fn systemd_writes_to_cgroups_and_to_memory() {
        let name = "web".parse().unwrap();
        let is_in_memory = |mount: &Value| IN_MEMORY.iter().any(|(path, ..)| mount["destination"] == *path);
        let systemd = mounts(&name, &[], false, true);
        let places: Vec<_> =
            systemd.iter().filter(|mount| is_in_memory(mount)).map(|m| &m["destination"]).collect();
        assert_eq!(places, ["/run", "/run/lock", "/tmp", "/var/log/journal"]);
        let cgroup =
            |mounts: &[Value]| mounts.iter().find(|m| m["type"] == "cgroup").unwrap()["options"][4].clone();
        assert_eq!(
            (
                cgroup(&systemd),
                cgroup(&mounts(&name, &[], false, false)),
                cgroup(&mounts(&name, &[], true, false))
            ),
            (json!("rw"), json!("ro"), json!("ro"))
        );
        assert_eq!(mounts(&name, &[], true, true).iter().filter(|mount| is_in_memory(mount)).count(), 5);
        let journal = Volume { destination: "/var/log/journal".into(), owner: None };
        let kept = mounts(&name, &[journal], false, true);
        let types: Vec<_> =
            kept.iter().filter(|m| m["destination"] == "/var/log/journal").map(|m| &m["type"]).collect();
        assert_eq!(types, ["bind"]);
    }

    #[test]
    fn environments_and_volumes() {
        let image = ["A=1".to_owned(), "B=2".into()];
        let values = Values::from([("B".into(), "x=y".into()), ("C".into(), "".into())]);
        let found = env(Some(&image), &values, "/h");
        assert_eq!(found, ["A=1", "B=x=y", "C=", PATH, TERM, CONTAINER, "HOME=/h"]);
        let own = Values::from([("HOME".into(), "/mine".into()), ("TERM".into(), "".into())]);
        assert_eq!(env(None, &own, "/h"), ["HOME=/mine", "TERM=", PATH, CONTAINER]);
        let user = User { uid: 7, ..User::default() };
        let paths =
            ["/a/../a/b", "/a-b", "var//lib/x/", "/a", "/a/.", "../a", "/sys/fs/cgroup/"].map(str::to_owned);
        let found = volumes(&paths, &user).unwrap();
        let destinations: Vec<_> = found.iter().map(|v| v.destination.to_str().unwrap()).collect();
        // An outer one is mounted first, and none twice.
        assert_eq!(destinations, ["/a", "/a/b", "/a-b", "/var/lib/x"]);
        assert!(found.iter().all(|volume| volume.owner == Some((7, 0))));
        let name = "web".parse().unwrap();
        let mounts = mounts(&name, &found, false, false);
        let sources: Vec<_> =
            mounts.iter().rev().take(4).map(|mount| mount["source"].as_str().unwrap()).collect();
        let expected =
            ["var-lib-x", "a\\x2db", "a-b", "a"].map(|file| format!("/var/lib/syscontainers/web/{file}"));
        assert_eq!(sources, expected);
        let is_in_memory = |mount: &Value| IN_MEMORY.iter().any(|(path, ..)| mount["destination"] == *path);
        assert!(!mounts.iter().any(is_in_memory));
        let read_only = super::mounts(&name, &found, true, false);
        let in_memory: Vec<_> = read_only.iter().filter(|mount| is_in_memory(mount)).collect();
        assert_eq!(in_memory.len(), 3);
        assert!(
            in_memory.iter().all(|mount| mount["options"].as_array().unwrap().contains(&json!(TMPCOPYUP)))
        );
        for bad in [
            "/",
            "",
            "a/..",
            "/..",
            "/.",
            "/proc",
            "//proc/sys/",
            "/data/../proc",
            "proc",
            "/dev",
            "/dev/shm",
            "/sys",
            "/sys/fs",
        ] {
            assert!(volumes(&[bad.to_owned()], &user).is_err(), "{bad}");
        }
        // Before any of them is looked at.
        let many = volumes(&vec!["".to_owned(); limits::MOUNTS + 1], &user).err().unwrap().to_string();
        assert!(many.contains("more than 1000 mounts"), "{many}");
    }
}
