//! Containers whose declarations are gone: they stay until somebody removes them.

use std::io::ErrorKind;
use std::path::Path;

use crate::container::deployment::Deployments;
use crate::container::registration;
use crate::container::state::State;
use crate::declaration::files;
use crate::error::{Context, Result};
use crate::install::recovery;
use crate::install::remover::{self, Options};
use crate::install::site::Site;
use crate::name::Name;
use crate::paths::{DECLARATIONS, Root, TreePath};
use crate::system::systemd::links;
use crate::system::{lock, tree};

/// Whether a declaration that was applied is gone. It may have been one of the host's, or a file elsewhere.
pub fn is_gone(root: &Root, name: &Name, path: &TreePath) -> Result<bool> {
    let is_of_host = DECLARATIONS.iter().any(|directory| path.parent() == Some(TreePath::from(*directory)));
    if files::find(root, name)?.is_some() {
        return Ok(false);
    }
    if is_of_host {
        // The file system that declarations are on may not be mounted. Then registrations are not there, either.
        return Ok(registration::find(root, name)?.is_some());
    }
    // Not where a link leads on this host.
    let Ok(file) = tree::place(root, path) else { return Ok(false) };
    let is_missing = file.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound);
    Ok(is_missing && file.parent().is_some_and(Path::is_dir))
}

/// The declaration of a container that is installed, if it was applied once, and is gone.
pub fn declaration(deployments: &Deployments, name: &Name) -> Result<Option<TreePath>> {
    if deployments.current(name)?.is_none() {
        return Ok(None);
    }
    let Some(declared) = State::load(deployments, name)?.declared else { return Ok(None) };
    Ok(is_gone(deployments.root(), name, &declared.path)?.then_some(declared.path))
}

/// All containers whose declarations are gone, with what these were. One of which that cannot be found out is left out.
pub fn all(site: &Site) -> Result<Vec<(Name, TreePath)>> {
    let found = recovery::find(&site.deployments)?;
    let gone = found.names.into_iter().filter_map(|name| {
        let path = declaration(&site.deployments, &name).ok()??;
        Some((name, path))
    });
    Ok(gone.collect())
}

/// Removes such a container. What it wrote is kept, and what came with the operating system stays, as if it had never been
/// declared.
pub fn remove(site: &Site, name: &Name) -> Result<()> {
    let what = || format!("cannot remove {name}");
    let _container = lock::container(site.root(), name).context(what)?;
    // It may have been declared again.
    if declaration(&site.deployments, name).context(what)?.is_none() {
        return Ok(());
    }
    if site.deployments.current(name)?.is_some_and(|current| site.deployments.came_with_system(&current)) {
        let mut state = State::load(&site.deployments, name).context(what)?;
        (state.declared, state.hold, state.keep, state.soak) = (None, false, None, None);
        links::disable_updates(site.root(), site.manager(), name).context(what)?;
        return state.save(&site.deployments, name).context(what);
    }
    let removed = {
        let _host_files = lock::host_files(site.root()).context(what)?;
        remover::remove(site, name, Options::default()).context(what)?
    };
    remover::finish(site, name, &removed.purged).context(what)?;
    removed.left.iter().for_each(|what| crate::program::log::info(&format!("left {what}")));
    Ok(())
}
