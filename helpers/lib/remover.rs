//! Uninstalling: everything of a container goes, but what it wrote, and what the user changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config;
use crate::deployment::{self, Deployments, Info};
use crate::error::{Context, Error, Result};
use crate::installation;
use crate::journal::{self, Event, Subject};
use crate::log;
use crate::mounts;
use crate::name::Name;
use crate::recovery;
use crate::systemd;

/// What the user chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether units that need it are no obstacle.
    pub force: bool,
    /// Whether what it wrote goes, too.
    pub purge: bool,
}

/// Removes a container, whatever state it is in; the caller holds its lock. Returns directories that were left with what it
/// wrote.
///
/// Without its symlink a container is not there: killed after that, the same command again, or a boot, completes it.
pub fn remove(deployments: &Deployments, name: &Name, options: Options) -> Result<Vec<PathBuf>> {
    let root = deployments.root();
    let (all, temporary) = deployments.all(name)?;
    let has_link = deployments.path(name.as_str()).is_symlink();
    if !has_link && all.is_empty() && temporary.is_empty() && !installation::is_there(root, name) {
        return Err(Error::not_found(format!("there is no container {name}")));
    }
    if !has_link {
        check_link(deployments, name)?;
    }
    let dependents = systemd::active_dependents(root, name)?;
    if !dependents.is_empty() && !options.force {
        return Err(Error::new(format!(
            "{} needs it and is active; stop that first, or use --force",
            dependents.join(", ")
        )));
    }
    let mut state = BTreeSet::new();
    for deployment in &all {
        // Of what cannot be read, nothing is known, and so nothing is purged.
        if let Ok(info) = deployments.info(deployment) {
            state.extend(state_directories(deployments, deployment, &info)?);
        }
    }
    let current = deployments.current(name).ok().flatten().unwrap_or_default();
    let info = deployments.info(&current).unwrap_or_default();
    systemd::stop(root, name)?;
    systemd::reset_failed(root, name)?;
    all.iter().try_for_each(|deployment| mounts::refuse(&deployments.path(deployment)))?;
    if systemd::disable_updates(root, name)? {
        log::info(&format!("disabled syscontainer-update@{name}.timer and .service"));
    }
    if has_link {
        deployments.detach(name)?;
    }
    recovery::recover(deployments, name)?;
    systemd::reload(root)?;
    let (image, digest, previous) = (info.image.as_str(), info.digest.as_str(), current.as_str());
    let subject = Subject { name: Some(name), image, digest, previous, ..Subject::default() };
    journal::tell(root, Event::Removed, subject, &format!("removed {name}"));
    let state = state.into_iter().filter(|path| root.join(path).exists());
    if !options.purge {
        return Ok(state.collect());
    }
    for path in state {
        deployment::remove_tree(&root.join(&path)).context(|| format!("cannot purge {}", path.display()))?;
    }
    Ok(Vec::new())
}

/// What is in the place of a symlink is not ours to remove.
fn check_link(deployments: &Deployments, name: &Name) -> Result<()> {
    let link = deployments.path(name.as_str());
    match link.exists() {
        true => {
            Err(Error::new(format!("{} is no symlink to a deployment; remove it by hand", link.display())))
        }
        false => Ok(()),
    }
}

/// Directories that only this container writes to: its volumes, and directories of its tmpfiles, strictly below the directory of
/// all states.
fn state_directories(deployments: &Deployments, deployment: &str, info: &Info) -> Result<BTreeSet<PathBuf>> {
    let above = Path::new(info.values.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str));
    let mut found: BTreeSet<PathBuf> = info.volumes.iter().map(|volume| volume.directory.clone()).collect();
    if let Some(name) = info.values.get("NAME").and_then(|name| name.parse::<Name>().ok()) {
        let tmpfiles = deployments.read(deployment, &installation::tmpfiles_name(&name))?.unwrap_or_default();
        found.extend(tmpfiles.lines().filter_map(directory));
        let own = above.join(name.as_str());
        // What was there before the installation is no line of tmpfiles; under its name it is the container's all the same.
        found
            .extend(bind_sources(deployments, deployment)?.into_iter().filter(|path| path.starts_with(&own)));
        // Volumes are all below one directory.
        if found.iter().any(|path| path.starts_with(&own)) {
            found.retain(|path| !path.starts_with(&own));
            found.insert(own);
        }
        let others = of_others(deployments, &name)?;
        found.retain(|path| !others.iter().any(|other| other.starts_with(path) || path.starts_with(other)));
    }
    found.retain(|path| path.starts_with(above) && path != above);
    Ok(found)
}

fn bind_sources(deployments: &Deployments, deployment: &str) -> Result<Vec<PathBuf>> {
    let text = deployments.read(deployment, "config.json")?.unwrap_or_default();
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(config::mounts(&config)
        .filter_map(config::bind_source)
        .map(|path| path.components().collect())
        .collect())
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
        let text = deployments.read(&current, &installation::tmpfiles_name(&other))?.unwrap_or_default();
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
