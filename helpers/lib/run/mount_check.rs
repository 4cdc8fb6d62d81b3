//! What is mounted in a container that was created, compared with what its configuration says.
//!
//! Runtimes find the places of mounts by paths, and volumes are in the way of some. What is in a volume can be changed
//! by other processes while the runtime looks, so that it would mount a volume over something else, or take a file of
//! the payload's for `/dev/null`. Nothing prevents that; but it can be seen. As long as the payload does not run, nobody
//! mounts anything in its namespace any more.

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, major, minor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::container::volume;
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::oci::mount::TMPCOPYUP;
use crate::system::directory::{self, Directory, Links};
use crate::system::files;
use crate::system::mounts::{self, Mount};

/// File systems with which a payload could change the kernel, if they were where nothing protects them.
const KERNEL: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];
/// Devices that a runtime may mount if it cannot make them.
const DEVICES: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
/// Size in bytes of a table of mounts.
const LIMIT: usize = 4 << 20;

/// What is to be mounted in a container; the fields are JSON keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expected {
    /// The mounts, in order.
    mounts: Vec<Expectation>,
    /// The directory of devices.
    devices: PathBuf,
    /// Devices that the administrator added, which a runtime may mount, too.
    #[serde(default)]
    added: Vec<PathBuf>,
    /// Files of the kernel's that the payload cannot see.
    masked: Vec<PathBuf>,
    /// And those that it can only read.
    read_only: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Expectation {
    /// Where it may be. Of a volume in another one, the image may have a link on the way there.
    places: Vec<PathBuf>,
    /// Type of the file system, or `bind`.
    kind: String,
    /// The directory of a volume.
    volume: Option<PathBuf>,
    /// Whether a file system of the kernel's may be in it, since the administrator has one there on the host.
    #[serde(default)]
    shows_kernel: bool,
}

impl Expectation {
    fn of(mount: &Value, name: &Name, rootfs: &Path, covered: &[&Path]) -> Result<Expectation> {
        let text = |key| mount.get(key).and_then(Value::as_str);
        let destination = Path::new(text("destination").unwrap_or("/"));
        let is_bind = text("type") == Some("bind") || has_option(mount, "bind") || has_option(mount, "rbind");
        let kind = if is_bind { "bind" } else { text("type").unwrap_or("bind") };
        let home = volume::home(name);
        let bound = text("source").map(Path::new).filter(|_| is_bind);
        let source = bound.filter(|source| source.starts_with(home.as_path())).map(Path::to_path_buf);
        let shows_kernel = match bound.filter(|_| source.is_none()) {
            Some(source) => mounts::shown(source)?.iter().any(|mount| is_of_kernel(&mount.kind)),
            None => false,
        };
        let mut places = vec![files::resolve_outside(rootfs, destination, covered)?];
        if source.is_some() {
            places.push(files::resolve_inside(rootfs, destination)?);
            places.dedup();
        }
        Ok(Expectation { places, kind: kind.into(), volume: source, shows_kernel })
    }

    fn is_like(&self, kind: &str) -> bool {
        match self.kind.as_str() {
            "cgroup" | "cgroup2" => matches!(kind, "cgroup" | "cgroup2" | "tmpfs"),
            "bind" => self.shows_kernel || !is_of_kernel(kind),
            expected => expected == kind,
        }
    }

    /// Whether it may have other mounts in it: what the administrator mounted in a volume on the host, or cgroups of
    /// version 1.
    fn has_in_it(&self, mount: &Mount) -> bool {
        let is_below =
            self.places.iter().any(|place| mount.point != *place && mount.point.starts_with(place));
        is_below && matches!(self.kind.as_str(), "bind" | "cgroup") && self.is_like(&mount.kind)
    }
}

fn is_of_kernel(kind: &str) -> bool {
    KERNEL.contains(&kind)
}

fn has_option(mount: &Value, option: &str) -> bool {
    let options = mount.get("options").and_then(Value::as_array);
    options.is_some_and(|options| options.iter().any(|other| other == option))
}

impl Expected {
    /// What the configuration of the bundle of a plain image says, whose files are in `rootfs`.
    pub fn of(config: &Value, name: &Name, rootfs: &Path) -> Result<Expected> {
        let all = |pointer| config.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let (mut mounts, mut covered): (Vec<Expectation>, Vec<PathBuf>) = (Vec::new(), Vec::new());
        for mount in all("/mounts") {
            let above: Vec<&Path> = covered.iter().map(PathBuf::as_path).collect();
            let expected = Expectation::of(mount, name, rootfs, &above)?;
            // One that begins with the files of the image has its links.
            if !has_option(mount, TMPCOPYUP) {
                covered.push(expected.places[0].clone());
            }
            mounts.push(expected);
        }
        let covered: Vec<&Path> = covered.iter().map(PathBuf::as_path).collect();
        let paths = |pointer| {
            let paths = all(pointer).filter_map(Value::as_str);
            paths
                .map(|path| files::resolve_outside(rootfs, path.as_ref(), &covered))
                .collect::<Result<Vec<_>>>()
        };
        let (masked, read_only) = (paths("/linux/maskedPaths")?, paths("/linux/readonlyPaths")?);
        let devices = files::resolve_inside(rootfs, "/dev".as_ref())?;
        let added = all("/linux/devices").filter_map(|device| device.get("path").and_then(Value::as_str));
        let added = added.filter_map(|path| Some(devices.join(path.strip_prefix("/dev/")?))).collect();
        Ok(Expected { mounts, devices, added, masked, read_only })
    }

    /// Fails if a process that a runtime created, and that has not run yet, has other mounts.
    pub fn check(&self, pid: i32) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
        let table =
            files::read_bounded(&path, LIMIT).context(|| format!("cannot read {}", path.display()))?;
        let table = table.ok_or_else(|| Error::new(format!("process {pid} is gone already")))?;
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let root = Directory::open(&path).context(|| format!("cannot open {}", path.display()))?;
        self.check_mounts(&mounts::parse_all(&table), &root)
    }

    fn check_mounts(&self, mounts: &[Mount], root: &Directory) -> Result<()> {
        mounts.iter().try_for_each(|mount| self.check_place(mount, mounts))?;
        for (index, expected) in self.mounts.iter().enumerate() {
            let covers = |later: &Expectation| {
                expected.places.iter().any(|place| later.places.iter().any(|above| place.starts_with(above)))
            };
            // What is mounted over it is seen instead.
            if !self.mounts[index + 1..].iter().any(covers) {
                self.check_volume(index, mounts, root)?;
            }
        }
        self.masked.iter().try_for_each(|path| check_mask(path, mounts, root))?;
        self.read_only.iter().try_for_each(|path| check_read_only(path, mounts, root))
    }

    /// Fails if a mount is where the configuration has none, or not one like it.
    fn check_place(&self, mount: &Mount, mounts: &[Mount]) -> Result<()> {
        let point = &mount.point;
        let is_kernel = is_of_kernel(&mount.kind);
        let here: Vec<_> = self.mounts.iter().filter(|expected| expected.places.contains(point)).collect();
        // One that is over another is one too many.
        let is_only = |most: usize| mounts.iter().filter(|other| other.point == *point).count() <= most;
        let device = point.strip_prefix(&self.devices).ok().and_then(Path::to_str);
        let is_good = if !here.is_empty() {
            here.iter().any(|expected| expected.is_like(&mount.kind)) && is_only(here.len())
        } else if self.masked.contains(point) || point == Path::new("/") {
            !is_kernel && is_only(1)
        } else if self.read_only.contains(point) {
            let above = self.mounts.iter().rev().find(|expected| point.starts_with(&expected.places[0]));
            above.is_none_or(|expected| expected.is_like(&mount.kind)) && is_only(1)
        } else if device.is_some_and(|device| DEVICES.contains(&device)) || self.added.contains(point) {
            (!is_kernel || mount.kind == "devpts") && is_only(1)
        } else {
            self.mounts.iter().any(|expected| expected.has_in_it(mount))
        };
        if is_good {
            return Ok(());
        }
        Err(Error::new(format!(
            "the runtime mounted {} at {}, where the configuration has nothing like that; somebody may have changed what is in a volume meanwhile",
            mount.kind,
            point.display()
        )))
    }

    /// Fails if a volume is not where it should be. In another one, the payload may have moved the place.
    fn check_volume(&self, index: usize, mounts: &[Mount], root: &Directory) -> Result<()> {
        let expected = &self.mounts[index];
        let Some(path) = &expected.volume else { return Ok(()) };
        let place = &expected.places[0];
        let what = || format!("cannot look at volume {}", place.display());
        let volume = Directory::open(path).and_then(|volume| volume.stat()).context(what)?;
        let outer = self.mounts[..index].iter().filter(|outer| outer.volume.is_some());
        let outer: Vec<_> =
            outer.flat_map(|outer| &outer.places).filter(|outer| place.starts_with(outer)).collect();
        let may_be = |point: &PathBuf| {
            expected.places.contains(point) || outer.iter().any(|outer| point.starts_with(outer))
        };
        for point in mounts.iter().map(|mount| &mount.point).filter(|point| may_be(point)) {
            let found = find(root, point)?;
            if found.is_some_and(|found| (found.st_dev, found.st_ino) == (volume.st_dev, volume.st_ino)) {
                return Ok(());
            }
        }
        Err(Error::new(format!("the runtime did not mount volume {} there", place.display())))
    }
}

/// What is known of a file of the container; `None` if there is none, or a symlink is in its path.
fn find(root: &Directory, path: &Path) -> Result<Option<Stat>> {
    let found = root.find(path.strip_prefix("/").unwrap_or(path), Links::Refused);
    found.context(|| format!("cannot look at {} in the container", path.display()))
}

/// The mount that is at a path, of several the last one.
fn mounted<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts.iter().rfind(|mount| mount.point == path)
}

/// Fails if a file is neither the null device nor an empty directory that stays so.
fn check_mask(path: &Path, mounts: &[Mount], root: &Directory) -> Result<()> {
    let Some(stat) = find(root, path)? else { return Ok(()) };
    let is_masked = match directory::kind(&stat) {
        FileType::CharacterDevice => (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3),
        FileType::Directory => {
            let opened = root.directory(path.strip_prefix("/").unwrap_or(path), Links::Refused);
            let names = opened.and_then(|directory| directory.names(1));
            let names = names.context(|| format!("cannot read {} in the container", path.display()))?;
            let mount = mounted(path, mounts);
            mount.is_some_and(|mount| mount.read_only) && names.is_empty()
        }
        _ => false,
    };
    if is_masked {
        return Ok(());
    }
    Err(Error::new(format!("the runtime did not mask {}", path.display())))
}

fn check_read_only(path: &Path, mounts: &[Mount], root: &Directory) -> Result<()> {
    if find(root, path)?.is_none() || mounted(path, mounts).is_some_and(|mount| mount.read_only) {
        return Ok(());
    }
    Err(Error::new(format!("the runtime did not make {} read-only", path.display())))
}

#[cfg(test)]
mod tests;
