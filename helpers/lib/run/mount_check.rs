//! What is mounted in a container that was created, compared with what its configuration says.
//!
//! Runtimes find the places of mounts by paths, and look them up again to set flags. What is in a volume can be changed
//! by other processes meanwhile, so that a runtime would mount a volume over something else, take flags from what the
//! kernel or the administrator mounted, or take a file of the payload's for `/dev/null`. Nothing prevents that; but it
//! can be seen. As long as the payload does not run, nobody mounts anything in its namespace.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, major, minor};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::paths::RUN;
use crate::run::sources::Source;
use crate::system::cgroup;
use crate::system::directory::{self, Directory, Links};
use crate::system::files;
use crate::system::mounts::{self, Mount};
use expectation::{Expectation, Original};

mod expectation;

/// File systems with which a payload could change the kernel, if they were where nothing protects them.
const KERNEL: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];
/// Devices that a runtime may mount if it cannot make them.
const DEVICES: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
/// Size in bytes of a table of mounts.
const LIMIT: usize = 4 << 20;
/// What was changed while the runtime looked.
const WHY: &str = "something may have changed a volume in the meantime";

/// What is to be mounted in a container; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expected {
    /// The mounts, in order.
    mounts: Vec<Expectation>,
    /// Devices that the administrator added, which a runtime may mount, too.
    #[serde(default)]
    devices: Vec<PathBuf>,
    /// Whether the payload can change nothing in its root file system.
    read_only_root: bool,
    /// Files of the kernel's that the payload cannot see.
    masked: Vec<PathBuf>,
    /// And those that it can only read.
    read_only: Vec<PathBuf>,
}

impl Expected {
    /// What the configuration of the bundle of a plain image says, whose paths are settled, see [`crate::run::places`].
    /// `nested` are the sources that it names by their numbers.
    pub fn of(config: &BundleConfig, nested: &[Source]) -> Expected {
        Expected {
            mounts: config.mounts().filter_map(|mount| Expectation::of(mount, nested)).collect(),
            devices: config.devices().map(PathBuf::from).collect(),
            read_only_root: config.has_read_only_root(),
            masked: config.masked_paths().map(PathBuf::from).collect(),
            read_only: config.read_only_paths().map(PathBuf::from).collect(),
        }
    }

    /// Fails if a process that a runtime created, and that has not run yet, has other mounts.
    pub fn check(&self, pid: i32) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
        let table =
            files::read_bounded(&path, LIMIT).context(|| format!("cannot read {}", path.display()))?;
        let table = table.ok_or_else(|| Error::new(format!("process {pid} is gone already")))?;
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let root = Directory::open(&path).context(|| format!("cannot open {}", path.display()))?;
        let (mounts, host) = (mounts::parse_all(&table), mounts::table()?);
        let mut check = Check::new(self, &mounts, &host, &root);
        if self.mounts.iter().any(Expectation::is_writable_cgroup) {
            check.cgroup = Some(cgroup::of_payload(pid)?);
        }
        check.run()
    }
}

/// A comparison of what is expected with what is there.
struct Check<'a> {
    expected: &'a Expected,
    /// What is mounted in the container, and on the host.
    mounts: &'a [Mount],
    host: &'a [Mount],
    /// The container's root directory.
    root: &'a Directory,
    /// The payload's cgroup, if it may change that.
    cgroup: Option<PathBuf>,
    /// What is bound by each of the expected mounts, if it is a directory or file of the host.
    originals: Vec<Option<Original<'a>>>,
    /// Numbers of those that are expected at a place, in their order.
    places: HashMap<&'a Path, Vec<usize>>,
    /// Numbers of mounts at a place.
    counts: HashMap<&'a Path, usize>,
}

impl<'a> Check<'a> {
    fn new(expected: &'a Expected, mounts: &'a [Mount], host: &'a [Mount], root: &'a Directory) -> Check<'a> {
        let (mut places, mut counts) = (HashMap::<_, Vec<_>>::new(), HashMap::new());
        for (number, one) in expected.mounts.iter().enumerate() {
            places.entry(one.place.as_path()).or_default().push(number);
        }
        mounts.iter().for_each(|mount| *counts.entry(mount.point.as_path()).or_default() += 1);
        let originals = expected.mounts.iter().map(|one| one.original(host)).collect();
        Check { expected, mounts, host, root, cgroup: None, originals, places, counts }
    }

    fn run(&self) -> Result<()> {
        self.mounts.iter().try_for_each(|mount| self.check_mount(mount))?;
        (0..self.expected.mounts.len()).try_for_each(|number| self.check_presence(number))?;
        self.expected.masked.iter().try_for_each(|path| check_mask(path, self.mounts, self.root))?;
        self.expected.read_only.iter().try_for_each(|path| check_read_only(path, self.mounts, self.root))
    }

    /// Those that are expected at a place, in their order.
    fn at(&self, place: &Path) -> &[usize] {
        self.places.get(place).map_or(&[], Vec::as_slice)
    }

    /// The last one that is expected above a place: it covers the others.
    fn above(&self, place: &Path) -> Option<usize> {
        place.ancestors().skip(1).filter_map(|above| self.at(above).last().copied()).max()
    }

    /// Fails if a mount is where the configuration has none, or not one like it.
    fn check_mount(&self, mount: &Mount) -> Result<()> {
        let point = mount.point.as_path();
        let is_kernel = KERNEL.contains(&mount.kind.as_str());
        // One that is over another is one too many.
        let is_only = |most: usize| self.counts.get(point).is_none_or(|count| *count <= most);
        let device = point.strip_prefix("/dev").ok().and_then(Path::to_str);
        let here = self.at(point);
        let is_good = if !here.is_empty() {
            is_only(here.len()) && self.check_like(mount, here)?
        } else if point == Path::new("/") {
            self.check_root(mount)?;
            !is_kernel && is_only(1)
        } else if self.expected.masked.iter().any(|path| path == point) {
            !is_kernel && is_only(1)
        } else if self.expected.read_only.iter().any(|path| path == point) {
            let above = self.above(point).map(|number| &self.expected.mounts[number]);
            above.is_none_or(|above| above.is_bind() || above.is_of(&mount.kind)) && is_only(1)
        } else if device.is_some_and(|device| DEVICES.contains(&device))
            || self.expected.devices.iter().any(|added| added == point)
        {
            (!is_kernel || mount.kind == "devpts") && is_only(1)
        } else {
            self.check_inner(mount)?
        };
        if is_good {
            return Ok(());
        }
        Err(Error::new(format!(
            "the runtime mounted {} at {}, where the configuration has nothing like that; {WHY}",
            mount.kind,
            point.display()
        )))
    }

    /// Whether a mount is like one that is expected there. Fails if more can be done through it.
    fn check_like(&self, mount: &Mount, here: &[usize]) -> Result<bool> {
        let mut alike = here.iter().filter(|number| self.is_like(**number, mount)).peekable();
        if alike.peek().is_none() {
            return Ok(false);
        }
        let mut faults = alike.map(|number| self.expected.mounts[*number].fault(mount));
        let first = faults.next().flatten();
        if first.is_none() || faults.any(|fault| fault.is_none()) {
            return Ok(true);
        }
        Err(weaker(mount, first.unwrap_or_default(), "the configuration has"))
    }

    fn is_like(&self, number: usize, mount: &Mount) -> bool {
        let expected = &self.expected.mounts[number];
        match &self.originals[number] {
            Some(original) => original.is_bound_by(mount),
            // One that can be changed is the payload's, and nobody else's.
            None if expected.is_writable_cgroup() => {
                mount.kind == "cgroup2" && self.cgroup.as_ref() == Some(&mount.root)
            }
            None => !expected.is_bind() && expected.is_of(&mount.kind),
        }
    }

    fn check_root(&self, mount: &Mount) -> Result<()> {
        if self.expected.read_only_root && !mount.restrictions.ro {
            return Err(weaker(mount, "ro", "the configuration has"));
        }
        Ok(())
    }

    /// Whether a mount is one in what the configuration mounts: what is mounted there on the host, too, or cgroups of
    /// version 1. Fails if more can be done through it than on the host.
    fn check_inner(&self, mount: &Mount) -> Result<bool> {
        let Some(number) = self.above(&mount.point) else { return Ok(false) };
        let outer = &self.expected.mounts[number];
        let Some(original) = &self.originals[number] else {
            if outer.kind != "cgroup" || mount.kind != "cgroup" && mount.kind != "cgroup2" {
                return Ok(false);
            }
            // Not even where a payload may change its cgroups.
            return (outer.fault(mount))
                .or_else(|| (!mount.restrictions.ro).then_some("ro"))
                .map_or(Ok(true), |fault| Err(weaker(mount, fault, "the configuration has")));
        };
        let below = mount.point.strip_prefix(&outer.place).unwrap_or(&mount.point);
        let there = original.path.join(below);
        // A bind of the host's / brings what the runtime has already mounted in this container, too. That is no more than
        // the host's own /dev and /proc, which it brings as well.
        if original.path == Path::new("/")
            && there.starts_with(RUN)
            && !(outer.private && mount.is_propagated)
        {
            return Ok(true);
        }
        let same = self.host.iter().filter(|host| host.point == there);
        let mut same = same
            .filter(|host| {
                (&host.device, &host.root, &host.kind) == (&mount.device, &mount.root, &mount.kind)
            })
            .peekable();
        if same.peek().is_none() {
            return Ok(false);
        }
        if outer.private && mount.is_propagated {
            return Err(weaker(mount, "private", "the configuration has"));
        }
        let mut faults = same.map(|host| mount.restrictions.lacks(host.restrictions));
        let first = faults.next().flatten();
        if first.is_none() || faults.any(|fault| fault.is_none()) {
            return Ok(true);
        }
        Err(weaker(mount, first.unwrap_or_default(), "the mount on the host has"))
    }

    /// Fails if something is not where it should be, or not what is seen there.
    fn check_presence(&self, number: usize) -> Result<()> {
        let expected = &self.expected.mounts[number];
        let place = expected.place.as_path();
        // What is mounted over it is seen instead.
        if place.ancestors().any(|above| self.at(above).last().is_some_and(|later| *later > number)) {
            return Ok(());
        }
        let missing = || {
            Error::new(format!("the runtime did not mount {} {} there", expected.shown(), place.display()))
        };
        if !self.mounts.iter().any(|mount| mount.point == place && self.is_like(number, mount)) {
            return Err(missing());
        }
        let Some(original) = &self.originals[number] else { return Ok(()) };
        let Some(directory) =
            original.directory().context(|| format!("cannot examine {}", original.path.display()))?
        else {
            return Ok(());
        };
        let found = find(self.root, place)?;
        if found.is_some_and(|found| (found.st_dev, found.st_ino) == (directory.st_dev, directory.st_ino)) {
            return Ok(());
        }
        Err(missing())
    }
}

fn weaker(mount: &Mount, option: &str, who: &str) -> Error {
    Error::new(format!(
        "the runtime mounted {} at {} without the option {option}, which {who}; {WHY}",
        mount.kind,
        mount.point.display()
    ))
}

/// What is known of a file of the container; `None` if there is none, or a symlink is in its path.
fn find(root: &Directory, path: &Path) -> Result<Option<Stat>> {
    let found = root.find(path.strip_prefix("/").unwrap_or(path), Links::Refused);
    found.context(|| format!("cannot examine {} in the container", path.display()))
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
            mount.is_some_and(|mount| mount.restrictions.ro) && names.is_empty()
        }
        _ => false,
    };
    if is_masked {
        return Ok(());
    }
    Err(Error::new(format!("the runtime did not mask {}", path.display())))
}

fn check_read_only(path: &Path, mounts: &[Mount], root: &Directory) -> Result<()> {
    if find(root, path)?.is_none() || mounted(path, mounts).is_some_and(|mount| mount.restrictions.ro) {
        return Ok(());
    }
    Err(Error::new(format!("the runtime did not make {} read-only", path.display())))
}

#[cfg(test)]
mod tests;
