//! Brings containers back into one of their two good states, installed or not there, whatever happened meanwhile: a program
//! was killed half-way, power failed, /etc is from another time than /var.
//!
//! Every program that changes a container first calls [`recover`] for it; syscontainer-reconcile does so for all, at boot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::container::deployment::{self, Deployments};
use crate::container::registration;
use crate::container::state;
use crate::error::{Context, Error, Result};
use crate::host_files;
use crate::install::atomic;
use crate::install::register;
use crate::name::Name;
use crate::paths::{ATTACHED, Root, STALE};
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::system::files;
use crate::system::journal::{self, Event, Subject};
use crate::system::lock;
use crate::system::systemd;

/// What [`recover`] or [`reconcile`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Units are others than before: systemd has to load them again.
    pub changed: bool,
    /// There was no unit and no registration before, and now there are.
    pub created: bool,
}

/// Brings a container into a good state; the caller holds its lock.
///
/// The symlink decides: with it, registration, stub and tmpfiles are those of its deployment; without it, there are none,
/// and no deployment either. Temporary directories go.
pub fn recover(deployments: &Deployments, name: &Name) -> Result<Recovered> {
    let what = || format!("cannot recover {name}");
    let (all, temporary) = deployments.all(name).context(what)?;
    for path in temporary {
        files::remove_tree(&path).context(what)?;
    }
    let had_link = deployments.path(name.as_str()).is_symlink();
    let current = deployments.current(name).context(what)?;
    if let Some(current) = current.filter(|current| all.contains(current)) {
        if deployments.info(&current).is_ok_and(|info| info.is_of_original()) {
            // Nothing of it is derived.
            return Ok(Recovered::default());
        }
        return register(deployments, name, &current).context(what);
    }
    if let Some(running) = runs_without_link(deployments, name, had_link, &all)? {
        // Nothing of ours removes the link before the service is stopped.
        log::warning(&format!(
            "the link {name} is gone, though the service runs from {running}; making it again"
        ));
        deployments.switch(name, &running).context(what)?;
        return register(deployments, name, &running).context(what);
    }
    match all.last().filter(|_| had_link) {
        // The current one is gone, by nothing that these programs do. What is left is better than nothing.
        Some(newest) => {
            deployments.switch(name, newest).context(what)?;
            register(deployments, name, newest).context(what)
        }
        None => {
            if had_link {
                deployments.detach(name).context(what)?;
            }
            let mut changed = register::unregister(deployments.root(), name).context(what)?;
            state::forget(deployments, name).context(what)?;
            if let Some((deployment, _)) = atomic::find(deployments, name, &all) {
                changed |= atomic::retire(deployments, name, &deployment).context(what)?;
            }
            remove_host_files(deployments, name, &all).context(what)?;
            for deployment in all {
                deployments.remove(&deployment).context(what)?;
            }
            files::remove_tree(&deployments.scratch(name)).context(what)?;
            Ok(Recovered { changed: unmark(deployments.root(), name)? || changed, created: false })
        }
    }
}

/// Says what [`recover`] removes for want of a link.
pub fn announce(deployments: &Deployments, name: &Name) -> Result<()> {
    let has_link = deployments.path(name.as_str()).is_symlink();
    let (all, _) = deployments.all(name)?;
    if !has_link && !all.is_empty() && runs_without_link(deployments, name, has_link, &all)?.is_none() {
        log::info(&format!(
            "removing what is left of {name}, which has no link to a deployment: {}",
            all.join(", ")
        ));
    }
    Ok(())
}

fn runs_without_link(
    deployments: &Deployments,
    name: &Name,
    had_link: bool,
    all: &[String],
) -> Result<Option<String>> {
    let root = deployments.root();
    if had_link || !root.is_host() || !register::is_there(root, name) {
        return Ok(None);
    }
    let running = Bundle::new(name).deployment()?.filter(|running| all.contains(running));
    Ok(if running.is_some() && systemd::is_active(root, name)? { running } else { None })
}

/// Before deployments go: only they know of them.
fn remove_host_files(deployments: &Deployments, name: &Name, all: &[String]) -> Result<()> {
    let mut infos = Vec::new();
    for deployment in all {
        match deployments.info(deployment) {
            Ok(info) => infos.push(info),
            Err(e) => {
                log::warning(&format!("{e}; what {deployment} has for the host counts as its files there"));
                infos.push(host_files::guess(deployments, deployment)?);
            }
        }
    }
    host_files::remove(deployments, name, &infos.iter().collect::<Vec<_>>(), None)
}

fn register(deployments: &Deployments, name: &Name, deployment: &str) -> Result<Recovered> {
    let was_there = register::is_there(deployments.root(), name);
    let changed = register::register(deployments, name, deployment)?;
    if changed {
        tell(deployments, name, deployment);
    }
    Ok(Recovered { changed: unmark(deployments.root(), name)? || changed, created: !was_there })
}

fn tell(deployments: &Deployments, name: &Name, deployment: &str) {
    let info = deployments.info(deployment).unwrap_or_default();
    let (image, digest) = (info.image.as_str(), info.digest.as_str());
    let subject = Subject { name: Some(name), image, digest, deployment, ..Subject::default() };
    let message = format!("made the unit of {name} again, from its current deployment");
    journal::tell(deployments.root(), Event::Mended, subject, &message);
}

/// Enables a container whose unit was made again, as it was installed: what became of it since is lost with the links in /etc.
pub fn enable(deployments: &Deployments, name: &Name) -> Result<()> {
    let Some(current) = deployments.current(name)? else { return Ok(()) };
    if deployments.info(&current)?.enabled && register::is_installable(deployments.root(), name)? {
        systemd::enable(deployments.root(), name)?;
    }
    Ok(())
}

/// As [`recover`], but leaves healthy containers alone after a glance, and removes no unit only because its deployments are
/// not there: they may be on a /var that was not mounted. Such a unit then says so.
pub fn reconcile(deployments: &Deployments, name: &Name, found: &Found) -> Result<Recovered> {
    if !found.in_var.contains(name) {
        let changed = mark(deployments, name)?;
        return Ok(Recovered { changed, created: false });
    }
    let is_odd = found.temporary.contains(name) || found.stale.contains(name);
    if !is_odd && register::is_current(deployments, name) {
        return Ok(Recovered::default());
    }
    let _lock = lock::container(deployments.root(), name)?;
    let _host_files = lock::host_files(deployments.root())?;
    announce(deployments, name)?;
    recover(deployments, name)
}

/// Names of containers that something is there of.
#[derive(Debug, Default)]
pub struct Found {
    /// All.
    pub names: BTreeSet<Name>,
    /// Those with a symlink, a deployment or a temporary directory.
    in_var: BTreeSet<Name>,
    /// Those with a temporary directory.
    temporary: BTreeSet<Name>,
    /// Those whose deployments were gone before.
    stale: BTreeSet<Name>,
    /// Those with a [`state::State`], which may hold a switch that is not over.
    pub states: BTreeSet<Name>,
}

/// Looks for containers, in one pass over each directory.
pub fn find(deployments: &Deployments) -> Result<Found> {
    let mut found = Found::default();
    for entry in files::names(&deployments.path(""))? {
        found.states.extend(state::owner(&entry));
        let is_temporary = entry.starts_with('.');
        if let Some(name) = deployment::owner(&entry) {
            if is_temporary {
                found.temporary.insert(name.clone());
            }
            found.in_var.insert(name);
        }
    }
    found.names.clone_from(&found.in_var);
    let stale = files::names(&deployments.root().join(STALE))?;
    found.stale = stale.iter().filter_map(|name| name.parse().ok()).collect();
    for entry in files::names(&deployments.root().join(ATTACHED))? {
        let name = entry.strip_suffix(".json").and_then(|stem| stem.parse().ok());
        found.names.extend(name);
    }
    Ok(found)
}

/// Notes that a registration's deployments are gone, for the generator, which does not look for them. Tells whether this
/// is new.
fn mark(deployments: &Deployments, name: &Name) -> Result<bool> {
    let root = deployments.root();
    let path = Path::new(ATTACHED).join(format!("{name}.json"));
    // What cannot be read is the generator's to tell.
    let Ok(Some(registration)) = registration::read(root, name, &path) else { return Ok(false) };
    if registration.directory != deployments.directory() {
        return Ok(false);
    }
    let reason = format!(
        "deployment {} is not in {}; check image {} out again, or remove this file",
        registration.deployment,
        registration.directory.display(),
        registration.image
    );
    let text = fs::read_to_string(root.join(&path)).unwrap_or_default();
    let line = text.lines().position(|line| line.trim_start().starts_with("\"deployment\""));
    let note = format!("{}:{}: {reason}\n", path.display(), line.map_or(1, |line| line + 1));
    let file = root.join(STALE).join(name.as_str());
    if fs::read(&file).is_ok_and(|old| old == note.as_bytes()) {
        return Ok(false);
    }
    files::make_directory(&root.join(STALE), 0o700)?;
    files::replace_volatile(&file, note.as_bytes(), 0o600)?;
    Ok(true)
}

fn unmark(root: &Root, name: &Name) -> Result<bool> {
    let file = root.join(STALE).join(name.as_str());
    let was_there = files::remove_file(&file).context(|| format!("cannot remove {}", file.display()))?;
    if was_there {
        // Others may be in there.
        let _ = fs::remove_dir(root.join(STALE));
    }
    Ok(was_there)
}

/// Why the registration of a container is stale, as [`reconcile`] noted it.
pub fn staleness(root: &Root, name: &Name) -> Option<Error> {
    let note = fs::read_to_string(root.join(STALE).join(name.as_str())).ok()?;
    Some(Error::new(note.trim_end().to_owned()))
}
