//! Directories of the host that containers write to, and which of them an installation made: only those are its own to purge.
//!
//! `.state-directories.json` beside the deployments names those that were not there before, with the container that they are of.
//! It outlives the container, as the directories do.

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

/// Containers by the directories that were made for them. Whoever changes it holds [`crate::system::lock::host_files`].
type Made = BTreeMap<TreePath, Name>;

/// What a container writes to.
#[derive(Debug, Default)]
pub struct StateDirectories {
    /// What was made for it, and so goes with a purge; none of them is below another.
    pub own: BTreeSet<TreePath>,
    /// What was there before.
    pub found: BTreeSet<TreePath>,
}

/// Notes which directories of a deployment are not there yet; to be called before anything makes them.
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

/// Those of all deployments of a container, and what earlier installations of it left.
pub fn of(deployments: &Deployments, name: &Name, all: &[Deployment]) -> Result<StateDirectories> {
    let made = load(deployments)?;
    let mut paths: BTreeSet<TreePath> =
        made.iter().filter(|(_, owner)| *owner == name).map(|(path, _)| path.clone()).collect();
    for deployment in all {
        // Of what cannot be read, nothing is known.
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

/// Refuses what [`purge`] could not remove.
pub fn check(deployments: &Deployments, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        mounts::refuse(&deployments.root().join(path)).context(|| format!("cannot purge {path}"))?;
    }
    Ok(())
}

/// Removes directories with all in them, and forgets those of the container that are not there.
pub fn purge(deployments: &Deployments, name: &Name, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        files::remove_tree(&deployments.root().join(path)).context(|| format!("cannot purge {path}"))?;
        log::info(&format!("purged {path}"));
    }
    let mut made = load(deployments)?;
    let before = made.clone();
    // What was never made is not to be taken for its own later.
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

/// What a deployment writes to: its volumes, and directories of its tmpfiles, strictly below the directory of all states; and the
/// directory of its name there that these are in.
fn candidates(deployments: &Deployments, deployment: &Deployment, info: &Info) -> Result<BTreeSet<TreePath>> {
    let name = deployment.name();
    let above = TreePath::new(info.values.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str));
    let volumes = info.ours().into_iter().flat_map(|ours| &ours.execution.volumes);
    let mut found: BTreeSet<TreePath> = volumes.map(|volume| volume.directory.clone()).collect();
    let tmpfiles = deployments.read(deployment, &derived::tmpfiles_in_deployment(name))?.unwrap_or_default();
    found.extend(tmpfiles.lines().filter_map(directory));
    let own = above.join(name.as_str());
    // What is there before the installation is no line of tmpfiles.
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

/// The directory that a plain line of tmpfiles.d(5) makes.
fn directory(line: &str) -> Option<TreePath> {
    let mut words = line.split_whitespace();
    let (kind, path) = (words.next()?, words.next()?);
    let is_plain = path.starts_with('/') && !path.contains(['"', '\'', '\\', '%']) && !path.contains("..");
    (matches!(kind, "d" | "D" | "v" | "q" | "Q") && is_plain).then(|| TreePath::new(path))
}

/// What other containers bind or make.
fn of_others(deployments: &Deployments, name: &Name) -> Result<Vec<TreePath>> {
    let mut paths = Vec::new();
    for (current, info) in deployments.others(name)? {
        let volumes = info.ours().into_iter().flat_map(|ours| &ours.execution.volumes);
        paths.extend(volumes.map(|volume| volume.directory.clone()));
        let tmpfiles = derived::tmpfiles_in_deployment(current.name());
        let text = deployments.read(&current, &tmpfiles)?.unwrap_or_default();
        paths.extend(text.lines().filter_map(directory));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_tmpfiles() {
        assert_eq!(directory("d /var/lib/x/ 0700 - - -"), Some("/var/lib/x".into()));
        for line in
            ["# d /x", "f /var/lib/x", "d", "", "d /var/lib/\"a b\"", "d /var/lib/../etc", "r /var/lib/x"]
        {
            assert_eq!(directory(line), None, "{line}");
        }
    }
}
