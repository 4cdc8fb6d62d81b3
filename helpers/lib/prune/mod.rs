//! A prune: what nobody uses goes, and everything that stays has a reason.
//!
//! Deployments first, since they use images; then, with the store to ourselves, refs, and objects that no ref leads to. Nothing
//! here needs space to be done. Killed at any point, the same again does the rest.

mod deployments;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use crate::container::deployment::Deployments;
use crate::error::{Error, Result};
use crate::paths::Root;
use crate::store::Store;
use crate::store::prune::{self as store_prune, Policy};
use crate::system::journal::{self, Event, Subject};
use crate::system::lock;
use crate::system::systemd;
use crate::update::retention::Users;

pub use deployments::leftover;
pub use report::{Item, Report};

/// What the user chose.
pub struct Options {
    /// Whether nothing is to be removed, but said what would be.
    pub dry_run: bool,
    /// How long images that nothing uses are kept after they were pulled.
    pub keep_for: Duration,
    /// Images that are to go now, and no others, and no deployments.
    pub images: Vec<String>,
    /// The store, if not the usual one.
    pub repo: Option<PathBuf>,
}

/// Removes what nobody uses. What cannot be removed is in the report; the rest is done nevertheless.
pub fn prune(deployments: &Deployments, options: &Options) -> Result<Report> {
    let mut report = Report::new(options.dry_run);
    if options.images.is_empty() {
        let changed = deployments::prune(deployments, &mut report)?;
        if changed {
            systemd::reload(deployments.root())?;
        }
    }
    let root = deployments.root();
    let store = match &options.repo {
        // What was named has to be there.
        Some(_) => Store::open(root, options.repo.as_deref()).map(Some),
        None => Store::open_existing(root, None),
    };
    let pruned = match store {
        Ok(Some(store)) => prune_store(deployments, &store, options, &mut report),
        Ok(None) if options.images.is_empty() => Ok(()),
        Ok(None) => Err(Error::not_found("there is no image store, and so no image")),
        Err(e) => Err(e),
    };
    match pruned {
        Err(e) if options.images.is_empty() => report.failed("store", "", &e),
        result => result?,
    }
    if !options.dry_run {
        record(root, &report);
    }
    Ok(report)
}

/// Each image and each deployment that is gone is a change; what they were made of is none.
fn record(root: &Root, report: &Report) {
    for item in &report.removed {
        let mut subject = Subject { reason: &item.reason, ..Subject::default() };
        match item.kind {
            "image" => subject.image = &item.name,
            "deployment" => subject.previous = &item.name,
            _ => {}
        }
        let message = format!("pruned {} {}: {}", item.kind, item.name, item.reason);
        journal::record(root, Event::Pruned, subject, &message);
    }
}

fn prune_store(
    deployments: &Deployments,
    store: &Store,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    store_prune::check(store)?;
    let _lock = match options.dry_run {
        true => lock::use_store(store.path())?,
        false => lock::own_store(store.path())?,
    };
    // Only now: a checkout that was under way has made its deployment.
    let users = Users::find(deployments)?;
    let policy = Policy::new(store, &users, options.keep_for, &options.images)?;
    store_prune::prune(store, &policy, report)?;
    report.kept("store", store.path().display().to_string(), "it is where images are pulled to");
    Ok(())
}
