//! Pruning deployments, and what killed programs left next to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::{PruneKind, PruneReport};
use crate::container::deployment::{Deployments, Found};
use crate::container::entries::{Entry, Record};
use crate::container::standing;
use crate::error::Result;
use crate::install::recovery;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::run::forgotten;
use crate::store::leftovers;
use crate::system::files;
use crate::system::lock;
use crate::system::mounts;
use crate::update::retention::{self, Busy};

/// Why nothing is done with a container.
pub const AT_WORK: &str = "another program is at work on it; a later prune looks at it again";
/// Maximum age of files that are being written.
const WRITING: Duration = Duration::from_secs(3600);

/// What a prune of deployments did, besides what is in its report.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Whether units have changed.
    pub changed: bool,
    /// Scratch directories that were reported, but are to be removed later, since how long this takes was a payload's decision.
    pub forgotten: BTreeSet<PathBuf>,
}

/// Removes unused deployments, and leftovers.
pub fn prune(site: &Site, report: &mut PruneReport) -> Result<Pruned> {
    let deployments = &site.deployments;
    let mut names = BTreeSet::new();
    for (file_name, entry) in deployments.entries()? {
        match &entry {
            Entry::Deployment(deployment) if !deployments.is_deployment(deployment) => {
                let path = shown(&deployments.path(file_name));
                report.kept(PruneKind::File, path, "it is not a deployment; remove it by hand");
            }
            Entry::Forgotten(..) => {}
            entry => match entry.container() {
                Some(name) => {
                    names.insert(name.clone());
                }
                None => other(&deployments.path(file_name), entry, report),
            },
        }
    }
    let mut pruned = Pruned::default();
    for name in names {
        if let Err(e) = container(site, &name, &mut pruned, report) {
            report.failed(PruneKind::Container, name.as_str(), &e);
        }
    }
    preinstalled(deployments, report)?;
    Ok(pruned)
}

fn container(site: &Site, name: &Name, pruned: &mut Pruned, report: &mut PruneReport) -> Result<()> {
    let root = site.root();
    let dry_run = report.dry_run;
    // Others may wait for what a payload decided the length of, as a purge does.
    let lock = if dry_run { None } else { lock::try_container(root, name)? };
    if !dry_run && lock.is_none() {
        report.kept(PruneKind::Container, name.as_str(), AT_WORK);
        return Ok(());
    }
    let _host_files = if dry_run { None } else { Some(lock::host_files(root)?) };
    if let Some(why) = standing::elsewhere(&site.deployments, name)? {
        report.kept(PruneKind::Container, name.as_str(), why.to_string());
        return Ok(());
    }
    let link = site.deployments.link(name);
    if link.is_symlink() || !link.exists() && site.deployments.of_system(name).is_some() {
        return installed(site, name, report);
    }
    if link.exists() {
        report.kept(PruneKind::File, name.as_str(), "it is in the way: it is not a link to a deployment");
    }
    let Some(changed) = not_installed(site, name, link.exists(), report)? else { return Ok(()) };
    pruned.changed |= changed;
    let scratch = site.deployments.entry(&Entry::Scratch(name.clone()));
    if dry_run {
        report.bytes += files::own_size(&scratch);
    } else {
        pruned.forgotten.extend(forgotten::forget(&scratch)?);
    }
    Ok(())
}

/// Removes deployments of an installed container, except for those that are in use or needed for a rollback.
fn installed(site: &Site, name: &Name, report: &mut PruneReport) -> Result<()> {
    let deployments = &site.deployments;
    for path in deployments.all(name)?.leftovers {
        leftover(&path, "a program was killed while it made or removed it", report);
    }
    for (deployment, used) in retention::of_container(site, name)? {
        match used {
            // Those are listed anyway, by their paths.
            Some(_) if deployments.came_with_system(&deployment) => {}
            Some(used) => report.kept(PruneKind::Deployment, deployment.to_string(), used.to_string()),
            None => {
                let bytes = files::own_size(&deployments.path_of(&deployment));
                if !report.dry_run {
                    if let Err(e) = deployments.remove(&deployment) {
                        report.failed(PruneKind::Deployment, deployment.to_string(), &e);
                        continue;
                    }
                }
                report.bytes += bytes;
                report.removed(PruneKind::Deployment, deployment.to_string(), "nothing uses it");
            }
        }
    }
    for path in
        [Entry::Scratch(name.clone()), Entry::State(name.clone())].map(|entry| deployments.entry(&entry))
    {
        if path.exists() {
            report.kept(PruneKind::File, shown(&path), format!("it belongs to container {name}"));
        }
    }
    Ok(())
}

/// Removes the rest of a container that is not installed: all of it, since its host files have to go as a whole, but for
/// what it wrote; or nothing, which is `None`.
fn not_installed(
    site: &Site,
    name: &Name,
    in_the_way: bool,
    report: &mut PruneReport,
) -> Result<Option<bool>> {
    let deployments = &site.deployments;
    let Found { deployments: all, mut leftovers } = deployments.all(name)?;
    let others = [Entry::Scratch(name.clone()), Entry::State(name.clone())];
    let others = others.iter().map(|entry| deployments.entry(entry));
    leftovers.extend(others.filter(|path| path.exists()));
    if let Some(why) = obstacle(site, name, in_the_way, &all, &leftovers)? {
        for deployment in all {
            report.kept(PruneKind::Deployment, deployment.to_string(), why.clone());
        }
        for path in &leftovers {
            report.kept(PruneKind::Leftover, shown(path), why.clone());
        }
        return Ok(None);
    }
    if all.is_empty() && leftovers.is_empty() {
        return Ok(Some(false));
    }
    let scratch = deployments.entry(&Entry::Scratch(name.clone()));
    let paths = leftovers.iter().filter(|path| **path != scratch).cloned();
    let paths = all.iter().map(|deployment| deployments.path_of(deployment)).chain(paths);
    let bytes = paths.map(|path| files::own_size(&path)).sum::<u64>();
    let changed = !report.dry_run && recovery::recover(site, name)?.changed;
    report.bytes += bytes;
    let why = "its container is not installed";
    for deployment in all {
        report.removed(PruneKind::Deployment, deployment.to_string(), why);
    }
    for path in &leftovers {
        report.removed(PruneKind::Leftover, shown(path), why);
    }
    Ok(Some(changed))
}

/// Why nothing of a container that is not installed can be removed.
fn obstacle(
    site: &Site,
    name: &Name,
    in_the_way: bool,
    all: &[Deployment],
    leftovers: &[PathBuf],
) -> Result<Option<String>> {
    if in_the_way {
        return Ok(Some(format!("{name} is in the way: it is not a link to a deployment")));
    }
    let busy = Busy::find(site, name)?;
    for deployment in all {
        if let Some(used) = busy.with(&site.deployments, deployment)? {
            return Ok(Some(format!("deployment {deployment}: {used}")));
        }
    }
    // A run-once service without an installation has a scratch directory, but no deployment here.
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
fn other(path: &Path, entry: &Entry, report: &mut PruneReport) {
    let why = match entry {
        // A file that is being written gets its final name within moments.
        Entry::Unfinished(_) if files::is_older(path, WRITING) => {
            return leftover(path, "a program was killed while it wrote it", report);
        }
        Entry::Unfinished(_) => "it is being written, or a program was killed while it wrote it",
        Entry::Record(Record::Identity) => "it is the identity of the directory",
        Entry::Record(Record::HostFiles) => "it records host files that containers share",
        Entry::Record(Record::StateDirectories) => "it records directories that containers made",
        Entry::Store => return,
        _ => "it belongs to no container",
    };
    report.kept(PruneKind::File, shown(path), why);
}

fn leftover(path: &Path, reason: &str, report: &mut PruneReport) {
    let outcome = leftovers::remove(path, reason, report.dry_run);
    report.note(PruneKind::Leftover, &shown(path), outcome);
}

fn preinstalled(deployments: &Deployments, report: &mut PruneReport) -> Result<()> {
    let preinstalled = Deployments::preinstalled(deployments.root());
    for entry in files::names(&preinstalled.path(""))? {
        let path = preinstalled.directory().join(entry);
        report.kept(PruneKind::Deployment, path.to_string(), "it came with the system");
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
