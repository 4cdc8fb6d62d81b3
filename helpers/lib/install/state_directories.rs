//! Directories of the host that containers write to, and which of them an installation made: only those are its own to purge.
//!
//! `.state-directories.json` beside the deployments names those that were not there before, with the container that they are of.
//! It outlives the container, as the directories do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::container::deployment::{Deployments, Info};
use crate::error::{Context, Result};
use crate::install::register;
use crate::name::Name;
use crate::oci::config::Config;
use crate::program::log;
use crate::system::files;
use crate::system::mounts;

/// The record; no container, and no deployment, is called so.
pub const FILE: &str = ".state-directories.json";

/// Containers by the directories that were made for them. Whoever changes it holds [`crate::system::lock::host_files`].
type Made = BTreeMap<PathBuf, String>;

/// What a container writes to, as programs inside the tree see it.
#[derive(Debug, Default)]
pub struct StateDirectories {
    /// What was made for it, and so goes with a purge; none of them is below another.
    pub own: BTreeSet<PathBuf>,
    /// What was there before.
    pub found: BTreeSet<PathBuf>,
}

/// Notes which directories of a deployment are not there yet; to be called before anything makes them.
pub fn record(deployments: &Deployments, name: &Name, deployment: &str, info: &Info) -> Result<()> {
    let candidates = candidates(deployments, name, deployment, info)?;
    if candidates.is_empty() {
        return Ok(());
    }
    let mut made = load(deployments)?;
    let before = made.clone();
    for path in candidates {
        if deployments.root().join(&path).symlink_metadata().is_err() {
            made.insert(path, name.to_string());
        }
    }
    if made == before { Ok(()) } else { save(deployments, made) }
}

/// Those of all deployments of a container, and what earlier installations of it left.
pub fn of(deployments: &Deployments, name: &Name, all: &[String]) -> Result<StateDirectories> {
    let made = load(deployments)?;
    let mut paths: BTreeSet<PathBuf> =
        made.iter().filter(|(_, owner)| *owner == name.as_str()).map(|(path, _)| path.clone()).collect();
    for deployment in all {
        // Of what cannot be read, nothing is known.
        if let Ok(info) = deployments.info(deployment) {
            paths.extend(candidates(deployments, name, deployment, &info)?);
        }
    }
    let others = of_others(deployments, name)?;
    paths.retain(|path| {
        deployments.root().join(path).exists()
            && !others.iter().any(|other| other.starts_with(path) || path.starts_with(other))
    });
    let (own, found): (BTreeSet<_>, BTreeSet<_>) =
        paths.into_iter().partition(|path| made.get(path).is_some_and(|owner| owner == name.as_str()));
    let is_below = |path: &PathBuf| own.iter().any(|other| path != other && path.starts_with(other));
    let found = found.into_iter().filter(|path| !is_below(path)).collect();
    Ok(StateDirectories { own: own.iter().filter(|path| !is_below(path)).cloned().collect(), found })
}

/// Refuses what [`purge`] could not remove.
pub fn check(deployments: &Deployments, paths: &BTreeSet<PathBuf>) -> Result<()> {
    for path in paths {
        mounts::refuse(&deployments.root().join(path))
            .context(|| format!("cannot purge {}", path.display()))?;
    }
    Ok(())
}

/// Removes directories with all in them, and forgets those of the container that are not there.
pub fn purge(deployments: &Deployments, name: &Name, paths: &BTreeSet<PathBuf>) -> Result<()> {
    for path in paths {
        files::remove_tree(&deployments.root().join(path))
            .context(|| format!("cannot purge {}", path.display()))?;
        log::info(&format!("purged {}", path.display()));
    }
    let mut made = load(deployments)?;
    let before = made.clone();
    // What was never made is not to be taken for its own later.
    made.retain(|path, owner| owner != name.as_str() || deployments.root().join(path).exists());
    if made == before { Ok(()) } else { save(deployments, made) }
}

fn load(deployments: &Deployments) -> Result<Made> {
    let path = deployments.path(FILE);
    let what = || format!("cannot read {}", path.display());
    match fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Made::new()),
        text => match serde_json::from_slice(&text.context(what)?) {
            Ok(made) => Ok(made),
            Err(e) => {
                log::warning(&format!("{}: {e}; directories that containers made count as others'", what()));
                Ok(Made::new())
            }
        },
    }
}

fn save(deployments: &Deployments, made: Made) -> Result<()> {
    let path = deployments.path(FILE);
    if made.is_empty() {
        files::remove_file(&path).context(|| format!("cannot remove {}", path.display()))?;
    } else {
        let text = serde_json::to_string_pretty(&made).context(|| "cannot write state directories".into())?;
        files::replace(&path, format!("{text}\n").as_bytes(), 0o600)?;
    }
    files::sync_directory(&deployments.path(""))
}

/// What a deployment writes to: its volumes, and directories of its tmpfiles, strictly below the directory of all states; and the
/// directory of its name there that these are in.
fn candidates(
    deployments: &Deployments,
    name: &Name,
    deployment: &str,
    info: &Info,
) -> Result<BTreeSet<PathBuf>> {
    let above = Path::new(info.values.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str));
    let mut found: BTreeSet<PathBuf> = info.volumes.iter().map(|volume| volume.directory.clone()).collect();
    let tmpfiles = deployments.read(deployment, &register::tmpfiles_name(name))?.unwrap_or_default();
    found.extend(tmpfiles.lines().filter_map(directory));
    let own = above.join(name.as_str());
    // What is there before the installation is no line of tmpfiles.
    found.extend(bind_sources(deployments, deployment)?.into_iter().filter(|path| path.starts_with(&own)));
    if found.iter().any(|path| path.starts_with(&own)) {
        found.insert(own);
    }
    found.retain(|path| path.starts_with(above) && path != above);
    Ok(found)
}

fn bind_sources(deployments: &Deployments, deployment: &str) -> Result<Vec<PathBuf>> {
    let text = deployments.read(deployment, "config.json")?.unwrap_or_default();
    let Ok(config) = Config::parse(&text) else { return Ok(Vec::new()) };
    let sources = config.mounts().filter_map(|mount| mount.bind_source());
    Ok(sources.map(|path| path.components().collect()).collect())
}

/// The directory that a plain line of tmpfiles.d(5) makes.
fn directory(line: &str) -> Option<PathBuf> {
    let mut words = line.split_whitespace();
    let (kind, path) = (words.next()?, words.next()?);
    let is_plain = path.starts_with('/') && !path.contains(['"', '\'', '\\', '%']) && !path.contains("..");
    (matches!(kind, "d" | "D" | "v" | "q" | "Q") && is_plain).then(|| Path::new(path).components().collect())
}

/// What other containers bind or make.
fn of_others(deployments: &Deployments, name: &Name) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (other, current, info) in deployments.others(name)? {
        paths.extend(info.volumes.into_iter().map(|volume| volume.directory));
        let text = deployments.read(&current, &register::tmpfiles_name(&other))?.unwrap_or_default();
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
