//! Paths of the host that lead through directories that payloads write to.
//!
//! What such a directory contains may be a symlink to anything by the time that it is looked at. So from there on,
//! nothing follows one. The directories are known by the places of file systems that they are, since there may be more
//! than one path to each, and to what is in it: through links of the host, and through its mounts. Where these do not tell
//! what else leads there, a directory counts as written to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::paths::{Root, TreePath};
use crate::system::directory::{Directory, Links};
use crate::system::files;
use crate::system::mount_tree::{Origin, Place, Tree};
use crate::system::mounts::{Mount, OVERLAY};

/// This process, which may have a mount namespace of its own, and the host's first one.
const PROCESSES: [&str; 2] = ["/proc/self", "/proc/1"];

/// Directories of the host that payloads have got.
#[derive(Clone, Debug, Default)]
pub struct Got {
    /// Those that they write to.
    pub written: BTreeSet<PathBuf>,
    /// All of them: what is mounted in one that is read-only is not.
    pub all: BTreeSet<PathBuf>,
}

/// Directories that payloads write to.
#[derive(Debug, Default)]
pub struct Untrusted {
    /// The paths that they were given by, and where these lead.
    paths: BTreeSet<PathBuf>,
    /// Their places in file systems, by the devices of these.
    places: HashMap<String, BTreeSet<PathBuf>>,
    /// Whether one is on another host.
    is_remote: bool,
    /// Those that are written to as a whole by who changes the host anyway.
    shared: BTreeSet<PathBuf>,
    /// The mounts that paths are looked up in.
    here: Tree,
    /// Those of the host, if they are others.
    host: Option<Tree>,
}

/// A file of the host, as it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its path, without symlinks of the host.
    pub path: TreePath,
    /// The outermost directory on the way that a payload writes to. What is in it may be a symlink.
    pub outer: Option<TreePath>,
}

impl Untrusted {
    /// These directories, whether they exist or not, and what is mounted in them, but for the `shared` ones.
    pub fn new(root: &Root, got: &Got, shared: &[&str]) -> Result<Untrusted> {
        let [here, host] = PROCESSES.map(|process| Path::new(process).join("ns/mnt").read_link().ok());
        let is_host = here.is_some() && here == host;
        let [here, host] = PROCESSES.map(Path::new);
        let host = (!is_host).then(|| Tree::of(host)).transpose()?;
        Ok(Untrusted::by(root, (Tree::of(here)?, host), got, shared))
    }

    /// As the tables of mounts tell.
    fn by(root: &Root, tables: (Tree, Option<Tree>), got: &Got, shared: &[&str]) -> Untrusted {
        let shared = shared.iter().map(|path| root.join(&TreePath::new(path))).collect();
        let (here, host) = tables;
        let mut found = Untrusted { shared, here, host, ..Untrusted::default() };
        // As they are written, at first, so that no link in one is followed on the way to another one.
        got.written.iter().for_each(|path| found.add(root, path));
        // What is in another one comes after it.
        let mut sorted: Vec<_> = got.written.iter().collect();
        sorted.sort_by_key(|path| path.components().count());
        for path in sorted {
            // Who names one that leads nowhere is told.
            if let Ok(place) = found.trace(root, path) {
                found.add(root, &place);
            }
        }
        let mounted: Vec<_> = found.mounted_in(&found.resolved(root, got)).map(Mount::place).collect();
        mounted.into_iter().for_each(|place| found.add_place(place));
        found
    }

    /// Where all directories are that payloads have got.
    fn resolved(&self, root: &Root, got: &Got) -> BTreeSet<PathBuf> {
        let paths = got.written.iter().chain(&got.all).filter_map(|path| self.trace(root, path).ok());
        paths.map(|place| root.join(&TreePath::new(place))).collect()
    }

    fn trees(&self) -> impl Iterator<Item = &Tree> {
        std::iter::once(&self.here).chain(&self.host)
    }

    fn add(&mut self, root: &Root, path: &Path) {
        let at = root.join(&TreePath::new(path));
        let is_remote = |tree: &Tree| tree.mount(&at).is_some_and(|mount| mount.origin() == Origin::Remote);
        let is_one_remote = self.trees().any(is_remote);
        self.is_remote |= is_one_remote;
        let places: Vec<_> = self.trees().flat_map(|tree| tree.places(&at)).collect();
        places.into_iter().for_each(|place| self.add_place(place));
        self.paths.insert(path.to_path_buf());
    }

    fn add_place(&mut self, place: Place) {
        self.places.entry(place.device).or_default().insert(place.inside);
    }

    /// What is mounted in directories that payloads have got.
    fn mounted_in(&self, directories: &BTreeSet<PathBuf>) -> impl Iterator<Item = &Mount> {
        let shared: BTreeSet<_> =
            self.shared.iter().flat_map(|path| self.trees().flat_map(|tree| tree.places(path))).collect();
        let mounts = self.trees().flat_map(|tree| tree.writable_in(directories));
        mounts.filter(move |mount| !shared.contains(&mount.place()))
    }

    fn is_written(&self, root: &Root, path: &Path) -> bool {
        if self.paths.is_empty() && self.places.is_empty() {
            // Mostly there are none, and nothing is looked at.
            return false;
        }
        let at = root.join(&TreePath::new(path));
        let is_known = match self.here.mount(&at).map(|mount| mount.origin()) {
            Some(Origin::Known) => true,
            Some(Origin::Remote) => !self.is_remote,
            Some(Origin::Unknown) | None => false,
        };
        let is_in = |place: &Place| {
            let inside = self.places.get(&place.device);
            inside.is_some_and(|inside| place.inside.ancestors().any(|above| inside.contains(above)))
        };
        !is_known || self.paths.contains(path) || self.here.places(&at).iter().any(is_in)
    }

    /// Where a path leads.
    fn trace(&self, root: &Root, path: &Path) -> Result<PathBuf> {
        let is_covered = |at: &Path| at.ancestors().any(|above| self.is_written(root, above));
        files::trace(root.path(), path, &is_covered).map(|trace| trace.place)
    }

    /// Where a path leads; in the directories that payloads write to, no symlink is followed.
    pub fn find(&self, root: &Root, path: &Path) -> Result<Way> {
        let place = self.trace(root, path)?;
        // The last one is the outermost.
        let outer = place.ancestors().skip(1).filter(|above| self.is_written(root, above)).last();
        Ok(Way { outer: outer.map(TreePath::new), path: TreePath::new(&place) })
    }

    /// All paths of the host at which what a payload has got is seen, or some of it, each with the mount point of what has
    /// its name: so that it is known when there are other mounts.
    pub fn names(&self, root: &Root, got: &Got) -> BTreeMap<PathBuf, PathBuf> {
        let all = self.resolved(root, got);
        let written = self.resolved(root, &Got { all: BTreeSet::new(), ..got.clone() });
        let places = written.iter().flat_map(|path| self.trees().flat_map(|tree| tree.places(path)));
        // Root file systems of containers come and go.
        let mounted = self.mounted_in(&all).filter(|mount| mount.kind != OVERLAY);
        let host = self.host.as_ref().unwrap_or(&self.here);
        let seen = places.chain(mounted.map(Mount::place)).flat_map(|place| host.paths(&place));
        let names = written.iter().cloned().chain(seen).filter(|path| !self.shared.contains(path));
        let names = names.filter_map(|path| {
            let above = &host.mount(path.parent()?)?.point;
            Some((root.inside(&path).as_path().to_path_buf(), root.inside(above).as_path().to_path_buf()))
        });
        names.collect()
    }
}

impl Way {
    /// Reads the file, if it is a regular one of at most `limit` bytes; `None` if it does not exist. Errors do not name it.
    pub fn read(&self, root: &Root, limit: usize) -> Result<Option<Vec<u8>>> {
        let Some(outer) = &self.outer else { return files::read_bounded(&root.join(&self.path), limit) };
        self.open_file(root, outer)?.map(|file| files::read_opened(file, limit)).transpose()
    }

    fn open_file(&self, root: &Root, outer: &TreePath) -> Result<Option<File>> {
        let below = self.path.as_path().strip_prefix(outer.as_path());
        let below = below.map_err(|_| Error::new("it is not where it was found"))?;
        let directory = Directory::open(&root.join(outer)).context(|| outer.to_string())?;
        let file = directory.file(below, Links::Refused);
        // Only the message depends on this.
        if !matches!(file, Ok(Some(_)))
            && below.ancestors().any(|part| root.join(outer).join(part).is_symlink())
        {
            return Err(Error::new(format!(
                "a symlink leads to it, and none is followed in {outer}, where a payload can put anything"
            )));
        }
        file.context(|| outer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["srv/app/sub", "secret", "var/home/app"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (link, target) in [
            ("srv/link", "/srv/app"),
            ("home", "var/home"),
            ("srv/app/out", "/secret"),
            ("srv/app/env", "/secret/env"),
        ] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        fs::write(dir.path().join("secret/env"), "TOKEN=1").unwrap();
        fs::write(dir.path().join("srv/app/sub/env"), "A=1").unwrap();
        let root = Root::new(dir.path());
        (dir, root)
    }

    fn got(written: &[&str], all: &[&str]) -> Got {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Got { written: paths(written), all: paths(all) }
    }

    #[test]
    fn links_of_the_host_are_followed_and_those_of_payloads_are_not() {
        let (_dir, root) = tree();
        let untrusted = Untrusted::new(&root, &got(&["/srv/app", "/home/app", "/none"], &[]), &[]).unwrap();
        for (path, place, outer) in [
            ("/srv/app/sub", "/srv/app/sub", Some("/srv/app")),
            ("/srv/link/sub", "/srv/app/sub", Some("/srv/app")),
            ("/srv/link/out/x", "/srv/app/out/x", Some("/srv/app")),
            ("/srv/link", "/srv/app", None),
            ("/var/home/app/x", "/var/home/app/x", Some("/var/home/app")),
            ("/home/app/x", "/var/home/app/x", Some("/var/home/app")),
            ("/none/x", "/none/x", Some("/none")),
            ("/home", "/var/home", None),
        ] {
            let outer = outer.map(TreePath::from);
            assert_eq!(
                untrusted.find(&root, path.as_ref()).unwrap(),
                Way { path: place.into(), outer },
                "{path}"
            );
        }
        let all = Untrusted::default().find(&root, "/srv/app/out".as_ref()).unwrap();
        assert_eq!(all, Way { path: "/secret".into(), outer: None });
    }

    #[test]
    fn files_are_read_where_they_are() {
        let (_dir, root) = tree();
        let untrusted = Untrusted::new(&root, &got(&["/srv/app"], &[]), &[]).unwrap();
        let read =
            |untrusted: &Untrusted, path: &str| untrusted.find(&root, path.as_ref()).unwrap().read(&root, 9);
        assert_eq!(read(&untrusted, "/srv/link/sub/env").unwrap().unwrap(), b"A=1");
        assert_eq!(read(&untrusted, "/srv/app/none").unwrap(), None);
        assert_eq!(read(&Untrusted::default(), "/srv/app/env").unwrap().unwrap(), b"TOKEN=1");
        for path in ["/srv/app/env", "/srv/link/out/env"] {
            let error = read(&untrusted, path).unwrap_err().to_string();
            assert!(error.contains("a symlink leads to it, and none is followed in /srv/app"), "{error}");
        }
    }

    /// A tree whose mounts are these: device, place, mount point, options, type, and so on.
    fn mounted(root: &Root, lines: &[&str]) -> Tree {
        let dir = root.path().canonicalize().unwrap();
        let lines = lines.iter().enumerate().map(|(number, line)| {
            let [device, inside, point, rest] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!() };
            let point = if point == "/" { "" } else { point };
            let point = format!("{}{point}", dir.display());
            format!(
                "{} {} {device} {inside} {point} {}\n",
                number + 2,
                if number == 0 { 1 } else { 2 },
                rest.replace("DIR", &dir.to_string_lossy())
            )
        });
        Tree::parse(format!("1 0 9:9 / / rw - x x rw\n{}", lines.collect::<String>()).as_bytes())
    }

    const FIRST: &str = "8:1 / / rw - ext4 x rw";

    #[test]
    fn what_is_written_to_is_known_through_every_mount() {
        let (dir, _) = tree();
        let root = Root::new(dir.path().canonicalize().unwrap());
        for path in ["a/b/c", "m/x/y"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (mounts, written, all, path, expected) in [
            // The directory itself, one in it, and one that it is in.
            (&["8:1 /srv/app /a rw - ext4 x rw"][..], "/srv/app", "", "/a/b/c", Some("/a")),
            (&["8:1 /srv/app/sub /a/b rw - ext4 x rw"], "/srv/app", "", "/a/b/c", Some("/a/b")),
            (&["8:1 /srv /a rw - ext4 x rw"], "/srv/app", "", "/a/app/c", Some("/a/app")),
            (&["8:1 /srv /a rw - ext4 x rw"], "/a/app", "", "/srv/app/c", Some("/srv/app")),
            (&["8:1 /srv/app/sub /a/b rw - ext4 x rw"], "/a/b", "", "/srv/app/sub/c", Some("/srv/app/sub")),
            // Neither its neighbour, nor the same path on another file system.
            (&["8:1 /srv/app2 /a rw - ext4 x rw"], "/srv/app", "", "/a/b/c", None),
            (&["8:2 /srv/app /a rw - ext4 x rw"], "/srv/app", "", "/a/b/c", None),
            // Two mounts of one file system, of which neither shows the other's place; subvolumes.
            (&["8:2 /one /a rw - ext4 x rw", "8:2 /one/x /m rw - ext4 x rw"], "/a", "", "/m/x/y", Some("/m")),
            (
                &["0:9 /@/one /a rw - btrfs x rw", "0:9 /@ /m rw - btrfs x rw"],
                "/a",
                "",
                "/m/one/y",
                Some("/m/one"),
            ),
            (&["0:9 /@/one /a rw - btrfs x rw", "0:9 /@ /m rw - btrfs x rw"], "/a", "", "/m/x/y", None),
            // What is mounted in it is got with it, even if the directory is read-only, but not if that is.
            (&["8:2 / /a/b rw - ext4 x rw", "8:2 /x /m rw - ext4 x rw"], "/a", "", "/m/x/y", Some("/m")),
            (&["8:2 / /a/b rw - ext4 x rw", "8:2 /x /m rw - ext4 x rw"], "", "/a", "/m/x/y", Some("/m")),
            (&["8:2 / /a/b ro - ext4 x rw", "8:2 /x /m rw - ext4 x rw"], "/none", "/a", "/m/x/y", None),
            // A file that is mounted is no directory of anything.
            (&["8:1 /srv/app/f /a/b rw - ext4 x rw"], "/a/b", "", "/srv/app/sub", None),
            // The layers of an overlay, and the overlay.
            (
                &["0:9 / /m rw - overlay o rw,lowerdir=/l:DIR/a,upperdir=/u"],
                "/a/b",
                "",
                "/m/b/c",
                Some("/m/b"),
            ),
            (&["0:9 / /m rw - overlay o rw,lowerdir=/l,upperdir=DIR/a"], "/m/b", "", "/a/b/c", Some("/a/b")),
            (&["0:9 / /m rw - overlay o rw,lowerdir=/l,upperdir=DIR/a"], "/srv/app", "", "/m/b/c", None),
            (&["0:9 / /m rw - overlay o rw,lowerdir=l:m,upperdir=u"], "/srv/app", "", "/m/b/c", Some("/m")),
            // What cannot be decided.
            (&["0:9 / /m rw - fuse.bindfs DIR/a rw"], "/srv/app", "", "/m/x/y", Some("/m")),
            (&["0:9 / /m rw - fuse DIR/a rw"], "/m/b", "", "/a/b/c", Some("/a/b")),
            (
                &["0:9 / /m rw - nfs host:/x rw", "0:8 / /a rw - nfs host:/ rw"],
                "/a/x",
                "",
                "/m/x/y",
                Some("/m"),
            ),
            (&["0:9 / /m rw - nfs host:/x rw"], "/srv/app", "", "/m/x/y", None),
        ] {
            let lines: Vec<_> = [FIRST].into_iter().chain(mounts.iter().copied()).collect();
            let one = |path| if path == "" { vec![] } else { vec![path] };
            let got = got(&one(written), &one(all));
            let untrusted = Untrusted::by(&root, (mounted(&root, &lines), None), &got, &[]);
            let way = untrusted.find(&root, path.as_ref()).unwrap();
            assert_eq!(way.outer, expected.map(TreePath::from), "{mounts:?} {written} {all} {path}");
        }
    }

    #[test]
    fn mounts_of_the_host_count_for_units_with_their_own() {
        let (dir, _) = tree();
        let root = Root::new(dir.path().canonicalize().unwrap());
        let host = || mounted(&root, &[FIRST, "8:2 / /m rw - ext4 x rw"]);
        let here = || mounted(&root, &[FIRST, "8:2 /app/www /a rw - ext4 x rw"]);
        let of = |here: Tree, host: Option<Tree>| {
            let untrusted = Untrusted::by(&root, (here, host), &got(&["/m/app"], &[]), &[]);
            untrusted.find(&root, "/a/b".as_ref()).unwrap().outer
        };
        assert_eq!([of(here(), Some(host())), of(here(), None)], [Some("/a".into()), None]);
    }

    #[test]
    fn links_in_one_are_not_followed_to_another_one() {
        let (_dir, root) = tree();
        let untrusted = Untrusted::new(&root, &got(&["/srv/app", "/srv/app/out"], &[]), &[]).unwrap();
        let outer = |path: &str| untrusted.find(&root, path.as_ref()).unwrap().outer;
        assert_eq!([outer("/srv/app/out/x"), outer("/secret/env")], [Some("/srv/app".into()), None]);
    }

    #[test]
    fn names_are_all_that_lead_there() {
        let (dir, _) = tree();
        let root = Root::new(dir.path().canonicalize().unwrap());
        let lines = [
            FIRST,
            "8:1 /srv /a rw - ext4 x rw",
            "8:1 /srv/app/sub /m rw - ext4 x rw",
            "8:2 / /srv/app/disk rw - ext4 x rw",
            "8:2 /in /etc/in rw - ext4 x rw",
            "0:9 / /srv/app/o rw - overlay o rw,lowerdir=/l",
        ];
        let names = |written: &[&str], all: &[&str], shared: &[&str]| {
            let got = got(written, all);
            let untrusted = Untrusted::by(&root, (mounted(&root, &lines), None), &got, shared);
            let names = untrusted.names(&root, &got).into_iter();
            names.map(|(path, mount)| format!("{} {}", path.display(), mount.display())).collect::<Vec<_>>()
        };
        let disk = ["/etc/in /", "/srv/app/disk /"];
        assert_eq!(
            names(&["/srv/link"], &["/srv/link"], &[]),
            ["/a/app /a", disk[0], "/m /", "/srv/app /", disk[1]]
        );
        assert_eq!(names(&[], &["/srv"], &["/srv"]), disk);
        assert_eq!(names(&[], &["/srv"], &["/srv/app/disk"]), [""; 0]);
    }
}
