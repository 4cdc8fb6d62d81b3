//! Pruning: what is not used is removed, and everything that is kept has a reason.
//!
//! Deployments come first, since they use images; then, with the store locked, refs, and objects that no ref leads to; and
//! at last what payloads wrote, which may be any amount, so that whatever becomes of that, the store has been pruned.
//! None of this needs disk space. If it is killed at any point, the next prune does the rest.

mod deployments;
mod images;
mod report;
mod volumes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::container::deployment::Deployments;
use crate::error::{Error, Result};
use crate::install::site::Site;
use crate::name::Deployment;
use crate::paths::Root;
use crate::store::Store;
use crate::store::prune as store_prune;
use crate::system::journal::{self, Event, Subject};
use crate::update::retention::Users;
use images::{ImagePruner, ImageSelection};

pub use report::{PruneItem, PruneKind, PruneReport};

/// The user's choices.
pub struct PruneOptions {
    /// Whether to remove nothing, but to report what would be removed.
    pub dry_run: bool,
    /// How long unused images are kept after they were pulled.
    pub keep_for: Duration,
    /// Images to remove now. If there are any, no other images and no deployments are removed.
    pub images: Vec<String>,
    /// The store, if not the default one.
    pub repo: Option<PathBuf>,
}

/// Removes what is not used. What cannot be removed is in the report, and does not prevent the rest.
pub fn prune(site: &Site, options: &PruneOptions) -> Result<PruneReport> {
    let mut report = PruneReport::new(options.dry_run);
    let mut told = BTreeSet::new();
    if options.images.is_empty() {
        let pruned = deployments::prune(site, &mut report)?;
        if pruned.changed {
            site.manager.reload()?;
        }
        told = pruned.forgotten;
    }
    let root = site.root();
    let store = match &options.repo {
        // A store that was named has to exist.
        Some(_) => Store::open(root, options.repo.as_deref()).map(Some),
        None => Store::open_existing(root, None),
    };
    let pruned = match store {
        Ok(Some(store)) => prune_store(&site.deployments, &store, options, &mut report),
        Ok(None) if options.images.is_empty() => Ok(()),
        Ok(None) => Err(Error::not_found("there is no image store")),
        Err(e) => Err(e),
    };
    match pruned {
        Err(e) if options.images.is_empty() => report.failed(PruneKind::Store, "", &e),
        result => result?,
    }
    if options.images.is_empty() {
        volumes::prune(site, &mut report);
        volumes::prune_forgotten(&site.deployments, &told, &mut report);
        volumes::prune_record(root, &mut report);
    }
    if !options.dry_run {
        record(root, &report);
    }
    Ok(report)
}

/// Records the removal of each image and each deployment in the journal, but not that of their layers and objects.
fn record(root: &Root, report: &PruneReport) {
    for PruneItem { kind, name, reason } in &report.removed {
        let mut subject = Subject { reason: Some(reason.clone()), ..Subject::default() };
        match kind {
            PruneKind::Image => subject.image = Some(name.clone()),
            PruneKind::Deployment => {
                subject.previous = Some(name.clone());
                subject.name = name.parse().ok().map(|deployment: Deployment| deployment.name().clone());
            }
            _ => {}
        }
        journal::record(root, Event::Pruned, &subject, &format!("pruned {kind} {name}: {reason}"));
    }
}

fn prune_store(
    deployments: &Deployments,
    store: &Store,
    options: &PruneOptions,
    report: &mut PruneReport,
) -> Result<()> {
    let _lock = if options.dry_run { store.lock_shared()? } else { store.lock_exclusive()? };
    // Not earlier: a checkout that was in progress has made its deployment by now.
    let users = Users::find(deployments)?;
    let selection = ImageSelection::new(store, &users, options.keep_for, &options.images)?;
    selection.warn();
    let mut pruner = ImagePruner { selection, report };
    let objects = store_prune::prune(store, options.dry_run, &mut pruner)?;
    report.objects += objects.count;
    report.bytes += objects.bytes;
    let place = store.path().display().to_string();
    report.kept(PruneKind::Store, place, "images are pulled to it");
    Ok(())
}
