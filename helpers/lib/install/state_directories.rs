//! Directories of the host that containers write to, and which of them an installation created: a purge only removes
//! those.
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
use crate::paths::TreePath;
use crate::program::log;
use crate::system::{files, mounts, record};
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
        if deployments.root().join(&path).symlink_metadata().is_err() {
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
        deployments.root().join(path).exists()
            && !others.iter().any(|other| other.starts_with(path) || path.starts_with(other))
    });
    let (own, found): (BTreeSet<_>, BTreeSet<_>) =
        paths.into_iter().partition(|path| made.get(path).is_some_and(|owner| owner == name));
    let is_below = |path: &TreePath| own.iter().any(|other| path != other && path.starts_with(other));
    let found = found.into_iter().filter(|path| !is_below(path)).collect();
    Ok(StateDirectories { own: own.iter().filter(|path| !is_below(path)).cloned().collect(), found })
}

/// Fails if [`purge`] would: a mount point is at or below one of the directories.
pub fn check(deployments: &Deployments, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        mounts::refuse(&deployments.root().join(path)).context(|| format!("cannot purge {path}"))?;
    }
    Ok(())
}

/// Removes directories with everything in them, and the records of directories that do not exist.
pub fn purge(deployments: &Deployments, name: &Name, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        files::remove_tree(&deployments.root().join(path)).context(|| format!("cannot purge {path}"))?;
        log::info(&format!("purged {path}"));
    }
    let mut made = load(deployments)?;
    let before = made.clone();
    // A directory that was never created must not count as the container's own later.
    made.retain(|path, owner| owner != name || deployments.root().join(path).exists());
    if made == before { Ok(()) } else { save(deployments, made) }
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

/// What a deployment writes to below STATE_DIRECTORY: its volumes, directories of its tmpfiles, and sources of its bind
/// mounts in the directory of its name; and that directory, if any of these are in it.
fn candidates(deployments: &Deployments, deployment: &Deployment, info: &Info) -> Result<BTreeSet<TreePath>> {
    let name = deployment.name();
    let above = TreePath::new(info.values.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str));
    let volumes = info.ours().into_iter().flat_map(|ours| &ours.execution.volumes);
    let mut found: BTreeSet<TreePath> = volumes.map(|volume| volume.directory.clone()).collect();
    let text = deployments.read(deployment, &derived::tmpfiles_in_deployment(name))?.unwrap_or_default();
    found.extend(tmpfiles::lines(&text).filter_map(|line| line.plain_directory()));
    let own = above.join(name.as_str());
    // Sources that exist before the installation have no line in tmpfiles.
    found.extend(bind_sources(deployments, deployment)?.into_iter().filter(|path| path.starts_with(&own)));
    if found.iter().any(|path| path.starts_with(&own)) {
        found.insert(own);
    }
    found.retain(|path| path.starts_with(&above) && *path != above);
    Ok(found)
}

fn bind_sources(deployments: &Deployments, deployment: &Deployment) -> Result<Vec<TreePath>> {
    let text = deployments.read(deployment, "config.json")?.unwrap_or_default();
    let Ok(config) = Config::parse(&text) else { return Ok(Vec::new()) };
    Ok(config.mounts().filter_map(|mount| mount.bind_source()).map(TreePath::new).collect())
}

/// Directories that other containers write to.
fn of_others(deployments: &Deployments, name: &Name) -> Result<Vec<TreePath>> {
    let mut paths = Vec::new();
    for (current, info) in deployments.others(name)? {
        let volumes = info.ours().into_iter().flat_map(|ours| &ours.execution.volumes);
        paths.extend(volumes.map(|volume| volume.directory.clone()));
        let file = derived::tmpfiles_in_deployment(current.name());
        let text = deployments.read(&current, &file)?.unwrap_or_default();
        paths.extend(tmpfiles::lines(&text).filter_map(|line| line.plain_directory()));
    }
    Ok(paths)
}
