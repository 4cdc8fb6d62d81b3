//! Paths of the host that lead through directories that payloads write to.
//!
//! What such a directory contains may be a symlink to anything by the time that it is looked at. So from there on,
//! nothing follows one. The directories are known by the places of file systems that they are, since there may be more
//! than one path to each, and to what is in it: through links of the host, and through its mounts. Where these do not tell
//! what else leads there, a directory counts as written to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::error::{Context, Error, Result};
use crate::paths::{self, Root, TreePath};
use crate::steps::count;
use crate::system::directory::{self, Directory, Links};
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
    /// What they wrote to at any time, by paths that no symlink was in then. These are not looked at: what is there may be
    /// another host's by now, or a user's, and not answer.
    pub recorded: BTreeSet<PathBuf>,
}

/// Directories that payloads write to.
#[derive(Debug, Default)]
pub struct Untrusted {
    /// The paths that they were given by, and where these lead.
    paths: BTreeSet<PathBuf>,
    /// Their places in file systems, by the devices of these.
    written: HashMap<String, BTreeSet<PathBuf>>,
    /// Whether one is on another host.
    is_remote: bool,
    /// Those that are written to as a whole by who changes the host anyway.
    shared: BTreeSet<PathBuf>,
    /// The mounts that paths are looked up in.
    here: Tree,
    /// Those of the host, if they are others.
    host: Option<Tree>,
    /// Which paths are written to, as far as it was asked since the last change.
    known: RefCell<HashMap<PathBuf, bool>>,
    /// Which are, or are in one that is, likewise.
    covered: RefCell<HashMap<PathBuf, bool>>,
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
        got.written.iter().chain(&got.recorded).for_each(|path| found.add(root, path));
        // What is in another one comes after it.
        let mut sorted: Vec<_> = got.written.iter().collect();
        sorted.sort_by_key(|path| path.components().count());
        for path in sorted {
            // Who names one that leads nowhere is told.
            if let Ok(place) = found.trace(root, path) {
                found.add(root, &place);
            }
        }
        let mut all = found.resolved(root, got);
        all.extend(got.recorded.iter().map(|path| root.join(&TreePath::new(path))));
        let mounted: Vec<_> = found.mounted_in(&all).cloned().collect();
        mounted.into_iter().for_each(|mount| found.add_mounted(&mount));
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
        self.places(&at).into_iter().for_each(|place| self.add_place(place));
        self.paths.insert(path.to_path_buf());
        self.forget();
    }

    fn add_mounted(&mut self, mount: &Mount) {
        self.is_remote |= mount.origin() == Origin::Remote;
        self.written_by(mount).into_iter().for_each(|place| self.add_place(place));
    }

    /// The places that somebody writes to who writes to what is mounted: of an overlay, all of it is in one layer.
    fn written_by(&self, mount: &Mount) -> Vec<Place> {
        let layers: Vec<_> = match mount.kind.as_str() {
            OVERLAY => mount.upper.iter().collect(),
            _ => mount.layers.iter().collect(),
        };
        let real = layers.iter().filter_map(|layer| fs::canonicalize(layer).ok());
        let paths: BTreeSet<PathBuf> = real.chain(layers.iter().map(|layer| (*layer).clone())).collect();
        let place = mount.place();
        let below = place.inside.strip_prefix("/").unwrap_or(&place.inside);
        paths.iter().flat_map(|path| self.places(&path.join(below))).chain([place.clone()]).collect()
    }

    fn add_place(&mut self, place: Place) {
        self.forget();
        self.written.entry(place.device).or_default().insert(place.inside);
    }

    fn forget(&mut self) {
        self.known.get_mut().clear();
        self.covered.get_mut().clear();
    }

    /// What is mounted in directories that payloads have got.
    fn mounted_in(&self, directories: &BTreeSet<PathBuf>) -> impl Iterator<Item = &Mount> {
        let shared: BTreeSet<_> = self.shared.iter().flat_map(|path| self.places(path)).collect();
        let mounts = self.trees().flat_map(|tree| tree.writable_in(directories));
        mounts.filter(move |mount| !shared.contains(&mount.place()))
    }

    fn is_written(&self, root: &Root, path: &Path) -> bool {
        if self.paths.is_empty() && self.written.is_empty() {
            // Mostly there are none, and nothing is looked at.
            return false;
        }
        count(1);
        let known = self.known.borrow().get(path).copied();
        known.unwrap_or_else(|| {
            let is_written = self.look(root, path);
            self.known.borrow_mut().insert(path.to_path_buf(), is_written);
            is_written
        })
    }

    fn look(&self, root: &Root, path: &Path) -> bool {
        let at = root.join(&TreePath::new(path));
        let is_known = match self.here.mount(&at).map(|mount| mount.origin()) {
            Some(Origin::Known) => true,
            Some(Origin::Remote) => !self.is_remote,
            Some(Origin::Unknown) | None => false,
        };
        let is_in = |place: &Place| {
            let inside = self.written.get(&place.device);
            inside.is_some_and(|inside| place.inside.ancestors().any(|above| inside.contains(above)))
        };
        !is_known || self.paths.contains(path) || self.here.places(&at).iter().any(is_in)
    }

    /// Where a path leads.
    fn trace(&self, root: &Root, path: &Path) -> Result<PathBuf> {
        files::trace(root.path(), path, &|at| self.is_covered(root, at)).map(|trace| trace.place)
    }

    /// Whether a path is written to, or is in a directory that is.
    fn is_covered(&self, root: &Root, path: &Path) -> bool {
        let known = self.covered.borrow().get(path).copied();
        known.unwrap_or_else(|| {
            let mut is_above = path.parent().into_iter();
            let is_covered =
                is_above.any(|above| self.is_covered(root, above)) || self.is_written(root, path);
            self.covered.borrow_mut().insert(path.to_path_buf(), is_covered);
            is_covered
        })
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
        let mut places: BTreeSet<_> = written.iter().flat_map(|path| self.places(path)).collect();
        // Users could name any number of paths.
        let mounted =
            self.mounted_in(&all).filter(|mount| !mount.is_of_user && !is_root_of_ours(root, mount));
        places.extend(mounted.flat_map(|mount| self.written_by(mount)));
        let host = self.host.as_ref().unwrap_or(&self.here);
        let seen = places.iter().flat_map(|place| host.paths(place));
        let names = written.iter().cloned().chain(seen).filter(|path| !self.shared.contains(path));
        let names = names.filter_map(|path| {
            let above = &host.mount(path.parent()?)?.point;
            Some((root.inside(&path).as_path().to_path_buf(), root.inside(above).as_path().to_path_buf()))
        });
        names.collect()
    }

    /// The places of a path in all mount namespaces that count.
    fn places(&self, path: &Path) -> Vec<Place> {
        self.trees().flat_map(|tree| tree.places(path)).collect()
    }
}

/// Whether a mount is the root file system of a container, which comes and goes with it.
fn is_root_of_ours(root: &Root, mount: &Mount) -> bool {
    let ours = [TreePath::from(paths::RUN), paths::deployments()].map(|path| root.join(&path));
    let is_in = |path: &Path| ours.iter().any(|ours| path.starts_with(ours));
    mount.kind == OVERLAY && (is_in(&mount.point) || mount.upper.as_deref().is_some_and(is_in))
}

impl Way {
    /// Reads the file, if it is a regular one of at most `limit` bytes; `None` if it does not exist. Errors do not name it.
    pub fn read(&self, root: &Root, limit: usize) -> Result<Option<Vec<u8>>> {
        let Some(outer) = &self.outer else { return files::read_bounded(&root.join(&self.path), limit) };
        self.open_file(root, outer)?.map(|file| files::read_opened(file, limit)).transpose()
    }

    fn open_file(&self, root: &Root, outer: &TreePath) -> Result<Option<File>> {
        let (directory, below) = self.opened(root)?;
        let file = directory.file(&below, Links::Refused);
        // Only the message depends on this.
        if !matches!(file, Ok(Some(_))) {
            self.refuse_link(root)?;
        }
        file.context(|| outer.to_string())
    }

    /// What is known of the file, whatever it is; `None` if it does not exist.
    pub fn stat(&self, root: &Root) -> Result<Option<Stat>> {
        let what = || "cannot examine it".to_string();
        let (directory, below) = self.opened(root)?;
        let found = directory.find(&below, Links::Refused).context(what)?;
        if found.as_ref().is_none_or(|stat| directory::kind(stat) == FileType::Symlink) {
            self.refuse_link(root)?;
        }
        Ok(found)
    }

    /// Opens the directory that it is.
    pub fn directory(&self, root: &Root) -> Result<Directory> {
        let (directory, below) = self.opened(root)?;
        directory.directory(&below, Links::Refused).context(|| "cannot open it".into())
    }

    /// The directory that nobody leads elsewhere, and the path from there.
    fn opened(&self, root: &Root) -> Result<(Directory, PathBuf)> {
        let from = self.outer.clone().or_else(|| self.path.parent()).unwrap_or_else(|| TreePath::from("/"));
        let below = self.path.as_path().strip_prefix(from.as_path());
        let below = below.map_err(|_| Error::new("it is not where it was found"))?;
        Ok((Directory::open(&root.join(&from)).context(|| from.to_string())?, below.to_path_buf()))
    }

    fn refuse_link(&self, root: &Root) -> Result<()> {
        let Some(outer) = &self.outer else { return Ok(()) };
        let inside = self.path.as_path().ancestors().take_while(|path| *path != outer.as_path());
        if inside.map(|path| root.join(&TreePath::new(path))).any(|path| path.is_symlink()) {
            return Err(Error::new(format!(
                "a symlink leads to it, and none is followed in {outer}, where a payload can put anything"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
