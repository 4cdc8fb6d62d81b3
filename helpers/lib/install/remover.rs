//! Uninstalling: everything of a container goes, but what it wrote, and what the user changed.

use std::collections::BTreeSet;

use crate::container::deployment::Deployments;
use crate::error::{Error, Result};
use crate::install::atomic;
use crate::install::recovery;
use crate::install::register;
use crate::install::state_directories::{self, StateDirectories};
use crate::name::Name;
use crate::paths::Root;
use crate::program::log;
use crate::system::journal::{self, Event, Subject};
use crate::system::mounts;
use crate::system::systemd;

/// What the user chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether units that need it are no obstacle.
    pub force: bool,
    /// Whether what it wrote goes, too.
    pub purge: bool,
}

/// Removes a container, whatever state it is in; the caller holds its lock. Returns what is left, and why.
///
/// Without its symlink a container is not there: killed after that, the same command again, or a boot, completes it.
pub fn remove(deployments: &Deployments, name: &Name, options: Options) -> Result<Vec<String>> {
    let root = deployments.root();
    let (all, temporary) = deployments.all(name)?;
    let has_link = deployments.path(name.as_str()).is_symlink();
    if !has_link {
        check_link(deployments, name)?;
    }
    let has_registration = register::is_there(root, name);
    if !has_link && all.is_empty() && temporary.is_empty() && !has_registration {
        let left = state_directories::of(deployments, name, &all)?.own;
        if options.purge && !left.is_empty() {
            // Of an installation that was removed before.
            state_directories::check(deployments, &left)?;
            return state_directories::purge(deployments, name, &left).map(|()| Vec::new());
        }
        return Err(Error::not_found(format!("there is no container {name}")));
    }
    let dependents = systemd::active_dependents(root, name)?;
    if !dependents.is_empty() && !options.force {
        return Err(Error::new(format!(
            "{} needs it and is active; stop that first, or use --force",
            dependents.join(", ")
        )));
    }
    let current = deployments.current(name).ok().flatten().unwrap_or_default();
    let info = deployments.info(&current).unwrap_or_default();
    let state = state_directories::of(deployments, name, &all)?;
    // What would fail later fails here, where the service still runs.
    all.iter().try_for_each(|deployment| mounts::refuse(&deployments.path(deployment)))?;
    if options.purge {
        state_directories::check(deployments, &state.own)?;
    }
    systemd::stop(root, name, atomic::find(deployments, name, &all).is_some())?;
    systemd::reset_failed(root, name)?;
    // As long as the container is there: killed in between, the same command again completes it.
    let nothing = BTreeSet::new();
    state_directories::purge(deployments, name, if options.purge { &state.own } else { &nothing })?;
    if systemd::disable_updates(root, name)? {
        log::info(&format!("disabled syscontainer-update@{name}.timer and .service"));
    }
    if all.is_empty() && has_registration {
        log::warning(&format!(
            "found no deployment of {name} in {}, removing its unit only",
            deployments.directory().display()
        ));
    }
    if has_link {
        deployments.detach(name)?;
    }
    recovery::recover(deployments, name)?;
    systemd::reload(root)?;
    let (image, digest, previous) = (info.image.as_str(), info.digest.as_str(), current.as_str());
    let subject = Subject { name: Some(name), image, digest, previous, ..Subject::default() };
    journal::tell(root, Event::Removed, subject, &format!("removed {name}"));
    Ok(left(root, name, &state, options.purge))
}

/// What stays, and why.
fn left(root: &Root, name: &Name, state: &StateDirectories, is_purged: bool) -> Vec<String> {
    let mut left = Vec::new();
    for path in state.own.iter().filter(|_| !is_purged) {
        left.push(format!("{}, which {name} wrote to; --purge would have removed it", path.display()));
    }
    for path in &state.found {
        left.push(format!(
            "{}, which was there before {name}, or is not known to be its own",
            path.display()
        ));
    }
    for path in systemd::settings(root, name) {
        left.push(format!("{}, which is yours", path.display()));
    }
    left
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
