//! Containers that come with an operating system: everything is below /usr, so that neither what the host wrote nor a store or
//! a network is needed to run them.
//!
//! As elsewhere, the symlink decides: without it, what else is there is a rest, and is removed or made again.

use std::fs;

use crate::container::deployment::{Deployments, Found};
use crate::container::registration::Registration;
use crate::container::{derived, units};
use crate::error::{Context, Error, Result};
use crate::install::draft::Draft;
use crate::install::installer::Installer;
use crate::install::plan::{Planned, Planner};
use crate::install::register;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::paths::{PREINSTALLED, Root};
use crate::program::log;
use crate::system::files;
use crate::system::journal;
use crate::system::systemd::manager::Enablement;

/// What a preset of systemd says of a unit.
const COMMENT: &str = "# Of a system container that came with the operating system.\n";

/// Preinstalls one image as one container; the caller holds the lock of the container.
pub struct Preinstaller<'a> {
    /// What is installed, with [`Site::preinstalled`] and a tree whose checkouts share nothing with a store.
    pub planner: Planner<'a>,
}

impl Preinstaller<'_> {
    /// Makes the deployment and everything that belongs to it. A failure leaves nothing behind; the same command completes
    /// what was interrupted.
    pub fn install(&self) -> Result<()> {
        let Planner { site, name, image, .. } = self.planner;
        let deployments = &site.deployments;
        check_free(site, name)?;
        if let Some(current) = deployments.current(name)? {
            let info = deployments.info(&current)?;
            if !(Installer { planner: self.again() }).is_same(&info) {
                return Err(Error::new(format!(
                    "cannot preinstall {name}: it is preinstalled already, from {} (sha256:{}), or with other values; remove it first with 'syscontainer-remove', or choose another name with --name",
                    info.image, info.revision
                )));
            }
            self.finish(&current)?;
            log::info(&format!("{name} is preinstalled already"));
            return Ok(());
        }
        clear(site, name)?;
        deployments.create()?;
        let draft = Draft::new(deployments, Deployment::new(name, 0));
        let planned = self.planner.plan(&draft)?;
        check(&planned).context(|| format!("cannot preinstall {name}"))?;
        draft.make(self.planner.tree, &planned.content, planned.info.clone())?;
        let made = derive(site, &draft.deployment, !self.planner.options.no_enable)
            .and_then(|()| deployments.switch(&draft.deployment))
            .and_then(|()| self.finish(&draft.deployment));
        if let Err(e) = made {
            remove(site, name).context(|| format!("{e}; then it failed to remove what was made"))?;
            return Err(e);
        }
        log::info(&format!("preinstalled {name} from {}", journal::shown(&image.name, &image.digest)));
        planned.tell_of_image();
        Ok(())
    }

    fn again(&self) -> Planner<'_> {
        let Planner { site, tree, image, name, options, previous } = self.planner;
        Planner { site, tree, image, name, options, previous }
    }

    /// Each step may be repeated.
    fn finish(&self, deployment: &Deployment) -> Result<()> {
        let Planner { site, name, options, .. } = self.planner;
        derive(site, deployment, !options.no_enable)?;
        if register::is_installable(site.root(), name)? {
            site.manager.set_enablement(&[name.unit()], Enablement::Preset)?;
        }
        register::load(site, name)
    }
}

/// Refuses a name that something else of the system has, or that an installation in the tree has, which would hide it.
fn check_free(site: &Site, name: &Name) -> Result<()> {
    let (root, paths) = (site.root(), derived::of_system(name));
    let here = Deployments::new(root).link(name);
    if here.is_symlink() {
        return Err(Error::new(format!(
            "cannot preinstall {name}: it is installed in {}, and that would stay current; remove it first",
            here.display()
        )));
    }
    let is_ours = |path, is: fn(&std::path::Path, &Name) -> Result<bool>| {
        let file = root.join(path);
        if file.symlink_metadata().is_err() { Ok(true) } else { is(&file, name) }
    };
    for (path, is) in
        [(&paths.stub, derived::is_stub as fn(&_, &_) -> _), (&paths.tmpfiles, derived::is_tmpfiles)]
    {
        if !is_ours(path, is)? {
            return Err(Error::new(format!(
                "cannot preinstall {name}: {path} belongs to something else; choose another name with --name"
            )));
        }
    }
    Ok(())
}

/// Refuses what cannot be preinstalled.
fn check(planned: &Planned) -> Result<()> {
    if !planned.content.rendered.layout.files().is_empty() {
        // An update on the host could not change those below /usr, and others would not be there after a reset.
        return Err(Error::new(
            "its image brings files for the host (exports/hostfs); put these into the tree by other means, or use --plain",
        ));
    }
    if planned.registration.unit.is_none() {
        return Err(Error::new("its image has no service"));
    }
    Ok(())
}

/// Writes what is derived from a deployment, as far as it is not there already; the registration last.
fn derive(site: &Site, deployment: &Deployment, enabled: bool) -> Result<()> {
    let (root, deployments, name) = (site.root(), &site.deployments, deployment.name());
    let paths = derived::of_system(name);
    // A tree that travels has other inodes.
    let registration =
        Registration { storage: None, stamp: None, ..register::derive(deployments, deployment)? };
    registration.check_size().context(|| format!("cannot register {deployment}"))?;
    units::compose(&registration, &paths.registration)
        .context(|| format!("cannot convert {deployment}/{}", name.unit()))?;
    let verb = if enabled { "enable" } else { "disable" };
    let preset = format!("{COMMENT}{verb} {}\n", name.unit());
    let tmpfiles = deployments.read(deployment, &derived::tmpfiles_in_deployment(name))?;
    let mut files = vec![(&paths.stub, units::stub(&registration)?, 0o644), (&paths.preset, preset, 0o644)];
    files.extend(tmpfiles.map(|text| (&paths.tmpfiles, text, 0o644)));
    files.push((&paths.registration, registration.to_json(), 0o600));
    for (path, text, mode) in files {
        let file = root.join(path);
        // What is rendered may hold secrets.
        let closed = if mode == 0o600 { 0o700 } else { 0o755 };
        file.parent().map_or(Ok(()), |directory| files::make_directory(directory, closed))?;
        if !register::has(&file, &text) {
            files::replace(&file, text.as_bytes(), mode)?;
            file.parent().map_or(Ok(()), files::sync_directory)?;
        }
    }
    Ok(())
}

/// Whether anything of a container is preinstalled in a tree.
pub fn is_there(root: &Root, name: &Name) -> Result<bool> {
    let deployments = Deployments::preinstalled(root);
    let Found { deployments: all, leftovers } = deployments.all(name)?;
    let registration = root.join(&derived::of_system(name).registration);
    Ok(deployments.link(name).is_symlink()
        || !all.is_empty()
        || !leftovers.is_empty()
        || registration.exists())
}

/// Removes a container from the system in a tree; the caller holds its lock. What it wrote is in no such tree.
pub fn remove(site: &Site, name: &Name) -> Result<()> {
    if site.deployments.link(name).is_symlink() {
        site.deployments.detach(name)?;
    }
    clear(site, name)?;
    site.manager.reload()
}

/// Removes what is left of a container without a symlink.
fn clear(site: &Site, name: &Name) -> Result<()> {
    let (root, deployments, paths) = (site.root(), &site.deployments, derived::of_system(name));
    let (stub, tmpfiles) = (root.join(&paths.stub), root.join(&paths.tmpfiles));
    for path in [&paths.registration, &paths.stub, &paths.tmpfiles, &paths.preset] {
        files::remove(&files::temporary(&root.join(path)))?;
    }
    files::remove(&root.join(&paths.registration))?;
    if derived::is_stub(&stub, name)? {
        site.manager.set_enablement(&[name.unit()], Enablement::Disable)?;
        files::remove(&stub)?;
    }
    files::remove(&root.join(&paths.preset))?;
    if derived::is_tmpfiles(&tmpfiles, name)? {
        files::remove(&tmpfiles)?;
    }
    let Found { deployments: all, leftovers } = deployments.all(name)?;
    leftovers.iter().try_for_each(|path| files::remove_tree(path))?;
    all.iter().try_for_each(|deployment| deployments.remove(deployment))?;
    // Fails while there are others.
    let _ = fs::remove_dir(root.join(PREINSTALLED));
    Ok(())
}

#[cfg(test)]
mod tests;
