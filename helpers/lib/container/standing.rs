//! Whether the directory of deployments is the one that a container was installed in. Only then does it mean anything that a
//! deployment, or the link to one, is not there: a file system may not be mounted, another disk may be in its place, and the
//! environment may name another directory.

use std::fmt;
use std::path::Path;

use crate::container::deployment::Deployments;
use crate::container::registration::{self, Registration};
use crate::container::storage::{self, Storage};
use crate::container::{derived, identity};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::paths::{self, DEPLOYMENTS, DEPLOYMENTS_VARIABLE, Root, TreePath};

/// Why the directory of deployments is not the one that a container was installed in: whatever it has, or has not, says
/// nothing of the container. The texts are clauses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The environment names another directory.
    OtherDirectory(String),
    /// The file system is not mounted.
    NotMounted(String),
    /// Another one is in its place.
    OtherStorage(String),
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elsewhere::OtherDirectory(why) | Elsewhere::NotMounted(why) | Elsewhere::OtherStorage(why) => {
                f.write_str(why)
            }
        }
    }
}

/// Judges that; `None` if the directory is the right one, as far as can be known.
pub fn elsewhere(deployments: &Deployments, name: &Name) -> Result<Option<Elsewhere>> {
    let registration = registration::read(deployments.root(), name, &derived::registration(name));
    // One that cannot be read says nothing.
    let Some(registration) = registration.ok().flatten() else { return Ok(None) };
    if registration.is_preinstalled() || deployments.are_of_system() {
        return Ok(None);
    }
    if registration.directory != *deployments.directory() {
        return Ok(Some(Elsewhere::OtherDirectory(other_directory(&registration, deployments))));
    }
    let Some(storage) = &registration.storage else { return Ok(None) };
    let found = identity::read(&deployments.path(""))?;
    if found.as_ref() == Some(&storage.id) {
        return Ok(None);
    }
    let has_entries = deployments.has_entries(name)?;
    if has_entries && found.is_none() {
        // Whoever copied it left that file behind.
        return Ok(None);
    }
    if let Some(why) = not_mounted(deployments, storage, name)? {
        return Ok(Some(Elsewhere::NotMounted(why)));
    }
    // Where there is nothing, it was emptied, as by a factory reset.
    Ok(has_entries.then(|| Elsewhere::OtherStorage(other_storage(deployments.directory()))))
}

/// Fails if the directory of deployments is not the one that a container was installed in.
pub fn check(deployments: &Deployments, name: &Name) -> Result<()> {
    elsewhere(deployments, name)?.map_or(Ok(()), |why| Err(Error::new(why.to_string())))
}

/// Fails if the directory of deployments has another identity than it had when a container was registered. For a start, at which
/// systemd has made sure that the deployment is there.
pub fn check_identity(root: &Root, registration: &Registration) -> Result<()> {
    let Some(storage) = &registration.storage else { return Ok(()) };
    match identity::read(&root.join(&registration.directory))? {
        Some(found) if found != storage.id => Err(Error::new(other_storage(&registration.directory))),
        _ => Ok(()),
    }
}

fn other_directory(registration: &Registration, deployments: &Deployments) -> String {
    let (directory, own) = (&registration.directory, deployments.directory());
    let remedy = if directory.as_path() == Path::new(DEPLOYMENTS) {
        format!("unset {DEPLOYMENTS_VARIABLE}")
    } else {
        format!("set {DEPLOYMENTS_VARIABLE}={directory}")
    };
    format!("it is installed in {directory}, not in {own}; {remedy}")
}

fn other_storage(directory: &TreePath) -> String {
    format!(
        "{} is not the directory that it was installed in, but another one in its place; mount that one, or have this one taken for it with '{} --adopt'",
        directory,
        paths::helper("syscontainer-reconcile")
    )
}

/// Why the file system of a container is not there, if so.
fn not_mounted(deployments: &Deployments, storage: &Storage, name: &Name) -> Result<Option<String>> {
    let (Some(expected), true) = (&storage.mount, deployments.root().is_host()) else { return Ok(None) };
    // If a symlink leads to the directory, what that leads to may not be there.
    let path = deployments.path("").canonicalize().unwrap_or_else(|_| storage.path.as_path().to_owned());
    if storage::mount_point(&path)?.is_some_and(|point| point == expected.as_path()) {
        return Ok(None);
    }
    Ok(Some(format!(
        "it is installed in {}, on the file system at {expected}, which is not mounted; mount that, or remove the unit with 'syscontainer-remove {name}'",
        storage.path
    )))
}
