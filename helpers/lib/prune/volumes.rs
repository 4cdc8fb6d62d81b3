//! Completing purges that were killed, of volumes and of other directories that containers wrote to, and forgetting
//! directories of the host that payloads were given and that are gone. Neither volumes nor these directories are ever pruned.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::deployments::AT_WORK;
use super::report::{PruneKind, PruneReport};
use crate::container::deployment::Deployments;
use crate::error::Result;
use crate::install::site::Site;
use crate::install::state_directories;
use crate::name::Name;
use crate::paths::{GOT, Root};
use crate::run::{forgotten, got, volumes};
use crate::system::{files, lock};

/// Removes what killed purges left.
pub fn prune(site: &Site, report: &mut PruneReport) {
    match volumes::half_purged(site.root()) {
        Ok(names) => names.iter().for_each(|name| {
            let path = volumes::doomed_path(site.root(), name).display().to_string();
            let why = "a purge of these volumes was killed";
            finish(site, name, (path, why), report, || volumes::finish_purge(site.root(), name));
        }),
        Err(e) => report.failed(PruneKind::Leftover, "", &e),
    }
    match state_directories::half_purged(&site.deployments) {
        Ok(found) => found.iter().for_each(|(name, path)| {
            let path = site.root().join(path).display().to_string();
            let why = "a purge of this directory was killed";
            finish(site, name, (path, why), report, || {
                state_directories::finish_purge(&site.deployments, name)
            });
        }),
        Err(e) => report.failed(PruneKind::Leftover, "", &e),
    }
}

/// Removes what payloads that have ended wrote to their root file systems. These paths were reported already.
pub fn prune_forgotten(deployments: &Deployments, told: &BTreeSet<PathBuf>, report: &mut PruneReport) {
    let found = match forgotten::found(&deployments.path("")) {
        Ok(found) => found,
        Err(e) => return report.failed(PruneKind::Leftover, "", &e),
    };
    for (_, path) in found {
        let shown = path.display().to_string();
        let bytes = files::own_size(&path);
        match if report.dry_run { Ok(true) } else { forgotten::remove_if_left(&path) } {
            Ok(true) => {
                report.bytes += bytes;
                if !told.contains(&path) {
                    report.removed(PruneKind::Leftover, shown, "a payload that has ended wrote it");
                }
            }
            Ok(false) => report.kept(PruneKind::Leftover, shown, "it is being removed"),
            Err(e) => report.failed(PruneKind::Leftover, shown, &e),
        }
    }
}

/// Forgets directories of the host that are gone; the others may have in them what payloads have put there.
pub fn prune_record(root: &Root, report: &mut PruneReport) {
    match got::prune(root, report.dry_run) {
        Ok(0) => {}
        Ok(paths) => report.kept(
            PruneKind::File,
            root.join(GOT).display().to_string(),
            format!("it names host directories that payloads may have written to ({paths})"),
        ),
        Err(e) => report.failed(PruneKind::File, root.join(GOT).display().to_string(), &e),
    }
}

fn finish(
    site: &Site,
    name: &Name,
    (path, why): (String, &str),
    report: &mut PruneReport,
    remove: impl FnOnce() -> Result<()>,
) {
    // A purge that is at work has the lock, and ends when it is done.
    let lock = if report.dry_run { Ok(None) } else { lock::try_container(site.root(), name) };
    let lock = match lock {
        Ok(None) if !report.dry_run => return report.kept(PruneKind::Leftover, path, AT_WORK),
        Ok(lock) => lock,
        Err(e) => return report.failed(PruneKind::Leftover, path, &e),
    };
    let bytes = files::own_size(path.as_ref());
    if let Err(e) = lock.map_or(Ok(()), |_lock| remove()) {
        return report.failed(PruneKind::Leftover, path, &e);
    }
    report.bytes += bytes;
    report.removed(PruneKind::Leftover, path, why);
}
