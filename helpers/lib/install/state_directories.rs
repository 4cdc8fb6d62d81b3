//! Directories of the host that containers write to, and which of them an installation created: a purge only removes
//! those.
//!
//! The directories are those of images with a configuration of their own, below STATE_DIRECTORY. Volumes of other images
//! are in [`crate::run::volumes`]. Payloads can replace what is in one directory by a symlink to anywhere, so the way to
//! another one is opened component by component.
//!
//! `.state-directories.json` next to the deployments lists the directories that did not exist before, with the
//! container that each was created for. Like the directories, an entry outlives the container.

use std::collections::{BTreeMap, BTreeSet};

use crate::container::deployment::Deployments;
use crate::container::derived;
use crate::container::entries::{Entry, Record};
use crate::container::info::Info;
use crate::error::{Context, Result};
use crate::name::{Deployment, Name};
use crate::oci::config::Config;
use crate::paths::{TreePath, VOLUMES};
use crate::program::log;
use crate::system::{directory, files, mounts, record, removal};
use crate::unit::tmpfiles;

/// Containers by the directories that were created for them. Changes require [`crate::system::lock::host_files`].
type Made = BTreeMap<TreePath, Name>;

/// The directories that a container writes to.
#[derive(Debug, Default)]
pub struct StateDirectories {
    /// Directories that were created for it, which a purge removes; none of them is below another.
    pub own: BTreeSet<TreePath>,
    /// Directories that existed before.
    pub found: BTreeSet<TreePath>,
}

/// Records which directories of a deployment do not exist yet; to be called before anything creates them.
pub fn record(deployments: &Deployments, deployment: &Deployment, info: &Info) -> Result<()> {
    let candidates = candidates(deployments, deployment, info)?;
    if candidates.is_empty() {
        return Ok(());
    }
    let mut made = load(deployments)?;
    let before = made.clone();
    for path in candidates {
        // Behind a symlink, nothing is made that is the container's own.
        if exists(deployments, &path).is_ok_and(|exists| !exists) {
            made.insert(path, deployment.name().clone());
        }
    }
    if made == before { Ok(()) } else { save(deployments, made) }
}

/// The directories of all deployments of a container, and those that its earlier installations left.
pub fn of(deployments: &Deployments, name: &Name, all: &[Deployment]) -> Result<StateDirectories> {
    let made = load(deployments)?;
    let mut paths: BTreeSet<TreePath> =
        made.iter().filter(|(_, owner)| *owner == name).map(|(path, _)| path.clone()).collect();
    for deployment in all {
        // If `info` cannot be read, nothing is known about the deployment.
        if let Ok(info) = deployments.info(deployment) {
            paths.extend(candidates(deployments, deployment, &info)?);
        }
    }
    let others = of_others(deployments, name)?;
    paths.retain(|path| {
        // What cannot be reached is reported by `check`.
        exists(deployments, path).unwrap_or(true)
            && !others.iter().any(|other| other.starts_with(path) || path.starts_with(other))
    });
    let (own, found): (BTreeSet<_>, BTreeSet<_>) =
        paths.into_iter().partition(|path| made.get(path).is_some_and(|owner| owner == name));
    let is_below = |path: &TreePath| own.iter().any(|other| path != other && path.starts_with(other));
    let found = found.into_iter().filter(|path| !is_below(path)).collect();
    Ok(StateDirectories { own: own.iter().filter(|path| !is_below(path)).cloned().collect(), found })
}

/// Fails if [`purge`] would: a mount point is at or below one of the directories, or a symlink is on the way to it.
pub fn check(deployments: &Deployments, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        exists(deployments, path).context(|| format!("cannot purge {path}"))?;
        mounts::refuse(&deployments.root().join(path)).context(|| format!("cannot purge {path}"))?;
    }
    Ok(())
}

/// Removes directories with everything in them, and the records of directories that do not exist.
pub fn purge(deployments: &Deployments, name: &Name, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        let what = || format!("cannot purge {path}");
        if let Some((parent, file_name)) = directory::parent(deployments.root(), path).context(what)? {
            removal::remove(&parent, &file_name).context(what)?;
        }
        log::info(&format!("purged {path}"));
    }
    let mut made = load(deployments)?;
    let before = made.clone();
    // A directory that was never created must not count as the container's own later.
    made.retain(|path, owner| owner != name || exists(deployments, path).unwrap_or(true));
    if made == before { Ok(()) } else { save(deployments, made) }
}

/// Whether there is a file, which may be a symlink; fails if a symlink is on the way to it.
fn exists(deployments: &Deployments, path: &TreePath) -> Result<bool> {
    let Some((parent, name)) = directory::parent(deployments.root(), path)? else { return Ok(false) };
    Ok(parent.stat_of(&name).context(|| format!("cannot look at {path}"))?.is_some())
}

fn load(deployments: &Deployments) -> Result<Made> {
    let path = deployments.entry(&Entry::Record(Record::StateDirectories));
    match record::load(&path, "directories that containers made count as others'") {
        Ok(made) => Ok(made.unwrap_or_default()),
        Err(e) => {
            log::warning(&e.to_string());
            Ok(Made::new())
        }
    }
}

fn save(deployments: &Deployments, made: Made) -> Result<()> {
    let path = deployments.entry(&Entry::Record(Record::StateDirectories));
    if made.is_empty() {
        record::remove(&path)?;
        return files::sync_directory(&deployments.path(""));
    }
    record::save(&path, &made)
}

/// What a deployment writes to below STATE_DIRECTORY: directories of its tmpfiles, and sources of its bind mounts in the
/// directory of its name; and that directory, if any of these are in it.
fn candidates(deployments: &Deployments, deployment: &Deployment, info: &Info) -> Result<BTreeSet<TreePath>> {
    let above = TreePath::new(info.state_directory());
    let own = above.join(deployment.name().as_str());
    let mut found = tmpfiles_directories(deployments, deployment)?;
    // Sources that exist before the installation have no line in tmpfiles.
    found.extend(bind_sources(deployments, deployment)?.into_iter().filter(|path| path.starts_with(&own)));
    if found.iter().any(|path| path.starts_with(&own)) {
        found.insert(own);
    }
    found.retain(|path| path.starts_with(&above) && *path != above);
    let resolved = resolve(deployments, &above, found)?;
    Ok(resolved.into_iter().filter(|path| !path.starts_with(&TreePath::from(VOLUMES))).collect())
}

/// Changes paths below `above` to those without the symlinks in `above`, which are the administrator's.
fn resolve(
    deployments: &Deployments,
    above: &TreePath,
    paths: BTreeSet<TreePath>,
) -> Result<BTreeSet<TreePath>> {
    let target = TreePath::new(files::resolve_inside(deployments.root().path(), above.as_path())?);
    let resolve = |path: TreePath| match path.as_path().strip_prefix(above.as_path()) {
        Ok(below) if !below.as_os_str().is_empty() => target.join(below),
        _ => path,
    };
    Ok(paths.into_iter().map(resolve).collect())
}

fn tmpfiles_directories(deployments: &Deployments, deployment: &Deployment) -> Result<BTreeSet<TreePath>> {
    let file = derived::tmpfiles_in_deployment(deployment.name());
    let text = deployments.read(deployment, &file)?.unwrap_or_default();
    Ok(tmpfiles::lines(&text).filter_map(|line| line.plain_directory()).collect())
}

fn bind_sources(deployments: &Deployments, deployment: &Deployment) -> Result<Vec<TreePath>> {
    let text = deployments.read(deployment, "config.json")?.unwrap_or_default();
    let Ok(config) = Config::parse(&text) else { return Ok(Vec::new()) };
    Ok(config.mounts().filter_map(|mount| mount.bind_source()).map(TreePath::new).collect())
}

/// Directories that other containers write to.
fn of_others(deployments: &Deployments, name: &Name) -> Result<BTreeSet<TreePath>> {
    let mut paths = BTreeSet::new();
    for (current, info) in deployments.others(name)? {
        let directories = tmpfiles_directories(deployments, &current)?;
        paths.extend(resolve(deployments, &TreePath::new(info.state_directory()), directories)?);
    }
    Ok(paths)
}
