//! What happens to host files when a deployment replaces another one or is removed. Installations and previews both use
//! these decisions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::error::{Context, Result};
use crate::host_files::record::{self, DIRECTORY, DeploymentFiles, checksum, is_as_recorded, locate};
use crate::host_files::written::Written;
use crate::name::Name;
use crate::paths::TreePath;
use crate::system::files;

/// Owner and, except for symlinks, mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    uid: u32,
    gid: u32,
    mode: Option<u32>,
}

impl Facts {
    /// The facts of a file with this owner and mode.
    pub fn new(uid: u32, gid: u32, mode: u32, is_symlink: bool) -> Self {
        Facts { uid, gid, mode: (!is_symlink).then_some(mode & 0o7777) }
    }

    fn of(metadata: &Metadata) -> Self {
        Facts::new(metadata.uid(), metadata.gid(), metadata.mode(), metadata.is_symlink())
    }

    /// Reads the facts of the file at `path`, if it exists.
    pub fn read(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().as_ref().map(Facts::of)
    }
}

/// A host file of the incoming deployment.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Path on the host.
    pub path: TreePath,
    /// Checksum that the deployment recorded.
    pub recorded: Option<String>,
    /// Owner and mode that the file is to have.
    pub facts: Option<Facts>,
}

/// What an incoming deployment does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The file does not exist, and is created.
    Created,
    /// The file exists and is ours, and is replaced.
    Replaced,
    /// Only the owner or mode is changed.
    Adjusted,
    /// The file is up to date, and is left alone.
    Kept,
    /// The user changed the file, and it is left alone.
    Changed,
}

/// What the removal of a deployment does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The file is removed.
    Removed,
    /// The user changed the file, and it is left behind.
    Changed,
    /// The file does not exist, or is a directory that is still needed.
    Kept,
}

/// A host file of an outgoing deployment.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Path on the host.
    pub path: TreePath,
    /// The same path as this process sees it.
    pub target: PathBuf,
    /// What happens to the file.
    pub departure: Departure,
}

/// What another container recorded about a file.
#[derive(Clone, Debug)]
struct Recorded {
    sum: Option<String>,
    by_atomic: bool,
    staged: PathBuf,
}

/// What is known about host files, except for what the container in question recorded.
pub struct Known<'a> {
    deployments: &'a Deployments,
    others: BTreeMap<PathBuf, Vec<Recorded>>,
    written: Written,
}

impl<'a> Known<'a> {
    /// Reads what other containers than `name` recorded in their current deployments.
    pub fn read(deployments: &'a Deployments, name: &Name) -> Result<Self> {
        let mut others: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (current, info) in deployments.others(name)? {
            for path in &info.host_files.installed_files {
                let recorded = Recorded {
                    sum: info.host_files.checksum(path).map(str::to_owned),
                    by_atomic: info.is_from_atomic(),
                    staged: record::staged(&deployments.path_of(&current), path),
                };
                others.entry(locate(deployments.root(), path)?).or_default().push(recorded);
            }
        }
        Ok(Known { deployments, others, written: Written::read(deployments)? })
    }

    /// Whether another container recorded a file.
    pub fn is_shared(&self, target: &Path) -> bool {
        self.others.contains_key(target)
    }

    /// Whether a file is as another container recorded it, or as these programs last wrote it.
    pub fn is_ours(&self, target: &Path, found: &str) -> bool {
        let mut recorded = self.others.get(target).into_iter().flatten();
        recorded.any(|file| is_as_recorded(target, found, file.sum.as_deref(), file.by_atomic))
            || self.written.contains(&self.deployments.root().inside(target), found)
    }

    /// Finds a file of another container with this path and content.
    pub fn source(&self, target: &Path, sum: &str) -> Result<Option<PathBuf>> {
        for file in self.others.get(target).into_iter().flatten() {
            if checksum(&file.staged)?.is_some_and(|staged| staged == sum) {
                return Ok(Some(file.staged.clone()));
            }
        }
        Ok(None)
    }

    /// What happens to each file, in order, when a deployment replaces `previous`.
    pub fn arrivals(
        &self,
        incoming: &[Incoming],
        previous: Option<&DeploymentFiles>,
    ) -> Result<Vec<(PathBuf, Arrival)>> {
        let before: HashSet<&TreePath> =
            previous.into_iter().flat_map(|previous| &previous.files.installed_files).collect();
        let mut seen = BTreeSet::new();
        let mut arrivals = Vec::new();
        for file in incoming {
            let target = locate(self.deployments.root(), &file.path)?;
            // It may be in the list already, with another path.
            let is_first = seen.insert(target.clone());
            let before = previous.filter(|_| before.contains(&file.path));
            let arrival = if is_first { self.arrival(file, &target, before)? } else { Arrival::Kept };
            arrivals.push((target, arrival));
        }
        Ok(arrivals)
    }

    /// `before` is the deployment that is replaced, if it has the file.
    fn arrival(&self, file: &Incoming, target: &Path, before: Option<&DeploymentFiles>) -> Result<Arrival> {
        let Some(found) = checksum(target)? else { return Ok(Arrival::Created) };
        if Some(&found) == file.recorded.as_ref() {
            let old = before.map(|before| self.deployments.path_of(&before.deployment));
            let old = old.and_then(|old| Facts::read(&record::staged(&old, &file.path)));
            // Only if the user did not change owner or mode.
            let is_as_before = old.is_some() && Facts::read(target) == old;
            let is_other = is_as_before && file.facts.is_some() && file.facts != old;
            return Ok(if is_other { Arrival::Adjusted } else { Arrival::Kept });
        }
        if found == DIRECTORY {
            return Ok(Arrival::Changed);
        }
        let recorded = before.and_then(|before| before.files.checksum(&file.path));
        let is_as_before = before.is_some_and(|before| before.is_as_recorded(&file.path, target, &found));
        if !is_as_before && !self.is_ours(target, &found) {
            return Ok(Arrival::Changed);
        }
        // Another container brought it, and it is newer than what this one brings.
        let is_newer = !is_as_before && recorded.is_none_or(|sum| file.recorded.as_deref() == Some(sum));
        Ok(if is_newer { Arrival::Kept } else { Arrival::Replaced })
    }

    /// Notes what is about to be written to a file, if this differs from what any deployment recorded that is kept.
    /// `recorded` is the checksum in the incoming deployment. Returns whether a note was needed.
    pub fn note(&mut self, target: &Path, sum: &str, recorded: Option<&str>) -> bool {
        let others = self.others.get(target).into_iter().flatten();
        let is_other = sum != DIRECTORY
            && (recorded != Some(sum) || others.into_iter().any(|other| other.sum.as_deref() != Some(sum)));
        if is_other {
            self.written.add(&self.deployments.root().inside(target), sum);
        }
        is_other
    }

    /// Saves the notes.
    pub fn save(&mut self) -> Result<()> {
        self.written.save()
    }

    /// Drops notes that are no longer needed, and saves the rest. `own` are the files that the container has now.
    pub fn settle(mut self, own: Option<&DeploymentFiles>) -> Result<()> {
        let own = self.recorded_sums(own)?;
        for path in self.written.paths() {
            let target = self.deployments.root().join(&path);
            let found = checksum(&target)?.filter(|found| found != DIRECTORY);
            let last = found.and_then(|found| self.written.last(&path, &found).map(str::to_owned));
            match last {
                Some(last) if self.is_recorded_otherwise(&target, &last, &own) => {
                    self.written.set(&path, last)
                }
                _ => self.written.forget(&path),
            }
        }
        self.written.save()
    }

    /// The checksums that a deployment recorded, by the paths of the files as this process sees them.
    fn recorded_sums<'f>(
        &self,
        files: Option<&'f DeploymentFiles>,
    ) -> Result<HashMap<PathBuf, Vec<&'f str>>> {
        let mut sums: HashMap<PathBuf, Vec<&str>> = HashMap::new();
        for (path, sum) in files.iter().flat_map(|files| &files.files.installed_files_checksum) {
            sums.entry(locate(self.deployments.root(), path)?).or_default().push(sum);
        }
        Ok(sums)
    }

    fn is_recorded_otherwise(&self, target: &Path, sum: &str, own: &HashMap<PathBuf, Vec<&str>>) -> bool {
        let others = self.others.get(target).into_iter().flatten().map(|other| other.sum.as_deref());
        let own = own.get(target).into_iter().flatten().map(|recorded| Some(*recorded));
        others.chain(own).any(|recorded| recorded != Some(sum))
    }

    /// What happens to each file when deployments of the container are removed and `kept` is not. Files come before the
    /// directory that they are in.
    pub fn departures(
        &self,
        outgoing: &[&DeploymentFiles],
        kept: Option<&DeploymentFiles>,
    ) -> Result<Vec<Outgoing>> {
        let root = self.deployments.root();
        let paths: BTreeSet<&TreePath> = outgoing.iter().flat_map(|one| &one.files.installed_files).collect();
        let mut stay = BTreeSet::new();
        for path in kept.iter().flat_map(|kept| &kept.files.installed_files) {
            stay.insert(locate(root, path)?);
        }
        let (mut decided, mut going) = (Vec::new(), BTreeSet::new());
        for path in paths.into_iter().rev() {
            let target = locate(root, path)?;
            if self.is_shared(&target) || !stay.insert(target.clone()) {
                continue;
            }
            let departure = self.departure(path, &target, outgoing, &going)?;
            // The rest of an interrupted copy is removed, too.
            going.insert(files::temporary(&target));
            if departure == Departure::Removed {
                going.insert(target.clone());
            }
            decided.push(Outgoing { path: path.clone(), target, departure });
        }
        Ok(decided)
    }

    fn departure(
        &self,
        path: &TreePath,
        target: &Path,
        outgoing: &[&DeploymentFiles],
        going: &BTreeSet<PathBuf>,
    ) -> Result<Departure> {
        let Some(found) = checksum(target)? else { return Ok(Departure::Kept) };
        if found == DIRECTORY {
            let is_free = !is_mount_point(target) && is_empty_without(target, going)?;
            return Ok(if is_free { Departure::Removed } else { Departure::Kept });
        }
        let is_recorded = outgoing.iter().any(|one| one.is_as_recorded(path, target, &found));
        let is_ours = is_recorded || self.is_ours(target, &found);
        Ok(if is_ours { Departure::Removed } else { Departure::Changed })
    }
}

fn is_mount_point(directory: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev()).ok();
    directory.parent().is_some_and(|parent| device(parent) != device(directory))
}

fn is_empty_without(directory: &Path, going: &BTreeSet<PathBuf>) -> Result<bool> {
    let what = || format!("cannot read {}", directory.display());
    for entry in fs::read_dir(directory).context(what)? {
        if !going.contains(&entry.context(what)?.path()) {
            return Ok(false);
        }
    }
    Ok(true)
}
