//! The part of a prune that is about deployments, and what killed programs left beside them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Report;
use crate::container::deployment::{self, Deployments};
use crate::container::state;
use crate::error::Result;
use crate::host_files::written;
use crate::install::recovery;
use crate::install::state_directories;
use crate::name::Name;
use crate::store::location;
use crate::system::files;
use crate::system::lock;
use crate::system::mounts;
use crate::update::retention::{self, Busy};

/// How old a file that is being written is at most.
const WRITING: Duration = Duration::from_secs(3600);

/// Removes deployments that nothing uses, and leftovers. Tells whether units are others than before.
pub fn prune(deployments: &Deployments, report: &mut Report) -> Result<bool> {
    let mut names = BTreeSet::new();
    for entry in files::names(&deployments.path(""))? {
        let path = deployments.path(&entry);
        if deployment::is_called_so(&entry) && !deployments.is_deployment(&entry) {
            report.kept("file", shown(&path), "it is no deployment; remove it by hand");
            continue;
        }
        let owner = deployment::owner(&entry).or_else(|| deployment::scratch_owner(&entry));
        match owner.or_else(|| state::owner(&entry)) {
            Some(name) => drop(names.insert(name)),
            None => other(deployments, &entry, report),
        }
    }
    let mut changed = false;
    for name in names {
        match container(deployments, &name, report) {
            Ok(did) => changed |= did,
            Err(e) => report.failed("container", name.as_str(), &e),
        }
    }
    preinstalled(deployments, report)?;
    Ok(changed)
}

fn container(deployments: &Deployments, name: &Name, report: &mut Report) -> Result<bool> {
    let _locks = match report.dry_run {
        true => None,
        false => Some((lock::container(deployments.root(), name)?, lock::host_files(deployments.root())?)),
    };
    let link = deployments.path(name.as_str());
    if link.is_symlink() {
        installed(deployments, name, report)?;
        return Ok(false);
    }
    if link.exists() {
        report.kept("file", name.as_str(), "it is in the way: it is no link to a deployment");
    }
    not_installed(deployments, name, link.exists(), report)
}

/// Of an installed container, other deployments than the current one and the one to go back to.
fn installed(deployments: &Deployments, name: &Name, report: &mut Report) -> Result<()> {
    let (_, temporary) = deployments.all(name)?;
    for path in temporary {
        leftover(&path, "a program was killed while it made or removed it", report);
    }
    for (deployment, used) in retention::of_container(deployments, name)? {
        match used {
            Some(used) => report.kept("deployment", deployment, used.to_string()),
            None => {
                let bytes = files::own_size(&deployments.path(&deployment));
                if !report.dry_run {
                    if let Err(e) = deployments.remove(&deployment) {
                        report.failed("deployment", deployment, &e);
                        continue;
                    }
                }
                report.bytes += bytes;
                report.removed("deployment", deployment, "nothing uses it");
            }
        }
    }
    for path in [deployments.scratch(name), deployments.path(state::file(name))] {
        if path.exists() {
            report.kept("file", shown(&path), format!("it is of container {name}"));
        }
    }
    Ok(())
}

/// What is left of a container that is not there goes as a whole, since its host files go with it, or stays so.
fn not_installed(
    deployments: &Deployments,
    name: &Name,
    in_the_way: bool,
    report: &mut Report,
) -> Result<bool> {
    let (all, temporary) = deployments.all(name)?;
    let others = [deployments.scratch(name), deployments.path(state::file(name))];
    let others = others.into_iter().filter(|path| path.exists());
    let leftovers: Vec<PathBuf> = temporary.into_iter().chain(others).collect();
    if let Some(why) = obstacle(deployments, name, in_the_way, &all, &leftovers)? {
        all.into_iter().for_each(|deployment| report.kept("deployment", deployment, why.clone()));
        leftovers.iter().for_each(|path| report.kept("leftover", shown(path), why.clone()));
        return Ok(false);
    }
    if all.is_empty() && leftovers.is_empty() {
        return Ok(false);
    }
    let paths = all.iter().map(|deployment| deployments.path(deployment)).chain(leftovers.iter().cloned());
    let bytes = paths.map(|path| files::own_size(&path)).sum::<u64>();
    let changed = !report.dry_run && recovery::recover(deployments, name)?.changed;
    report.bytes += bytes;
    let why = "its container is not installed";
    all.into_iter().for_each(|deployment| report.removed("deployment", deployment, why));
    leftovers.iter().for_each(|path| report.removed("leftover", shown(path), why));
    Ok(changed)
}

/// Why nothing of a container that is not there can go.
fn obstacle(
    deployments: &Deployments,
    name: &Name,
    in_the_way: bool,
    all: &[String],
    leftovers: &[PathBuf],
) -> Result<Option<String>> {
    if in_the_way {
        return Ok(Some(format!("{name} is in the way: it is no link to a deployment")));
    }
    let busy = Busy::find(deployments, name)?;
    for deployment in all {
        if let Some(used) = busy.with(deployments, deployment)? {
            return Ok(Some(format!("deployment {deployment}: {used}")));
        }
    }
    // A service that runs once has its scratch directory without any deployment, too.
    if !matches!(busy, Busy::None) {
        return Ok(Some(format!("{name} runs")));
    }
    for path in leftovers {
        if let Err(e) = mounts::refuse(path) {
            return Ok(Some(e.to_string()));
        }
    }
    Ok(None)
}

/// What is none of a container's.
fn other(deployments: &Deployments, entry: &str, report: &mut Report) {
    let path = deployments.path(entry);
    if location::is_old_probe(&path) {
        leftover(&path, "a program was killed while it looked for the store", report);
    } else if entry.starts_with("..") && entry.ends_with(".new") {
        // What is written has another name within moments.
        match files::is_older(&path, WRITING) {
            true => leftover(&path, "a program was killed while it wrote it", report),
            false => report.kept(
                "file",
                shown(&path),
                "it is being written, or a program was killed at that just now",
            ),
        }
    } else if entry == written::FILE {
        report.kept(
            "file",
            shown(&path),
            "it tells files of the host that containers share from changed ones",
        );
    } else if entry == state_directories::FILE {
        report.kept("file", shown(&path), "it tells directories that containers made from others");
    } else if !entry.starts_with(location::DIRECTORY) {
        report.kept("file", shown(&path), "it is of no container");
    }
}

/// Removes a file or directory that nobody needs.
pub fn leftover(path: &Path, why: &str, report: &mut Report) {
    if let Err(e) = mounts::refuse(path) {
        return report.kept("leftover", shown(path), e.to_string());
    }
    let bytes = files::own_size(path);
    if !report.dry_run {
        if let Err(e) = files::remove_tree(path) {
            return report.failed("leftover", shown(path), &e);
        }
    }
    report.bytes += bytes;
    report.removed("leftover", shown(path), why);
}

fn preinstalled(deployments: &Deployments, report: &mut Report) -> Result<()> {
    let preinstalled = Deployments::preinstalled(deployments.root());
    for entry in files::names(&preinstalled.path(""))? {
        let path = preinstalled.directory().join(entry);
        report.kept("deployment", shown(&path), "it came with the system");
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
