//! Uninstalling: everything of a container goes, but what it wrote, and what the user changed.

use std::collections::BTreeSet;

use crate::container::deployment::Found;
use crate::container::derived;
use crate::error::{Error, Result};
use crate::install::site::Site;
use crate::install::state_directories::{self, StateDirectories};
use crate::install::{atomic, recovery};
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::system::journal::{self, Event, Subject};
use crate::system::mounts;
use crate::system::systemd::dependents::{self, Relation};
use crate::system::systemd::manager;
use crate::system::systemd::{links, watch};

/// What the user chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether units that need it are no obstacle.
    pub force: bool,
    /// Whether what it wrote goes, too.
    pub purge: bool,
}

/// Removes a container, whatever state it is in; the caller holds its lock, and that of host files. Returns what is left, and why.
///
/// Without its symlink a container is not there: killed after that, the same command again, or a boot, completes it.
pub fn remove(site: &Site, name: &Name, options: Options) -> Result<Vec<String>> {
    let (root, deployments) = (site.root(), &site.deployments);
    let Found { deployments: all, leftovers } = deployments.all(name)?;
    let has_link = deployments.link(name).is_symlink();
    if !has_link && deployments.link(name).exists() {
        // What is in the place of a symlink is not ours to remove.
        let link = deployments.link(name);
        return Err(Error::new(format!(
            "{} is not a symlink to a deployment; remove it by hand",
            link.display()
        )));
    }
    let is_there = derived::is_there(root, name);
    if !has_link && all.is_empty() && leftovers.is_empty() && !is_there {
        return purge_what_is_left(site, name, options);
    }
    check_dependents(site, name, options)?;
    let state = state_directories::of(deployments, name, &all)?;
    // What would fail later fails here, where the service still runs.
    all.iter().try_for_each(|deployment| mounts::refuse(&deployments.path_of(deployment)))?;
    if options.purge {
        state_directories::check(deployments, &state.own)?;
    }
    let current = deployments.current(name).ok().flatten();
    stop(site, name, atomic::find(deployments, &all).is_some())?;
    // As long as the container is there: killed in between, the same command again completes it.
    let nothing = BTreeSet::new();
    state_directories::purge(deployments, name, if options.purge { &state.own } else { &nothing })?;
    if links::disable_updates(root, site.manager(), name)? {
        log::info(&format!("disabled syscontainer-update@{name}.timer and .service"));
    }
    if all.is_empty() && is_there {
        let directory = deployments.directory();
        log::warning(&format!("found no deployment of {name} in {directory}, removing its unit only"));
    }
    let subject = current.as_ref().and_then(|current| subject(site, current));
    if has_link {
        deployments.detach(name)?;
    }
    recovery::recover(site, name)?;
    site.manager.reload()?;
    let subject = subject.unwrap_or_else(|| Subject::of_container(name));
    journal::tell(root, Event::Removed, &subject, &format!("removed {name}"));
    Ok(left(site, name, &state, options.purge))
}

/// Of a container that was removed before, what it wrote may be left.
fn purge_what_is_left(site: &Site, name: &Name, options: Options) -> Result<Vec<String>> {
    let left = state_directories::of(&site.deployments, name, &[])?.own;
    if !options.purge || left.is_empty() {
        return Err(Error::not_found(format!("there is no container {name}")));
    }
    state_directories::check(&site.deployments, &left)?;
    state_directories::purge(&site.deployments, name, &left).map(|()| Vec::new())
}

fn check_dependents(site: &Site, name: &Name, options: Options) -> Result<()> {
    let dependents = dependents::active(site.manager(), name, Relation::Needs)?;
    if dependents.is_empty() || options.force {
        return Ok(());
    }
    let list = dependents.join(", ");
    Err(Error::new(format!("{list} needs it and is active; stop that first, or use --force")))
}

/// Stops the unit of a container, if it runs, and forgets that it failed. One that is somebody else's is left alone; a unit that
/// Atomic made is not a stub, but belongs to the container.
pub fn stop(site: &Site, name: &Name, is_made_by_atomic: bool) -> Result<()> {
    let Some(status) = manager::status(site.manager(), name)? else { return Ok(()) };
    let is_its_own = is_made_by_atomic || status.is_ours();
    if is_its_own && !status.is_down() {
        watch::stop(site.manager(), &name.unit())?;
    }
    if (is_its_own || status.load_state == "not-found") && manager::is_failed(site.manager(), name)? {
        site.manager.reset_failed(&name.unit())?;
    }
    Ok(())
}

fn subject(site: &Site, current: &Deployment) -> Option<Subject> {
    let info = site.deployments.info(current).ok()?;
    let image = Some((info.image.as_str(), info.digest()));
    Some(Subject { deployment: None, previous: Some(current.to_string()), ..Subject::of(current, image) })
}

/// What stays, and why.
fn left(site: &Site, name: &Name, state: &StateDirectories, is_purged: bool) -> Vec<String> {
    let mut left = Vec::new();
    if !is_purged {
        let own = state.own.iter();
        left.extend(own.map(|path| format!("{path}, which {name} wrote to; --purge would have removed it")));
    }
    let found = state.found.iter();
    left.extend(
        found.map(|path| format!("{path}, which was there before {name}, or is not known to be its own")),
    );
    let settings = links::settings(site.root(), name).into_iter();
    left.extend(settings.map(|path| format!("{path}, which is yours")));
    left
}
