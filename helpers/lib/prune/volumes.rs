//! Completing purges of volumes that were killed, and forgetting what payloads have got of the host that is gone. Volumes are
//! never pruned.

use super::report::{PruneKind, PruneReport};
use crate::error::Result;
use crate::name::Name;
use crate::paths::{GOT, Root};
use crate::run::{got, volumes};
use crate::system::{files, lock};

/// Removes what killed purges left of volumes.
pub fn prune(root: &Root, report: &mut PruneReport) {
    match volumes::half_purged(root) {
        Ok(names) => names.iter().for_each(|name| finish(root, name, report)),
        Err(e) => report.failed(PruneKind::Leftover, "", &e),
    }
}

/// Forgets directories of the host that are gone; the others may have in them what payloads have put there.
pub fn prune_record(root: &Root, report: &mut PruneReport) {
    match got::prune(root, report.dry_run) {
        Ok(0) => {}
        Ok(paths) => report.kept(
            PruneKind::File,
            root.join(GOT).display().to_string(),
            format!("payloads may have written to {paths} directories of the host that it names"),
        ),
        Err(e) => report.failed(PruneKind::File, root.join(GOT).display().to_string(), &e),
    }
}

fn finish(root: &Root, name: &Name, report: &mut PruneReport) {
    let path = volumes::doomed_path(root, name);
    let bytes = files::own_size(&path);
    let shown = path.display().to_string();
    if let Err(e) = if report.dry_run { Ok(()) } else { remove(root, name) } {
        return report.failed(PruneKind::Leftover, shown, &e);
    }
    report.bytes += bytes;
    report.removed(PruneKind::Leftover, shown, "a purge of these volumes was killed");
}

fn remove(root: &Root, name: &Name) -> Result<()> {
    // A purge that is at work has it.
    let _lock = lock::container(root, name)?;
    volumes::finish_purge(root, name)
}
