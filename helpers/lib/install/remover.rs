//! Removing a container: everything goes, except for what it wrote and what the user changed.

use std::collections::BTreeSet;

use crate::container::deployment::Found;
use crate::container::entries::Entry;
use crate::container::standing::{self, Elsewhere};
use crate::container::{derived, volume};
use crate::error::{Error, Result};
use crate::install::site::Site;
use crate::install::state_directories::{self, StateDirectories};
use crate::install::{atomic, recovery};
use crate::name::{Deployment, Name};
use crate::paths::TreePath;
use crate::program::log;
use crate::run::{forgotten, volumes};
use crate::system::journal::{self, Event, Subject};
use crate::system::mounts;
use crate::system::systemd::dependents::{self, Relation};
use crate::system::systemd::manager;
use crate::system::systemd::{links, watch};

/// The user's choices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether to remove the container even if active units need it.
    pub force: bool,
    /// Whether to remove what it wrote, too.
    pub purge: bool,
}

/// What became of what a container wrote.
#[derive(Debug, Default)]
pub struct Removed {
    /// What is left, and why.
    pub left: Vec<String>,
    /// What is for [`finish`].
    pub purged: Vec<TreePath>,
}

/// Removes a container, whatever its state; the caller holds its lock, and that of host files. What it wrote, and is not
/// to be left, is for [`finish`].
///
/// A container without its symlink counts as removed: if this is killed later, the same command or a boot completes it.
pub fn remove(site: &Site, name: &Name, options: Options) -> Result<Removed> {
    let (root, deployments) = (site.root(), &site.deployments);
    let Found { deployments: all, leftovers } = deployments.all(name)?;
    let has_link = deployments.link(name).is_symlink();
    if !has_link && deployments.link(name).exists() {
        // Something else with the name of the symlink is not ours to remove.
        let link = deployments.link(name);
        return Err(Error::new(format!(
            "{} is not a symlink to a deployment; remove it by hand",
            link.display()
        )));
    }
    check_storage(site, name)?;
    let is_there = derived::is_there(root, name);
    let of_system = deployments.of_system(name);
    if !has_link && all.is_empty() && leftovers.is_empty() && !is_there {
        return match of_system {
            Some(_) => Err(came_with_system(name)),
            None => purge_what_is_left(site, name, options),
        };
    }
    check_dependents(site, name, options)?;
    let state = state_directories::of(deployments, name, &all)?;
    let has_volumes = has_volumes(site, name, options)?;
    // What would fail later fails here, while the service still runs.
    all.iter().try_for_each(|deployment| mounts::refuse(&deployments.path_of(deployment)))?;
    if options.purge {
        state_directories::check(deployments, &state.own)?;
        volumes::check_purge(root, name)?;
    }
    let current = deployments.current(name).ok().flatten();
    stop(site, name, atomic::find(deployments, &all).is_some())?;
    // While the container still exists: if this is killed, the same command completes it.
    let purged = if options.purge { doom(site, name, &state.own)? } else { Vec::new() };
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
    match of_system {
        // Without a link, deployments may be what was rolled back, and recovery leaves them.
        Some(_) => recovery::clear(site, name, all)?,
        None => recovery::recover(site, name)?,
    };
    site.manager.reload()?;
    let subject = subject.unwrap_or_else(|| Subject::of_container(name));
    journal::tell(root, Event::Removed, &subject, &removed_message(site, name));
    let mut kept: Vec<TreePath> =
        if options.purge { Vec::new() } else { state.own.iter().cloned().collect() };
    kept.extend((has_volumes && !options.purge).then(|| volume::home(name)));
    Ok(Removed { left: left(site, name, kept, &state), purged })
}

/// Refuses to conclude anything from a directory of deployments that is not the one that the container was installed in. Where
/// there is nothing of the container, its unit can be removed: its storage may be lost.
fn check_storage(site: &Site, name: &Name) -> Result<()> {
    match standing::elsewhere(&site.deployments, name)? {
        Some(Elsewhere::NotMounted(_)) if !site.deployments.has_entries(name)? => Ok(()),
        Some(why) => Err(Error::new(why.to_string())),
        None => Ok(()),
    }
}

/// Removing it would take more than this host's own directories, and the next update of the system would bring it again.
fn came_with_system(name: &Name) -> Error {
    Error::new(format!(
        "it came with the operating system; 'systemctl mask --now {name}' keeps it from running, and from the tree of a system, 'syscontainer-remove --root=DIR {name}' removes it"
    ))
}

fn removed_message(site: &Site, name: &Name) -> String {
    let Some(of_system) = site.deployments.of_system(name) else { return format!("removed {name}") };
    let start =
        if site.manager.is_running() { format!("; 'systemctl start {name}' runs it") } else { String::new() };
    format!("removed {name}; {of_system}, which came with the operating system, is current again{start}")
}

/// Purges what is left of a container that was removed before without `--purge`.
fn purge_what_is_left(site: &Site, name: &Name, options: Options) -> Result<Removed> {
    let left = state_directories::of(&site.deployments, name, &[])?.own;
    let has_volumes = has_volumes(site, name, options)?;
    if !options.purge || left.is_empty() && !has_volumes {
        return Err(Error::not_found(format!("there is no container {name}")));
    }
    state_directories::check(&site.deployments, &left)?;
    volumes::check_purge(site.root(), name)?;
    Ok(Removed { purged: doom(site, name, &left)?, ..Removed::default() })
}

/// Takes what it wrote from a container: these directories, and its volumes.
fn doom(site: &Site, name: &Name, directories: &BTreeSet<TreePath>) -> Result<Vec<TreePath>> {
    state_directories::doom(&site.deployments, name, directories)?;
    let volumes = volumes::doom(site.root(), name)?.then(|| volume::home(name));
    Ok(directories.iter().cloned().chain(volumes).collect())
}

/// Removes what a container that was removed has written. The caller still holds its lock, but no other: how much that is, and
/// so how long it takes, was its payload's decision. If this is killed, a prune does it.
pub fn finish(site: &Site, name: &Name, purged: &[TreePath]) -> Result<()> {
    forgotten::forget(&site.deployments.entry(&Entry::Scratch(name.clone())))?;
    for (owner, path) in forgotten::found(&site.deployments.path(""))? {
        if owner == *name {
            forgotten::remove(&path)?;
        }
    }
    state_directories::finish_purge(&site.deployments, name)?;
    volumes::finish_purge(site.root(), name)?;
    purged.iter().for_each(|path| log::info(&format!("purged {path}")));
    Ok(())
}

/// Whether there are volumes. Only a purge needs to know.
fn has_volumes(site: &Site, name: &Name, options: Options) -> Result<bool> {
    match volumes::exist(site.root(), name) {
        Err(e) if !options.purge => {
            log::warning(&format!("cannot tell whether {name} leaves volumes: {e}"));
            Ok(false)
        }
        exist => exist,
    }
}

fn check_dependents(site: &Site, name: &Name, options: Options) -> Result<()> {
    let dependents = dependents::active(site.manager(), name, Relation::Needs)?;
    if dependents.is_empty() || options.force {
        return Ok(());
    }
    let list = dependents.join(", ");
    Err(Error::new(format!("active units need it: {list}; stop them first, or use --force")))
}

/// Stops the unit of a container, if it runs, and clears its failed state. A unit that is not the container's own is
/// left alone; one that Atomic made is not a stub, but belongs to the container.
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

/// What is left, and why.
fn left(site: &Site, name: &Name, kept: Vec<TreePath>, state: &StateDirectories) -> Vec<String> {
    let kept = kept.iter();
    let mut left: Vec<String> = kept
        .map(|path| format!("{path}, which {name} wrote to; 'syscontainer-remove --purge {name}' removes it"))
        .collect();
    let found = state.found.iter();
    left.extend(
        found.map(|path| format!("{path}, which was there before {name}, or is not known to be its own")),
    );
    let settings = links::settings(site.root(), name).into_iter();
    left.extend(settings.map(|path| format!("{path}, which is yours")));
    left
}
