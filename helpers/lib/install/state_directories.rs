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
use std::io::ErrorKind;

use crate::container::deployment::Deployments;
use crate::container::derived;
use crate::container::entries::{Entry, Record};
use crate::container::info::Info;
use crate::error::{Context, Result};
use crate::name::{Deployment, Name};
use crate::oci::config::Config;
use crate::paths::{TreePath, VOLUMES};
use crate::program::log;
use crate::system::{directory, files, kill_point, lock, mounts, record, removal};
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
    for path in candidates.into_iter().filter(|path| !is_doomed(path, deployment.name())) {
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

/// Fails if [`doom`] would: a mount point is at or below one of the directories, or a symlink is on the way to it.
pub fn check(deployments: &Deployments, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        exists(deployments, path).context(|| format!("cannot purge {path}"))?;
        mounts::refuse(&deployments.root().join(path)).context(|| format!("cannot purge {path}"))?;
    }
    Ok(())
}

/// Takes directories from a container, for [`finish_purge`] to remove them, and removes the records of directories that do
/// not exist. In the meantime they are its own under another name, beside the old one.
pub fn doom(deployments: &Deployments, name: &Name, paths: &BTreeSet<TreePath>) -> Result<()> {
    for path in paths {
        let what = || format!("cannot purge {path}");
        let Some((parent, file_name)) = directory::parent(deployments.root(), path).context(what)? else {
            continue;
        };
        let mut names = (0..).map(|number| doomed(name, number));
        let free = names.find(|name| !matches!(parent.stat_of(name.as_ref()), Ok(Some(_))));
        let free = free.unwrap_or_default();
        // First the record: without it, nobody would know whose that is.
        let mut made = load(deployments)?;
        let above = path.as_path().parent().unwrap_or(path.as_path());
        made.insert(TreePath::new(above.join(&free)), name.clone());
        save(deployments, made)?;
        kill_point::pass();
        match parent.rename(&file_name, free.as_ref()) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            renamed => renamed.and_then(|()| parent.sync()).context(what)?,
        }
        kill_point::pass();
    }
    forget_missing(deployments, name)
}

/// Removes the directories that [`doom`] took from a container, whose lock the caller holds, but no later one: how long
/// this takes is the payload's decision.
pub fn finish_purge(deployments: &Deployments, name: &Name) -> Result<()> {
    let doomed = all_doomed(deployments, name)?;
    for path in &doomed {
        let what = || format!("cannot purge {path}");
        if let Some((parent, file_name)) = directory::parent(deployments.root(), path).context(what)? {
            removal::remove(&parent, &file_name).context(what)?;
        }
    }
    if doomed.is_empty() {
        return Ok(());
    }
    let _host_files = lock::host_files(deployments.root())?;
    forget_missing(deployments, name)
}

/// Removes the records of a container's directories that do not exist: one that was never created must not count as its
/// own later.
fn forget_missing(deployments: &Deployments, name: &Name) -> Result<()> {
    let mut made = load(deployments)?;
    let before = made.clone();
    made.retain(|path, owner| owner != name || exists(deployments, path).unwrap_or(true));
    if made == before { Ok(()) } else { save(deployments, made) }
}

/// Containers of whose directories [`doom`] took some, with these. They may be removed already, but for their records.
pub fn half_purged(deployments: &Deployments) -> Result<Vec<(Name, TreePath)>> {
    let made = load(deployments)?.into_iter();
    Ok(made.filter(|(path, owner)| is_doomed(path, owner)).map(|(path, owner)| (owner, path)).collect())
}

fn all_doomed(deployments: &Deployments, name: &Name) -> Result<Vec<TreePath>> {
    let all = half_purged(deployments)?.into_iter();
    Ok(all.filter(|(owner, _)| owner == name).map(|(_, path)| path).collect())
}

fn doomed(name: &Name, number: u32) -> String {
    format!(".{name}.{number}.old")
}

/// Whether a directory has a name that [`doom`] gives; no other is recorded with such a name.
fn is_doomed(path: &TreePath, owner: &Name) -> bool {
    let name = path.as_path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix(&format!(".{owner}.")).and_then(|rest| rest.strip_suffix(".old"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Whether there is a file, which may be a symlink; fails if a symlink is on the way to it.
fn exists(deployments: &Deployments, path: &TreePath) -> Result<bool> {
    let Some((parent, name)) = directory::parent(deployments.root(), path)? else { return Ok(false) };
    Ok(parent.stat_of(&name).context(|| format!("cannot examine {path}"))?.is_some())
}

fn load(deployments: &Deployments) -> Result<Made> {
    let path = deployments.entry(&Entry::Record(Record::StateDirectories));
    match record::load(&path, "directories that containers created are treated as not theirs") {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Root;
    use crate::system::kill_point::testing::kill_after;
    use std::fs;

    /// A container that made this directory, with a file in it.
    fn made(root: &Root, deployments: &Deployments, path: &TreePath) -> (Name, BTreeSet<TreePath>) {
        let name: Name = "web".parse().unwrap();
        fs::create_dir_all(root.join(path).join("sub")).unwrap();
        fs::write(root.join(path).join("sub/file"), "").unwrap();
        fs::create_dir_all(deployments.path("")).unwrap();
        save(deployments, Made::from([(path.clone(), name.clone())])).unwrap();
        (name, BTreeSet::from([path.clone()]))
    }

    #[test]
    fn directories_are_gone_before_they_are_removed_and_a_purge_that_is_killed_is_completed() {
        let path = TreePath::new("/var/lib/web");
        let mut steps = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::new(dir.path());
            let deployments = Deployments::new(&root);
            let (name, paths) = made(&root, &deployments, &path);
            let is_done = kill_after(steps, || {
                doom(&deployments, &name, &paths).unwrap();
                assert!(!root.join(&path).exists());
                finish_purge(&deployments, &name).unwrap();
            });
            if root.join(&path).exists() {
                assert!(root.join(&path).join("sub/file").exists(), "{steps}");
                // The same command.
                let own = of(&deployments, &name, &[]).unwrap().own;
                assert_eq!(own, paths);
                doom(&deployments, &name, &own).unwrap();
            }
            // A prune.
            let left = half_purged(&deployments).unwrap();
            left.iter().for_each(|(owner, _)| finish_purge(&deployments, owner).unwrap());
            assert_eq!(
                fs::read_dir(root.join("/var/lib")).unwrap().filter(is_of_payload).count(),
                0,
                "{steps}"
            );
            assert_eq!(load(&deployments).unwrap(), Made::new(), "{steps}");
            if is_done.is_some() {
                break;
            }
            steps += 1;
        }
        assert!(steps > 3, "{steps} steps");
    }

    fn is_of_payload(entry: &std::io::Result<fs::DirEntry>) -> bool {
        entry.as_ref().unwrap().file_name().to_str().unwrap().contains("web")
    }

    #[test]
    fn only_purges_give_names_that_are_removed() {
        let name: Name = "web".parse().unwrap();
        for (path, expected) in [
            ("/var/lib/.web.0.old", true),
            ("/var/lib/x/.web.12.old", true),
            ("/var/lib/.other.0.old", false),
            ("/var/lib/.web.old", false),
            ("/var/lib/.web.x.old", false),
            ("/var/lib/web", false),
        ] {
            assert_eq!(is_doomed(&TreePath::new(path), &name), expected, "{path}");
        }
        assert!(is_doomed(&TreePath::new("/var/lib").join(doomed(&name, 3)), &name));
    }
}
