//! Brings containers back into one of two consistent states, installed or not installed, whatever happened: a program
//! was killed, power failed, or /etc and /var are from different points in time.
//!
//! Every program that changes a container first calls [`recover`] for it; syscontainer-reconcile does this for all, at
//! boot.

use std::collections::BTreeSet;

use crate::container::deployment::Deployments;
use crate::container::entries::Entry;
use crate::container::standing::{self, Elsewhere};
use crate::container::state::State;
use crate::container::storage::Storage;
use crate::container::{derived, identity, stale, state};
use crate::error::{Context, Result};
use crate::host_files;
use crate::host_files::record::DeploymentFiles;
use crate::install::site::Site;
use crate::install::{atomic, register};
use crate::name::{Deployment, Name};
use crate::paths::ATTACHED;
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd::manager::{self, Enablement};
use crate::system::{files, lock};

/// What [`recover`] or [`reconcile`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whether units changed, so that systemd has to reload them.
    pub changed: bool,
    /// Whether there was neither a unit nor a registration before, and now there is.
    pub created: bool,
}

/// Brings a container into a consistent state; the caller holds its lock, and that of host files.
///
/// The symlink decides: with it, registration, stub and tmpfiles become those of its deployment; without it, they are
/// removed, as are all deployments. Temporary directories are always removed.
///
/// Where the operating system brought a deployment, that one is current without a symlink, and others stay: they may be what
/// was rolled back.
pub fn recover(site: &Site, name: &Name) -> Result<Recovered> {
    try_recover(site, name).context(|| format!("cannot recover {name}"))
}

fn try_recover(site: &Site, name: &Name) -> Result<Recovered> {
    let deployments = &site.deployments;
    let found = deployments.all(name)?;
    for path in found.leftovers {
        files::remove_tree(&path)?;
    }
    let (all, had_link) = (found.deployments, deployments.link(name).is_symlink());
    let current = deployments.current(name)?;
    if let Some(current) = current.filter(|current| all.contains(current)) {
        if deployments.info(&current).is_ok_and(|info| info.is_from_atomic()) {
            // It has no derived files.
            return Ok(Recovered::default());
        }
        return register_again(site, &current);
    }
    if let Some(running) = runs_without_link(site, name, had_link, &all)? {
        // None of these programs removes the link before the service is stopped.
        log::warning(&format!(
            "the link {name} is gone, though the service runs from {running}; recreating it"
        ));
        deployments.switch(&running)?;
        return register_again(site, &running);
    }
    let of_system = deployments.of_system(name);
    match all.last() {
        // Something else removed the current deployment. Another one is better than none.
        Some(newest) if had_link => {
            deployments.switch(newest)?;
            register_again(site, newest)
        }
        _ => {
            if had_link {
                deployments.detach(name)?;
            }
            match of_system {
                Some(of_system) => register_again(site, &of_system),
                None => clear(site, name, all),
            }
        }
    }
}

/// Removes everything that is left of a container that is not installed, or that only the operating system brought, but
/// for what its payload wrote: how long that takes would be its decision.
pub fn clear(site: &Site, name: &Name, all: Vec<Deployment>) -> Result<Recovered> {
    let deployments = &site.deployments;
    let mut changed = match deployments.of_system(name) {
        Some(of_system) => register::register(site, &of_system)?,
        None => register::unregister(site, name)?,
    };
    state::forget(deployments, name)?;
    if let Some((deployment, _)) = atomic::find(deployments, &all) {
        changed |= atomic::retire(site, &deployment)?;
    }
    // Before deployments are removed, since only they record these files.
    let outgoing = all.iter().map(|deployment| DeploymentFiles::read(deployments, deployment));
    let outgoing = outgoing.collect::<Result<Vec<_>>>()?;
    host_files::remove(deployments, name, &outgoing.iter().collect::<Vec<_>>(), None)?;
    for deployment in all {
        deployments.remove(&deployment)?;
    }
    Ok(Recovered { changed: stale::unmark(site.root(), name)? || changed, created: false })
}

/// Returns whether a container is registered, but nothing of it is in the directory of deployments: that may be on a
/// /var that is not mounted, so only an installation or a removal may conclude anything from it.
pub fn is_absent(site: &Site, name: &Name) -> Result<bool> {
    let found = site.deployments.all(name)?;
    let is_in_var = site.deployments.link(name).is_symlink()
        || !found.deployments.is_empty()
        || !found.leftovers.is_empty();
    Ok(!is_in_var && derived::is_there(site.root(), name) && site.deployments.of_system(name).is_none())
}

/// Reports what [`recover`] removes because there is no link.
pub fn announce(site: &Site, name: &Name) -> Result<()> {
    let has_link = site.deployments.link(name).is_symlink();
    let all = site.deployments.all(name)?.deployments;
    if site.deployments.of_system(name).is_some() {
        return Ok(());
    }
    if !has_link && !all.is_empty() && runs_without_link(site, name, has_link, &all)?.is_none() {
        let list = all.iter().map(Deployment::to_string).collect::<Vec<_>>().join(", ");
        log::info(&format!("removing what is left of {name}, which has no link to a deployment: {list}"));
    }
    Ok(())
}

fn runs_without_link(
    site: &Site,
    name: &Name,
    had_link: bool,
    all: &[Deployment],
) -> Result<Option<Deployment>> {
    if had_link || !site.manager.is_running() || !derived::is_there(site.root(), name) {
        return Ok(None);
    }
    // A rollback to what the operating system brought removes the link while the service still runs.
    let has_other = site.deployments.of_system(name).is_some();
    if has_other && State::load(&site.deployments, name).is_ok_and(|state| state.switch.is_some()) {
        return Ok(None);
    }
    let running = Bundle::new(site.root(), name).deployment()?.filter(|running| all.contains(running));
    Ok(if running.is_some() && manager::is_active(site.manager(), name)? { running } else { None })
}

fn register_again(site: &Site, deployment: &Deployment) -> Result<Recovered> {
    let name = deployment.name();
    let was_there = derived::is_there(site.root(), name) || site.deployments.came_with_system(deployment);
    let changed = register::register(site, deployment)?;
    if changed {
        report(site, deployment);
    }
    Ok(Recovered { changed: stale::unmark(site.root(), name)? || changed, created: !was_there })
}

fn report(site: &Site, deployment: &Deployment) {
    let message = format!("recreated the unit of {} from its current deployment", deployment.name());
    let info = site.deployments.info(deployment).ok();
    let subject = Subject::of(deployment, info.as_ref().map(|info| (info.image.as_str(), info.digest())));
    journal::tell(site.root(), Event::Repaired, &subject, &message);
}

/// Enables a container whose unit was made again, if it was enabled when it was installed, or a declaration says so: later
/// changes were lost with the links in /etc. So are its daily updates.
pub fn enable(site: &Site, name: &Name) -> Result<()> {
    let Some(current) = site.deployments.current(name)? else { return Ok(()) };
    let info = site.deployments.info(&current)?;
    let declared = State::load(&site.deployments, name).ok().and_then(|state| state.declared);
    if declared.as_ref().is_some_and(|declared| declared.auto_update) {
        site.manager.set_enablement(&[format!("syscontainer-update@{name}.timer")], Enablement::Enable)?;
    }
    let was_enabled = declared
        .and_then(|declared| declared.enable)
        .unwrap_or_else(|| info.ours().is_none_or(|ours| ours.enabled));
    if was_enabled && register::is_installable(site.root(), name)? {
        site.manager.set_enablement(&[name.unit()], Enablement::Enable)?;
    }
    Ok(())
}

/// Like [`recover`], but cheap for containers that are in order, and it does not remove a unit because its deployments
/// are gone: they may be on a /var that was not mounted. Such a unit reports that when it is started, unless the operating
/// system brought a deployment: then that is registered. If others come back, so does their registration. Nothing is done
/// if the directory of deployments is not the one that the container was installed in.
pub fn reconcile(site: &Site, name: &Name, found: &Found) -> Result<Recovered> {
    if let Some(why) = found.elsewhere(site, name)? {
        let changed = stale::mark_elsewhere(site.root(), name, &why)?;
        return Ok(Recovered { changed, created: false });
    }
    if !found.in_var.contains(name) && site.deployments.of_system(name).is_none() {
        let changed = stale::mark(&site.deployments, name)?;
        return Ok(Recovered { changed, created: false });
    }
    let is_odd = found.temporary.contains(name) || found.stale.contains(name);
    if !is_odd && register::is_current(&site.deployments, name, found.storage.as_ref()) {
        return Ok(Recovered::default());
    }
    let _lock = lock::container(site.root(), name)?;
    let _host_files = lock::host_files(site.root())?;
    announce(site, name)?;
    recover(site, name)
}

/// What the directory of deployments is. One that an older version made has no identity yet; one that has no containers may not be
/// the right one.
fn storage(deployments: &Deployments, has_containers: bool) -> Result<Option<Storage>> {
    if has_containers {
        // One that cannot have any, since it is read-only, is as good as ever.
        let _ = identity::make(&deployments.path(""));
    }
    Storage::of(deployments)
}

/// All containers of which anything exists.
#[derive(Debug, Default)]
pub struct Found {
    /// Names of all of them.
    pub names: BTreeSet<Name>,
    /// Containers with a symlink, a deployment or a temporary directory.
    in_var: BTreeSet<Name>,
    /// Containers with a temporary directory.
    temporary: BTreeSet<Name>,
    /// Containers that were noted before as having no deployments.
    stale: BTreeSet<Name>,
    /// What the directory of deployments is.
    storage: Option<Storage>,
    /// Whether the directory of deployments is taken for the one that containers were installed in, which was another one.
    pub adopts: bool,
    /// Containers with a [`state::State`], which may record an unfinished switch.
    pub states: BTreeSet<Name>,
}

impl Found {
    /// Why the directory of deployments is not the one that a container was installed in, if so.
    pub fn elsewhere(&self, site: &Site, name: &Name) -> Result<Option<Elsewhere>> {
        let why = standing::elsewhere(&site.deployments, name)?;
        Ok(why.filter(|why| !(self.adopts && matches!(why, Elsewhere::OtherStorage(_)))))
    }
}

/// Finds containers, in one pass over each directory.
pub fn find(deployments: &Deployments) -> Result<Found> {
    let mut found = Found::default();
    for (_, entry) in deployments.entries()? {
        let Some(name) = entry.container().cloned() else { continue };
        match entry {
            Entry::State(_) => {
                found.states.insert(name);
            }
            Entry::Scratch(_) | Entry::Forgotten(..) => {}
            entry => {
                if entry.is_temporary() {
                    found.temporary.insert(name.clone());
                }
                found.in_var.insert(name);
            }
        }
    }
    found.storage = storage(deployments, !found.in_var.is_empty())?;
    found.names.clone_from(&found.in_var);
    found.names.extend(deployments.names_of_system()?);
    found.stale = stale::names(deployments.root())?.into_iter().collect();
    for entry in files::names(&deployments.root().join(ATTACHED))? {
        let name = entry.strip_suffix(".json").and_then(|stem| stem.parse().ok());
        found.names.extend(name);
    }
    Ok(found)
}
