//! What the keys of a container need of this host: it is looked at when they are set, and again at every start, since the
//! administrator may change it in between.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::container::keys::devices::{self, UserDevice};
use crate::container::keys::limits;
use crate::container::keys::mounts::{UserMount, UserMountKind};
use crate::container::keys::payload::Namespace;
use crate::container::settings::Settings;
use crate::error::{Context, Error, Result};
use crate::paths::Root;
use crate::system::directory::{self, Directory};
use crate::system::untrusted::{Untrusted, Way};
use crate::system::{files, mounts};

/// Size in bytes of a file with an environment.
const ENVIRONMENT: usize = 1 << 20;
/// How many devices there are in a directory at most.
const DEVICES: usize = 1000;
/// How many open files a process may have at most.
const OPEN_FILES: &str = "/proc/sys/fs/nr_open";
/// In how many directories in each other they are looked for, with how many files in each.
const DEPTH: usize = 16;
const FILES: usize = 1 << 16;

/// A device of the host, as a container gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the container.
    pub container: PathBuf,
    /// What the payload may do: letters of `rwm`.
    pub access: String,
    /// Whether it is a block device.
    pub is_block: bool,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Fails if the host lacks something that keys name now.
pub fn check(root: &Root, settings: &Settings) -> Result<()> {
    // At every start it is known what payloads write to.
    let untrusted = Untrusted::default();
    check_paths(root, settings, &untrusted)?;
    environment(root, settings, &untrusted)?;
    devices(root, settings, &untrusted).map(|_| ())
}

/// Fails if the host lacks something that keys name besides what [`environment`] and [`devices`] find, or if it is in a
/// directory that payloads write to and must not be.
pub fn check_paths(root: &Root, settings: &Settings, untrusted: &Untrusted) -> Result<()> {
    for mount in settings.mounts() {
        let UserMountKind::Bind(source) = &mount.kind else { continue };
        let (from, to) = (source.display(), mount.destination.display());
        find(root, source)
            .context(|| format!("cannot mount {from} at {to}"))
            .map_err(|e| with_remedy(&e, "Volume= or Mount="))?;
    }
    if let Some(Namespace::Path(path)) = settings.network() {
        let what = || format!("cannot use the network namespace {}", path.display());
        let found = find(root, &path).context(what).map_err(|e| with_remedy(&e, "Network="))?;
        refuse_untrusted(root, &path, untrusted).context(what)?;
        if !is_network_namespace(&found).context(what)? {
            let why = "it is not a network namespace; make one with ip-netns(8), or change Network=";
            return Err(Error::new(why)).context(what);
        }
    }
    check_limits(root, settings)?;
    if let Some(file) = settings.timezone() {
        find(root, &file)
            .context(|| format!("cannot use the time zone {}", file.display()))
            .map_err(|e| with_remedy(&e, "Timezone="))?;
    }
    Ok(())
}

/// Namespaces have a file system of their own, of which single files are mounted.
fn is_network_namespace(path: &Path) -> Result<bool> {
    let mounts = mounts::table()?;
    let mount = mounts::mount_of(&mounts, path).filter(|mount| mount.kind == "nsfs");
    Ok(mount.is_some_and(|mount| mount.root.as_os_str().as_encoded_bytes().starts_with(b"net:[")))
}

/// Fails for limits that the kernel gives to nobody.
fn check_limits(root: &Root, settings: &Settings) -> Result<()> {
    for text in settings.all("Ulimit") {
        let limit = limits::ulimit(text)?;
        if limit.kind != "RLIMIT_NOFILE" {
            continue;
        }
        // In a tree that is not booted, it is unknown.
        let file = files::read_text_if_exists(&root.join(OPEN_FILES)).ok().flatten().unwrap_or_default();
        if let Some(most) = file.trim().parse::<u64>().ok().filter(|most| limit.hard > *most) {
            return Err(Error::new(format!(
                "cannot set Ulimit={text}: the kernel gives no process more than {most} open files (fs.nr_open); set {most} or less"
            )));
        }
    }
    Ok(())
}

/// The runtime opens it by its path.
fn refuse_untrusted(root: &Root, path: &Path, untrusted: &Untrusted) -> Result<()> {
    match untrusted.find(root, path)?.outer {
        None => Ok(()),
        Some(outer) => {
            Err(Error::new(format!("it is in {outer}, where a payload can put anything; keep it elsewhere")))
        }
    }
}

fn with_remedy(error: &Error, keys: &str) -> Error {
    Error::new(format!("{error}; make it, or change {keys}"))
}

/// The path of a file of the host, whose links are followed in `root`.
fn find(root: &Root, path: &Path) -> Result<PathBuf> {
    let below = files::resolve_inside(root.path(), path)?;
    let found = root.path().join(below.strip_prefix("/").unwrap_or(&below));
    match found.symlink_metadata() {
        Ok(_) => Ok(found),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::new("it is not on this host")),
        Err(e) => Err(Error::new(e.to_string())),
    }
}

/// Whether what is mounted is a file and no directory; nothing is if it is not on this host.
pub fn is_file(root: &Root, mount: &UserMount) -> bool {
    let UserMountKind::Bind(source) = &mount.kind else { return false };
    find(root, source).is_ok_and(|found| !found.is_dir())
}

/// The variables of all files of `EnvironmentFile=`, in order.
pub fn environment(root: &Root, settings: &Settings, untrusted: &Untrusted) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for path in settings.all("EnvironmentFile") {
        let what = || format!("cannot read the environment of {path}");
        let found = untrusted.find(root, path.as_ref()).and_then(|way| way.read(root, ENVIRONMENT));
        let text = found.context(what)?.ok_or_else(|| Error::new("it is not on this host")).context(what);
        let text = text.map_err(|e| with_remedy(&e, "EnvironmentFile="))?;
        let text = String::from_utf8(text).context(|| "it is not UTF-8".into()).context(what)?;
        variables.extend(parse_environment(&text).context(what)?);
    }
    Ok(variables)
}

/// Lines as podman reads them: nothing is quoted, and values are as they are written.
fn parse_environment(text: &str) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (line, at) = (line.trim_start(), index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            // Perhaps `export NAME=VALUE`, or `NAME = VALUE`: not even shells have such variables.
            Some((name, _)) if name.contains(char::is_whitespace) => {
                return Err(Error::new(format!(
                    "line {at}: there is white space in the name; write NAME=VALUE, without 'export' and without blanks around '='"
                )));
            }
            Some((name, value)) if !name.is_empty() && !line.contains('\0') => {
                variables.push((name.to_owned(), value.to_owned()));
            }
            // Without the line, which may be secret.
            _ => return Err(Error::new(format!("line {at} is not NAME=VALUE"))),
        }
    }
    Ok(variables)
}

/// The devices of `AddDevice=`.
pub fn devices(root: &Root, settings: &Settings, untrusted: &Untrusted) -> Result<Vec<Device>> {
    let mut all = Vec::new();
    for wanted in settings.all("AddDevice").map(devices::device) {
        let wanted = wanted?;
        let what = || format!("cannot add the device {}", wanted.host.display());
        let way = untrusted.find(root, &wanted.host).context(what)?;
        match way.stat(root) {
            Ok(Some(stat)) => add(root, &wanted, (&way, &stat), &mut all).context(what)?,
            _ if wanted.optional => {}
            Ok(None) => {
                return Err(with_remedy(&Error::new("it is not on this host"), "AddDevice=")).context(what);
            }
            Err(e) => return Err(e).context(what),
        }
    }
    Ok(all)
}

fn add(root: &Root, wanted: &UserDevice, found: (&Way, &Stat), all: &mut Vec<Device>) -> Result<()> {
    let (way, stat) = found;
    if directory::kind(stat) != FileType::Directory {
        let device = device(wanted, stat, Path::new(""));
        all.push(device.ok_or_else(|| Error::new("it is neither a device nor a directory of devices"))?);
        return Ok(());
    }
    let before = all.len();
    add_all(wanted, &way.directory(root)?, Path::new(""), all)?;
    if all.len() - before > DEVICES {
        return Err(Error::new(format!("there are more than {DEVICES} devices in it")));
    }
    if all.len() == before && !wanted.optional {
        return Err(Error::new("there is no device in it"));
    }
    Ok(())
}

/// Adds the devices in a directory, and in those that are in it, in the order of their names.
fn add_all(wanted: &UserDevice, directory: &Directory, below: &Path, all: &mut Vec<Device>) -> Result<()> {
    let what = |name: &OsStr| format!("cannot examine {}", directory.path_of(name).display());
    let mut names = directory.names(FILES + 1).context(|| what(OsStr::new("")))?;
    names.sort();
    if names.len() > FILES || below.components().count() > DEPTH {
        return Err(Error::new(format!("there are too many files in {}", directory.path().display())));
    }
    for name in names {
        let Some(stat) = directory.stat_of(&name).context(|| what(&name))? else { continue };
        let path = below.join(&name);
        if directory::kind(&stat) == FileType::Directory {
            add_all(wanted, &directory.child(&name).context(|| what(&name))?, &path, all)?;
        } else {
            all.extend(device(wanted, &stat, &path));
        }
        if all.len() > DEVICES {
            return Err(Error::new(format!("there are more than {DEVICES} devices in it")));
        }
    }
    Ok(())
}

/// A device in the directory that is wanted, or that itself; `None` if it is something else.
fn device(wanted: &UserDevice, stat: &Stat, below: &Path) -> Option<Device> {
    let is_block = directory::kind(stat) == FileType::BlockDevice;
    let at = |path: &Path| if below.as_os_str().is_empty() { path.to_path_buf() } else { path.join(below) };
    (is_block || directory::kind(stat) == FileType::CharacterDevice).then(|| Device {
        host: at(&wanted.host),
        container: at(&wanted.container),
        access: wanted.access.clone(),
        is_block,
        major: nix::sys::stat::major(stat.st_rdev),
        minor: nix::sys::stat::minor(stat.st_rdev),
        mode: stat.st_mode & 0o777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}

/// Settings of the unit that let its payload use the devices. systemd looks them up by their paths at every start, also
/// those that are not there yet.
pub fn properties(root: &Root, settings: &Settings) -> Vec<(String, String)> {
    let wanted = settings.all("AddDevice").filter_map(|text| devices::device(text).ok());
    let allowed = wanted.flat_map(|wanted| {
        let mut found = Vec::new();
        let way = Untrusted::default().find(root, &wanted.host).ok();
        let stat = way.as_ref().and_then(|way| way.stat(root).ok().flatten());
        match (way, stat) {
            // Whoever starts the container is told if there are none.
            (Some(way), Some(stat)) if directory::kind(&stat) == FileType::Directory => {
                drop(add(root, &wanted, (&way, &stat), &mut found));
            }
            _ => return vec![(wanted.host, wanted.access)],
        }
        found.into_iter().map(|device| (device.host, device.access)).collect()
    });
    allowed.map(|(path, access)| ("DeviceAllow".to_owned(), format!("{} {access}", path.display()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::untrusted::Got;
    use std::fs;

    #[test]
    fn what_is_not_on_the_host_is_named_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(dir.path().join("srv/data")).unwrap();
        fs::create_dir_all(dir.path().join("dev/empty")).unwrap();
        fs::write(dir.path().join("dev/file"), "").unwrap();
        fs::create_dir_all(dir.path().join("proc/sys/fs")).unwrap();
        fs::write(dir.path().join("proc/sys/fs/nr_open"), "1048576\n").unwrap();
        fs::write(dir.path().join("srv/file"), "").unwrap();
        std::os::unix::fs::symlink("/srv/data", dir.path().join("link")).unwrap();
        let check = |text: &str| check(&root, &Settings::of(&[text])).map_err(|e| e.to_string());
        for good in ["Volume=/srv/data:/d", "Volume=/link:/d", "Volume=/own", "Ulimit=nofile=1048576"] {
            check(good).unwrap();
        }
        for (bad, expected) in [
            (
                "Volume=/none:/d",
                "cannot mount /none at /d: it is not on this host; make it, or change Volume= or Mount=",
            ),
            (
                "Network=ns:/run/x",
                "cannot use the network namespace /run/x: it is not on this host; make it, or change Network=",
            ),
            (
                "Network=ns:/srv/file",
                "cannot use the network namespace /srv/file: it is not a network namespace; make one with ip-netns(8), or change Network=",
            ),
            (
                "Ulimit=nofile=10:-1",
                "cannot set Ulimit=nofile=10:-1: the kernel gives no process more than 1048576 open files (fs.nr_open); set 1048576 or less",
            ),
            (
                "Timezone=Moon/Base",
                "cannot use the time zone /usr/share/zoneinfo/Moon/Base: it is not on this host; make it, or change Timezone=",
            ),
            (
                "EnvironmentFile=/none",
                "cannot read the environment of /none: it is not on this host; make it, or change EnvironmentFile=",
            ),
            (
                "AddDevice=/dev/none",
                "cannot add the device /dev/none: it is not on this host; make it, or change AddDevice=",
            ),
            (
                "AddDevice=/dev/file",
                "cannot add the device /dev/file: it is neither a device nor a directory of devices",
            ),
            ("AddDevice=/dev/empty", "cannot add the device /dev/empty: there is no device in it"),
        ] {
            assert_eq!(check(bad).unwrap_err(), expected, "{bad}");
        }
        ["AddDevice=-/dev/none", "Ulimit=core=-1"].iter().for_each(|good| check(good).unwrap());
    }

    #[test]
    fn environments_are_read_as_podman_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let read = |text: &str| {
            fs::write(dir.path().join("env"), text).unwrap();
            environment(&root, &Settings::of(&["EnvironmentFile=/env"]), &Untrusted::default())
        };
        let expected = [("A", "b"), ("C", "d e=\"f\""), (";X", " y")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read("A=b\n\n # x\nC=d e=\"f\"\r\n;X= y\n").unwrap(), expected);
        let white = ": there is white space in the name; write NAME=VALUE, without 'export' and without blanks around '='";
        for (bad, line) in [
            ("A=b\nsecret\n", "2 is not NAME=VALUE".to_owned()),
            ("=secret\n", "1 is not NAME=VALUE".to_owned()),
            ("A=b\nexport SECRET=x y\n", format!("2{white}")),
            ("C = 3\n", format!("1{white}")),
            ("C\t=3\n", format!("1{white}")),
            ("; C=3\n", format!("1{white}")),
        ] {
            let expected = format!("cannot read the environment of /env: line {line}");
            assert_eq!(read(bad).unwrap_err().to_string(), expected, "{bad}");
        }
    }

    #[test]
    fn devices_are_those_of_the_host() {
        let root = Root::default();
        let found =
            devices(&root, &Settings::of(&["AddDevice=/dev/zero:/dev/mine:r"]), &Untrusted::default())
                .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].major, found[0].minor, found[0].is_block), (1, 5, false));
        assert_eq!(found[0].container, PathBuf::from("/dev/mine"));
        // In what a payload writes to, it is not a link, nor is what is on the way.
        let dir = tempfile::tempdir().unwrap();
        let tree = Root::new(dir.path());
        let story = tree.join("/dev/story");
        fs::create_dir_all(&story).unwrap();
        std::os::unix::fs::symlink("/dev", story.join("in")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", story.join("zero")).unwrap();
        let got = Got { written: [PathBuf::from("/dev/story")].into(), ..Got::default() };
        let untrusted = Untrusted::new(&tree, &got, &[]).unwrap();
        for (path, why) in [
            ("/dev/story/zero", ": a symlink leads to it, and none is followed in /dev/story"),
            ("/dev/story/in/zero", ": a symlink leads to it, and none is followed in /dev/story"),
            ("/dev/story/none", ": it is not on this host; make it, or change AddDevice="),
            ("/dev/story", ": there is no device in it"),
        ] {
            let wanted = Settings::of(&[&format!("AddDevice={path}")]);
            let error = devices(&tree, &wanted, &untrusted).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot add the device {path}{why}")), "{error}");
        }
        let wanted = Settings::of(&["AddDevice=/dev/zero:/dev/mine:r", "AddDevice=-/dev/not-yet"]);
        let properties = properties(&root, &wanted);
        let allow = |what: &str| ("DeviceAllow".to_owned(), what.to_owned());
        assert_eq!(properties, [allow("/dev/zero r"), allow("/dev/not-yet rwm")]);
    }
}
