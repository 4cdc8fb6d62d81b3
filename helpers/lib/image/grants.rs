//! Keys that change what a payload gets: mounts, capabilities, namespaces and limits. They are applied to the runtime
//! configuration that was made for the image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::container::keys::limits;
use crate::container::keys::mounts::{UserMount, UserMountKind};
use crate::container::keys::payload::{self, Namespace};
use crate::container::needs;
use crate::container::room;
use crate::container::settings::Settings;
use crate::error::{Context, Error, Result};
use crate::image::tree::Tree;
use crate::oci::capabilities;
use crate::oci::mount::Mount;
use crate::paths::{Root, TreePath};

/// Where the memory is that processes share.
const SHM: &str = "/dev/shm";
/// Where message queues are.
const QUEUES: &str = "/dev/mqueue";
/// What describes the time zone.
const LOCALTIME: &str = "/etc/localtime";

/// Changes a configuration. The payload is root if `is_root`.
pub fn apply(config: &mut Value, settings: &Settings, is_root: bool) -> Result<()> {
    config["process"]["noNewPrivileges"] = json!(settings.is_on("NoNewPrivileges"));
    config["process"]["capabilities"] = capability_sets(settings, is_root)?;
    let limits = rlimits(settings)?;
    if !limits.is_empty() {
        config["process"]["rlimits"] = json!(limits);
    }
    namespaces(config, settings);
    mounts(config, settings)
}

/// The sets of a payload. One of another user than root has none but those that its programs bring, within the bounding
/// set, and those that were added.
fn capability_sets(settings: &Settings, is_root: bool) -> Result<Value> {
    let (added, dropped) = (names(settings, "AddCapability")?, names(settings, "DropCapability")?);
    if let Some(name) = added.named.intersection(&dropped.named).next() {
        return Err(Error::new(format!("{name} is in both AddCapability= and DropCapability=")));
    }
    if added.all && dropped.all {
        return Err(Error::new("AddCapability=all and DropCapability=all contradict each other"));
    }
    let every: BTreeSet<String> = capabilities::ALL.iter().map(|name| format!("CAP_{name}")).collect();
    let default: BTreeSet<String> = capabilities::DEFAULT.map(str::to_owned).into();
    let mut bounding = match (added.all, dropped.all) {
        (true, _) => every,
        (_, true) => BTreeSet::new(),
        _ => default,
    };
    bounding.extend(added.named.iter().cloned());
    bounding.retain(|name| !dropped.named.contains(name));
    if is_root {
        return Ok(json!({"bounding": bounding, "effective": bounding, "permitted": bounding}));
    }
    let own: BTreeSet<&String> =
        bounding.iter().filter(|name| added.all || added.named.contains(*name)).collect();
    if own.is_empty() {
        return Ok(json!({"bounding": bounding}));
    }
    Ok(json!({"bounding": bounding, "effective": own, "permitted": own, "inheritable": own, "ambient": own}))
}

#[derive(Default)]
struct Capabilities {
    all: bool,
    named: BTreeSet<String>,
}

fn names(settings: &Settings, key: &str) -> Result<Capabilities> {
    let mut found = Capabilities::default();
    for text in settings.all(key) {
        match payload::capability_names(text)? {
            Some(names) => found.named.extend(names),
            None => found.all = true,
        }
    }
    Ok(found)
}

/// The limits, the last one of each kind.
fn rlimits(settings: &Settings) -> Result<Vec<Value>> {
    let mut all = BTreeMap::new();
    for text in settings.all("Ulimit") {
        let limit = limits::ulimit(text)?;
        let value = json!({"type": limit.kind, "soft": limit.soft, "hard": limit.hard});
        all.insert(limit.kind, value);
    }
    Ok(all.into_values().collect())
}

fn namespaces(config: &mut Value, settings: &Settings) {
    let Some(list) = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) else { return };
    for (key, kind) in [("PidNamespace", "pid"), ("IpcNamespace", "ipc")] {
        if settings.shares(key) {
            list.retain(|namespace| namespace["type"] != kind);
        }
    }
    match settings.network() {
        Some(Namespace::Private) => list.push(json!({"type": "network"})),
        Some(Namespace::Path(path)) => {
            list.push(json!({"type": "network", "path": path.to_string_lossy()}));
        }
        Some(Namespace::Host) | None => {}
    }
}

fn mounts(config: &mut Value, settings: &Settings) -> Result<()> {
    let shares_ipc = settings.shares("IpcNamespace");
    let size = settings.last("ShmSize").map(limits::size).transpose()?;
    if shares_ipc && size.is_some() {
        return Err(Error::new(
            "ShmSize= cannot be set with IpcNamespace=host, which has the host's /dev/shm",
        ));
    }
    let wanted = wanted_mounts(settings, shares_ipc);
    if wanted.iter().any(|mount| mount["destination"] == SHM) && size.is_some() {
        return Err(Error::new("ShmSize= cannot be set if something else is mounted at /dev/shm"));
    }
    let Some(list) = config["mounts"].as_array_mut() else { return Ok(()) };
    if let (Some(size), Some(shm)) = (size, list.iter_mut().find(|mount| mount["destination"] == SHM)) {
        let options = shm["options"].as_array_mut().into_iter().flatten();
        options
            .filter(|option| option.as_str().is_some_and(|option| option.starts_with("size=")))
            .for_each(|option| *option = json!(format!("size={size}")));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let is_hidden = |mount: &Value| wanted.iter().any(|other| other["destination"] == mount["destination"]);
    list.retain(|mount| !is_hidden(mount));
    list.extend(wanted);
    // An outer one comes first, or it would hide what is in it.
    list.sort_by_cached_key(|mount| PathBuf::from(mount["destination"].as_str().unwrap_or_default()));
    Ok(())
}

/// Fails if a file is to be mounted on a directory of the image, or a directory on a file.
pub fn check_kinds(tree: &dyn Tree, root: &Root, settings: &Settings) -> Result<()> {
    let mounts = settings.mounts();
    for mount in &mounts {
        let place = &mount.destination;
        let is_covered =
            |other: &UserMount| place != &other.destination && place.starts_with(&other.destination);
        if mounts.iter().any(is_covered) {
            continue;
        }
        let path = place.strip_prefix("/").unwrap_or(place).to_string_lossy();
        let is_file = needs::is_file(root, mount);
        // Where there are links, the start of the container tells.
        let (of_image, other) = match is_file {
            true => (tree.walk(&path).is_ok_and(|found| !found.is_empty()), "a directory"),
            false => (matches!(tree.read(&path), Ok(Some(_))), "a file"),
        };
        if of_image {
            let own = if is_file { "a file" } else { "a directory" };
            return Err(Error::new(format!(
                "cannot mount {own} at {}, which is {other} in the image",
                place.display()
            )));
        }
    }
    Ok(())
}

/// Fails if something is to be mounted where nothing can be, in a directory of the host that is mounted as well. A start
/// tells where there are links.
pub fn check_room(config: &Value, root: &Root) -> Result<()> {
    let mounts: BTreeMap<PathBuf, Mount<'_>> =
        Mount::all(config).filter_map(|mount| Some((mount.destination()?, mount))).collect();
    for place in mounts.keys() {
        let outer = place.ancestors().skip(1).find_map(|above| Some((above, mounts.get(above)?)));
        let Some((above, source)) = outer.and_then(|(above, outer)| Some((above, outer.bind_source()?)))
        else {
            continue;
        };
        let below = place.strip_prefix(above).unwrap_or(place);
        room::check(&root.join(&TreePath::new(source)), below).context(|| {
            format!("cannot mount anything at {} in what is mounted at {}", place.display(), above.display())
        })?;
    }
    Ok(())
}

/// All mounts that follow from keys, but the container's own volumes.
fn wanted_mounts(settings: &Settings, shares_ipc: bool) -> Vec<Value> {
    let bind = |source: &Path, destination: &Path, options: &[&str]| {
        json!({
            "destination": destination.to_string_lossy(), "type": "bind", "source": source.to_string_lossy(),
            "options": options,
        })
    };
    let shared = [SHM, QUEUES].map(|path| {
        bind(path.as_ref(), path.as_ref(), &["bind", "rprivate", "rw", "nosuid", "noexec", "nodev"])
    });
    let zone = settings.timezone().map(|file| {
        bind(&file, LOCALTIME.as_ref(), &["bind", "rprivate", "ro", "nosuid", "noexec", "nodev"])
    });
    let own = settings.mounts();
    let is_own =
        |mount: &Value| own.iter().any(|own| mount["destination"] == *own.destination.to_string_lossy());
    let implied = shared.into_iter().filter(|_| shares_ipc).chain(zone);
    let implied: Vec<Value> = implied.filter(|mount| !is_own(mount)).collect();
    own.iter().filter_map(mount).chain(implied).collect()
}

fn mount(mount: &UserMount) -> Option<Value> {
    let (kind, source) = match &mount.kind {
        UserMountKind::Bind(source) => ("bind", source.to_string_lossy().into_owned()),
        UserMountKind::Tmpfs => ("tmpfs", "tmpfs".to_owned()),
        UserMountKind::Volume => return None,
    };
    let destination = mount.destination.to_string_lossy();
    Some(json!({"destination": destination, "type": kind, "source": source, "options": mount.options}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(texts: &[&str], is_root: bool) -> Result<Value> {
        let settings = Settings::of(texts);
        let mut config = json!({
            "process": {}, "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "mount"}]},
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": SHM, "type": "tmpfs", "options": ["nosuid", "size=65536k"]},
                {"destination": QUEUES, "type": "mqueue"},
                {"destination": "/data/in", "type": "bind", "source": "/v"},
            ],
        });
        apply(&mut config, &settings, is_root)?;
        Ok(config)
    }

    fn sets(texts: &[&str], is_root: bool) -> Value {
        applied(texts, is_root).unwrap()["process"]["capabilities"].clone()
    }

    #[test]
    fn capabilities_are_those_of_podman() {
        let all = json!(capabilities::DEFAULT);
        assert_eq!(sets(&[], true), json!({"bounding": all, "effective": all, "permitted": all}));
        assert_eq!(sets(&[], false), json!({"bounding": all}));
        let one = json!(["CAP_SYS_TIME"]);
        assert_eq!(
            sets(&["DropCapability=all", "AddCapability=sys_time"], true),
            json!({"bounding": one, "effective": one, "permitted": one})
        );
        let user = sets(&["AddCapability=SYS_TIME", "DropCapability=CHOWN"], false);
        for set in ["effective", "permitted", "inheritable", "ambient"] {
            assert_eq!(user[set], one, "{set}");
        }
        assert_eq!(user["bounding"].as_array().unwrap().len(), capabilities::DEFAULT.len());
        assert!(!user["bounding"].as_array().unwrap().contains(&json!("CAP_CHOWN")));
        let every = sets(&["AddCapability=all", "DropCapability=SYS_ADMIN"], true);
        assert_eq!(every["effective"].as_array().unwrap().len(), capabilities::ALL.len() - 1);
    }

    #[test]
    fn privileges_namespaces_and_limits() {
        let plain = applied(&[], true).unwrap();
        assert_eq!(plain["process"]["noNewPrivileges"], false);
        assert_eq!(plain["process"].get("rlimits"), None);
        let config = applied(
            &[
                "NoNewPrivileges=yes",
                "PidNamespace=host",
                "IpcNamespace=host",
                "Network=ns:/run/netns/x",
                "Ulimit=nofile=1:2",
                "Ulimit=core=0",
                "Ulimit=nofile=3",
            ],
            true,
        )
        .unwrap();
        assert_eq!(config["process"]["noNewPrivileges"], true);
        assert_eq!(
            config["process"]["rlimits"],
            json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}])
        );
        let expected = json!([{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}]);
        assert_eq!(config["linux"]["namespaces"], expected);
        let shared: Vec<_> = config["mounts"].as_array().unwrap().iter().map(|m| &m["source"]).collect();
        assert!(shared.contains(&&json!(SHM)) && shared.contains(&&json!(QUEUES)), "{shared:?}");
        let private = applied(&["Network=private"], true).unwrap();
        assert!(private["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "network"})));
    }

    #[test]
    fn mounts_are_in_an_order_in_which_all_are_seen() {
        let config = applied(
            &[
                "Volume=/srv:/data:ro",
                "Volume=/srv/x:/data/in/y",
                "Tmpfs=/a",
                "Timezone=Etc/UTC",
                "Volume=/own",
            ],
            true,
        )
        .unwrap();
        let list = config["mounts"].as_array().unwrap();
        let places: Vec<_> = list.iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
        let expected = ["/a", "/data", "/data/in", "/data/in/y", QUEUES, SHM, LOCALTIME, "/proc"];
        assert_eq!(places, expected);
        assert_eq!(list[1]["options"], json!(["rbind", "rprivate", "ro"]));
        // What is mounted in the place of something else is seen alone.
        let replaced =
            applied(&["Volume=/srv:/data/in", "Mount=type=tmpfs,dst=/dev/shm,tmpfs-size=1m"], true).unwrap();
        let list = replaced["mounts"].as_array().unwrap();
        assert_eq!(list.len(), 4);
        assert_eq!((&list[0]["source"], &list[2]["options"][4]), (&json!("/srv"), &json!("tmpcopyup")));
        let sized = applied(&["ShmSize=1m"], true).unwrap();
        assert_eq!(sized["mounts"][1]["options"], json!(["nosuid", "size=1048576"]));
    }

    #[test]
    fn files_are_mounted_on_files() {
        use crate::image::tree::Directory;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/x")).unwrap();
        std::fs::write(dir.path().join("etc/file"), "").unwrap();
        let (tree, root) = (Directory(dir.path().into()), Root::new(dir.path()));
        let check =
            |texts: &[&str]| check_kinds(&tree, &root, &Settings::of(texts)).map_err(|e| e.to_string());
        check(&["Volume=/etc/file:/etc/file", "Volume=/etc:/etc/x", "Tmpfs=/new", "Volume=/etc/file:/new2"])
            .unwrap();
        // It is not the image's file that is covered.
        check(&["Tmpfs=/etc", "Volume=/etc/x:/etc/file"]).unwrap();
        assert_eq!(
            check(&["Volume=/etc/file:/etc"]).unwrap_err(),
            "cannot mount a file at /etc, which is a directory in the image"
        );
        for text in ["Volume=/etc/x:/etc/file", "Tmpfs=/etc/file", "Volume=/etc/file/"] {
            let expected = "cannot mount a directory at /etc/file, which is a file in the image";
            assert_eq!(check(&[text]).unwrap_err(), expected);
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        for (texts, reason) in [
            (
                ["AddCapability=CHOWN", "DropCapability=cap_chown"],
                "CAP_CHOWN is in both AddCapability= and DropCapability=",
            ),
            (
                ["AddCapability=all", "DropCapability=all"],
                "AddCapability=all and DropCapability=all contradict each other",
            ),
            (
                ["ShmSize=1m", "IpcNamespace=host"],
                "ShmSize= cannot be set with IpcNamespace=host, which has the host's /dev/shm",
            ),
            (
                ["ShmSize=1m", "Tmpfs=/dev/shm"],
                "ShmSize= cannot be set if something else is mounted at /dev/shm",
            ),
        ] {
            assert_eq!(applied(&texts, true).unwrap_err().to_string(), reason);
        }
    }
}
