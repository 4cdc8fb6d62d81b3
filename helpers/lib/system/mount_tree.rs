//! Where files are on their file systems, whatever their paths are.
//!
//! A bind mount shows a directory at a second path, and with it everything below, at paths that nothing else is common to.
//! So two paths are compared by the places that they lead to: a file system, and a path in it. The table of mounts tells
//! these for any path without symlinks, even of what does not exist. It is walked as the kernel does, from mount to mount,
//! since a mount may hide others that the table still has.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{Context, Result};
use crate::system::mounts::{self, Mount, OVERLAY};

/// Types of file systems of the kernel's, in which nobody makes anything.
const KERNEL: [&str; 20] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// Others whose files are on this host and nowhere else. What has a block device is, too.
const LOCAL: [&str; 7] = ["bcachefs", "btrfs", "devtmpfs", OVERLAY, "ramfs", "tmpfs", "zfs"];
/// Those that show files of others, without saying of which.
const STACKED: [&str; 5] = ["aufs", "ecryptfs", "shiftfs", "unionfs", "wrapfs"];

/// A place on a file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the file system's device.
    pub device: String,
    /// Path in the file system.
    pub inside: PathBuf,
}

impl Place {
    /// Whether it is the other one, or in it.
    pub fn is_in(&self, other: &Place) -> bool {
        self.device == other.device && self.inside.starts_with(&other.inside)
    }
}

/// Whether other paths can be known that lead to the files of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table has them.
    Known,
    /// They are on another host, and another mount may have them, too.
    Remote,
    /// They may be files of any other file system.
    Unknown,
}

/// All mounts of a mount namespace.
#[derive(Debug, Default)]
pub struct Tree {
    mounts: Vec<Mount>,
    /// Those at each mount point, by their indices.
    at: HashMap<PathBuf, Vec<usize>>,
    /// The layers of those that were asked for, by their numbers.
    layers: RefCell<HashMap<u64, Rc<[PathBuf]>>>,
}

impl Tree {
    /// The mounts that a process sees, given its directory in `/proc`.
    pub fn of(process: &Path) -> Result<Tree> {
        let path = process.join("mountinfo");
        Ok(Tree::parse(&fs::read(&path).context(|| format!("cannot read {}", path.display()))?))
    }

    /// The mounts of such a table.
    pub fn parse(table: &[u8]) -> Tree {
        let mounts = mounts::parse_all(table);
        let mut at: HashMap<_, Vec<_>> = HashMap::new();
        for (index, mount) in mounts.iter().enumerate() {
            at.entry(mount.point.clone()).or_default().push(index);
        }
        Tree { mounts, at, layers: RefCell::default() }
    }

    /// The mount that a path without symlinks is on; `None` if the table does not tell.
    pub fn mount(&self, path: &Path) -> Option<&Mount> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        let mut current: Option<&Mount> = None;
        for point in above {
            let mut here: Vec<&Mount> =
                self.at.get(point).into_iter().flatten().map(|index| &self.mounts[*index]).collect();
            // One may be mounted on another.
            while let Some(found) = here.iter().rposition(|mount| self.is_on(mount, current)) {
                current = Some(here.remove(found));
            }
        }
        current
    }

    /// Whether a mount is mounted on this one. The first one is on none that is known.
    fn is_on(&self, mount: &Mount, below: Option<&Mount>) -> bool {
        match below {
            Some(below) => mount.parent == below.id && mount.id != below.id,
            None => !self.mounts.iter().any(|other| other.id == mount.parent && other.id != mount.id),
        }
    }

    /// The place that a path without symlinks is; `None` if the table does not tell.
    pub fn place(&self, path: &Path) -> Option<Place> {
        self.mount(path).map(|mount| mount.place_of(path))
    }

    /// The places that a path without symlinks leads to: of an overlay, also those of the files that it shows.
    pub fn places(&self, path: &Path) -> BTreeSet<Place> {
        let mut found = BTreeSet::new();
        self.add_places(path, &mut Vec::new(), &mut found);
        found
    }

    fn add_places(&self, path: &Path, passed: &mut Vec<u64>, found: &mut BTreeSet<Place>) {
        // A layer that would be on the overlay itself is in another namespace.
        let Some(mount) = self.mount(path).filter(|mount| !passed.contains(&mount.id)) else { return };
        let place = mount.place_of(path);
        let below = place.inside.strip_prefix("/").unwrap_or(&place.inside);
        passed.push(mount.id);
        for layer in self.layers(mount).iter() {
            self.add_places(&layer.join(below), passed, found);
        }
        passed.pop();
        found.insert(place);
    }

    /// The layers of a mount, and where they lead: whoever mounted it may have named them by links.
    fn layers(&self, mount: &Mount) -> Rc<[PathBuf]> {
        let mut known = self.layers.borrow_mut();
        let layers = known.entry(mount.id).or_insert_with(|| {
            let real = mount.layers.iter().filter_map(|layer| fs::canonicalize(layer).ok());
            real.chain(mount.layers.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
        });
        layers.clone()
    }

    /// The paths at which a place is seen, or some of what is in it.
    pub fn paths(&self, place: &Place) -> Vec<PathBuf> {
        let mounts = self.mounts.iter().filter(|mount| mount.device == place.device);
        let found = mounts.filter_map(|mount| {
            let path = match place.inside.strip_prefix(&mount.root) {
                Ok(below) => mount.point.join(below).components().collect(),
                Err(_) if mount.root.starts_with(&place.inside) => mount.point.clone(),
                Err(_) => return None,
            };
            self.mount(&path).is_some_and(|found| found.id == mount.id).then_some(path)
        });
        found.collect()
    }

    /// The mounts in directories that somebody can write to who is given such a directory, even read-only: that does not
    /// concern what is mounted in it.
    pub fn writable_in(&self, directories: &BTreeSet<PathBuf>) -> Vec<&Mount> {
        // Users decide how deep their mounts are, and nobody else's directory has so long a path.
        let is_in = |point: &Path| {
            directories.iter().any(|above| point != above.as_path() && point.starts_with(above))
        };
        let found = self.mounts.iter().filter(|mount| {
            !mount.restrictions.ro && !KERNEL.contains(&mount.kind.as_str()) && is_in(&mount.point)
        });
        found.collect()
    }
}

impl Mount {
    /// The place that is mounted.
    pub fn place(&self) -> Place {
        Place { device: self.device.clone(), inside: self.root.clone() }
    }

    /// The place of a path on it.
    fn place_of(&self, path: &Path) -> Place {
        let below = path.strip_prefix(&self.point).unwrap_or(path);
        Place { device: self.device.clone(), inside: self.root.join(below).components().collect() }
    }

    /// What is known of its files. The paths of the first file system are the ones that all others are found by.
    pub fn origin(&self) -> Origin {
        let kind = self.kind.as_str();
        let is_unknown = match kind {
            OVERLAY => self.layers.is_empty() || self.layers.iter().any(|layer| layer.is_relative()),
            _ => mounts::is_in_userspace(kind) || STACKED.contains(&kind),
        };
        if self.point == Path::new("/") {
            Origin::Known
        } else if is_unknown {
            Origin::Unknown
        } else if !self.device.starts_with("0:") || LOCAL.contains(&kind) || KERNEL.contains(&kind) {
            Origin::Known
        } else {
            Origin::Remote
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 8:2 / /srv rw - xfs /dev/sda2 rw\n\
        3 1 8:2 /app/www /var/www rw - xfs /dev/sda2 rw\n\
        4 2 8:3 / /srv/app/disk rw - ext4 /dev/sdb rw\n\
        5 1 0:30 /@/home /home rw - btrfs /dev/sdc rw\n\
        6 5 0:30 /@/home/a/in /home/b rw - btrfs /dev/sdc rw\n\
        7 1 8:1 /etc/file /opt/file rw - ext4 /dev/sda1 rw\n\
        8 2 8:2 /gone//deleted /srv/old rw - xfs /dev/sda2 rw\n\
        9 1 0:40 / /merged rw - overlay overlay rw,lowerdir=/srv/low:/opt,upperdir=/srv/app/up,workdir=/srv/work\n\
        10 2 0:41 / /srv/app/ro ro - tmpfs tmpfs rw\n\
        11 2 0:42 / /srv/app/proc rw - proc proc rw\n";

    fn places(tree: &Tree, path: &str) -> Vec<String> {
        let places = tree.places(Path::new(path));
        places.iter().map(|place| format!("{} {}", place.device, place.inside.display())).collect()
    }

    #[test]
    fn a_path_is_a_place_of_a_file_system() {
        let tree = Tree::parse(TABLE.as_bytes());
        for (path, expected) in [
            ("/", &["8:1 /"][..]),
            ("/var/none", &["8:1 /var/none"]),
            ("/srv/app/www/x", &["8:2 /app/www/x"]),
            ("/var/www/x", &["8:2 /app/www/x"]),
            ("/srv/app/disk/x", &["8:3 /x"]),
            ("/home/b/x", &["0:30 /@/home/a/in/x"]),
            ("/opt/file", &["8:1 /etc/file"]),
            ("/srv/old/x", &["8:2 /gone/deleted/x"]),
            ("/merged/x", &["0:40 /x", "8:1 /opt/x", "8:2 /app/up/x", "8:2 /low/x"]),
        ] {
            assert_eq!(places(&tree, path), expected, "{path}");
        }
        assert!(places(&Tree::default(), "/x").is_empty());
    }

    #[test]
    fn what_is_hidden_is_not_found() {
        let tree = Tree::parse(
            b"1 0 8:1 / / rw - x x rw\n2 1 8:2 / /a/b rw - x x rw\n3 1 8:3 / /a rw - x x rw\n4 3 8:4 / /a rw - x x rw\n\
            5 2 8:5 / /a/b/c rw - x x rw\n6 9 8:6 / /z rw - x x rw\n",
        );
        assert_eq!(places(&tree, "/a/b/c"), ["8:4 /b/c"]);
        let hidden = Place { device: "8:2".into(), inside: "/".into() };
        assert!(tree.paths(&hidden).is_empty());
        // A first one that is covered, as in an initial RAM disk, and one whose parent is itself.
        let tree = Tree::parse(
            b"1 1 0:1 / / rw - rootfs rootfs rw\n2 1 8:1 / / rw - x x rw\n3 2 8:2 / /a rw - x x rw\n",
        );
        assert_eq!([places(&tree, "/b"), places(&tree, "/a/b")], [["8:1 /b"], ["8:2 /b"]]);
    }

    #[test]
    fn a_place_is_seen_at_paths() {
        let tree = Tree::parse(TABLE.as_bytes());
        let paths = |inside: &str| {
            let found = tree.paths(&Place { device: "8:2".into(), inside: inside.into() });
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(paths("/app"), ["/srv/app", "/var/www"]);
        assert_eq!(paths("/app/www/x"), ["/srv/app/www/x", "/var/www/x"]);
        assert_eq!(paths("/gone"), ["/srv/gone", "/srv/old"]);
        let inside = |path: &str| {
            let found = tree.writable_in(&BTreeSet::from([PathBuf::from(path)]));
            found.iter().map(|mount| mount.point.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(inside("/srv/app"), ["/srv/app/disk"]);
        assert_eq!(inside("/srv/app/disk"), [""; 0]);
    }

    #[test]
    fn what_may_be_elsewhere_is_said() {
        let origin = |rest: &str| mounts::parse_all(format!("1 0 {rest} rw").as_bytes())[0].origin();
        for (rest, expected) in [
            ("8:1 / /a rw - ext4 x", Origin::Known),
            ("0:9 / /a rw - btrfs x", Origin::Known),
            ("0:9 / /a rw - tmpfs x", Origin::Known),
            ("0:9 / /a rw - autofs x", Origin::Known),
            ("8:9 / /a rw - fuseblk x", Origin::Known),
            ("0:9 / /a rw - nfs4 host:/x", Origin::Remote),
            ("0:9 / /a rw - new x", Origin::Remote),
            ("0:9 / / rw - nfs4 host:/x", Origin::Known),
            ("0:9 / /a rw - fuse.mergerfs x", Origin::Unknown),
            ("0:9 / /a rw - ecryptfs x", Origin::Unknown),
            ("0:9 / /a rw - overlay overlay", Origin::Unknown),
        ] {
            assert_eq!(origin(rest), expected, "{rest}");
        }
        let layers = |layers: &str| {
            mounts::parse_all(format!("1 0 0:9 / /a rw - overlay x rw,lowerdir={layers}").as_bytes())[0]
                .origin()
        };
        assert_eq!([layers("/a:/b"), layers("/a:l/b")], [Origin::Known, Origin::Unknown]);
    }
}
