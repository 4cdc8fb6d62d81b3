//! The part of a prune that is about deployments, and about what killed programs left beside them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::{PruneKind, PruneReport};
use crate::container::deployment::{self, Deployments};
use crate::container::state;
use crate::error::Result;
use crate::host_files::written;
use crate::install::recovery;
use crate::install::state_directories;
use crate::name::Name;
use crate::store::leftovers;
use crate::store::location;
use crate::system::files;
use crate::system::lock;
use crate::system::mounts;
use crate::update::retention::{self, Busy};

/// Files that are being written are no older than this.
const WRITING: Duration = Duration::from_secs(3600);

/// Removes deployments that nothing uses, and leftovers. Returns whether units have changed.
pub fn prune(deployments: &Deployments, report: &mut PruneReport) -> Result<bool> {
    let mut names = BTreeSet::new();
    for entry in files::names(&deployments.path(""))? {
        let path = deployments.path(&entry);
        if deployment::is_called_so(&entry) && !deployments.is_deployment(&entry) {
            report.kept(PruneKind::File, shown(&path), "it is not a deployment; remove it by hand");
            continue;
        }
        let owner = deployment::owner(&entry).or_else(|| deployment::scratch_owner(&entry));
        match owner.or_else(|| state::owner(&entry)) {
            Some(name) => {
                names.insert(name);
            }
            None => other(deployments, &entry, report),
        }
    }
    let mut changed = false;
    for name in names {
        match container(deployments, &name, report) {
            Ok(did) => changed |= did,
            Err(e) => report.failed(PruneKind::Container, name.as_str(), &e),
        }
    }
    preinstalled(deployments, report)?;
    Ok(changed)
}

fn container(deployments: &Deployments, name: &Name, report: &mut PruneReport) -> Result<bool> {
    let root = deployments.root();
    let _locks =
        if report.dry_run { None } else { Some((lock::container(root, name)?, lock::host_files(root)?)) };
    let link = deployments.path(name.as_str());
    if link.is_symlink() {
        installed(deployments, name, report)?;
        return Ok(false);
    }
    if link.exists() {
        report.kept(PruneKind::File, name.as_str(), "it is in the way: it is not a link to a deployment");
    }
    not_installed(deployments, name, link.exists(), report)
}

/// Removes deployments of an installed container, except for those that are in use or needed for a rollback.
fn installed(deployments: &Deployments, name: &Name, report: &mut PruneReport) -> Result<()> {
    let (_, temporary) = deployments.all(name)?;
    for path in temporary {
        leftover(&path, "a program was killed while it made or removed it", report);
    }
    for (deployment, used) in retention::of_container(deployments, name)? {
        match used {
            Some(used) => report.kept(PruneKind::Deployment, deployment, used.to_string()),
            None => {
                let bytes = files::own_size(&deployments.path(&deployment));
                if !report.dry_run {
                    if let Err(e) = deployments.remove(&deployment) {
                        report.failed(PruneKind::Deployment, deployment, &e);
                        continue;
                    }
                }
                report.bytes += bytes;
                report.removed(PruneKind::Deployment, deployment, "nothing uses it");
            }
        }
    }
    for path in [deployments.scratch(name), deployments.path(state::file(name))] {
        if path.exists() {
            report.kept(PruneKind::File, shown(&path), format!("it belongs to container {name}"));
        }
    }
    Ok(())
}

/// What is left of a container that is not installed is removed as a whole, as its host files have to be, or not at all.
fn not_installed(
    deployments: &Deployments,
    name: &Name,
    in_the_way: bool,
    report: &mut PruneReport,
) -> Result<bool> {
    let (all, temporary) = deployments.all(name)?;
    let others = [deployments.scratch(name), deployments.path(state::file(name))];
    let others = others.into_iter().filter(|path| path.exists());
    let leftovers: Vec<PathBuf> = temporary.into_iter().chain(others).collect();
    if let Some(why) = obstacle(deployments, name, in_the_way, &all, &leftovers)? {
        for deployment in all {
            report.kept(PruneKind::Deployment, deployment, why.clone());
        }
        for path in &leftovers {
            report.kept(PruneKind::Leftover, shown(path), why.clone());
        }
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
    for deployment in all {
        report.removed(PruneKind::Deployment, deployment, why);
    }
    for path in &leftovers {
        report.removed(PruneKind::Leftover, shown(path), why);
    }
    Ok(changed)
}

/// Why nothing of a container that is not installed can be removed.
fn obstacle(
    deployments: &Deployments,
    name: &Name,
    in_the_way: bool,
    all: &[String],
    leftovers: &[PathBuf],
) -> Result<Option<String>> {
    if in_the_way {
        return Ok(Some(format!("{name} is in the way: it is not a link to a deployment")));
    }
    let busy = Busy::find(deployments, name)?;
    for deployment in all {
        if let Some(used) = busy.with(deployments, deployment)? {
            return Ok(Some(format!("deployment {deployment}: {used}")));
        }
    }
    // A service that is run once, without an installation, has a scratch directory but no deployment here.
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

/// Files that belong to no container.
fn other(deployments: &Deployments, entry: &str, report: &mut PruneReport) {
    let path = deployments.path(entry);
    if location::is_old_probe(&path) {
        leftover(&path, "a program was killed while it looked for the store", report);
    } else if entry.starts_with("..") && entry.ends_with(".new") {
        // A file that is being written gets its name within moments.
        if files::is_older(&path, WRITING) {
            leftover(&path, "a program was killed while it wrote it", report);
        } else {
            let why = "it is being written, or a program was killed while it wrote it";
            report.kept(PruneKind::File, shown(&path), why);
        }
    } else if entry == written::FILE {
        report.kept(PruneKind::File, shown(&path), "it records host files that containers share");
    } else if entry == state_directories::FILE {
        report.kept(PruneKind::File, shown(&path), "it records directories that containers made");
    } else if !entry.starts_with(location::DIRECTORY) {
        report.kept(PruneKind::File, shown(&path), "it belongs to no container");
    }
}

fn leftover(path: &Path, reason: &str, report: &mut PruneReport) {
    let outcome = leftovers::remove(path, reason, report.dry_run);
    report.note(PruneKind::Leftover, &shown(path), outcome);
}

fn preinstalled(deployments: &Deployments, report: &mut PruneReport) -> Result<()> {
    let preinstalled = Deployments::preinstalled(deployments.root());
    for entry in files::names(&preinstalled.path(""))? {
        let path = preinstalled.directory().join(entry);
        report.kept(PruneKind::Deployment, shown(&path), "it came with the system");
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
