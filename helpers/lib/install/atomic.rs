//! Installations made by Project Atomic's `atomic install --system`: they run as they are, and their first update takes
//! them over.
//!
//! Atomic's unit is in /etc/systemd/system, with a copy in the deployment. If it differs from that copy, the user
//! changed it.

use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::container::derived;
use crate::container::info::Info;
use crate::container::info::Values;
use crate::error::{Error, Result};
use crate::image::variables;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::paths::{Root, TreePath};
use crate::system::files;
use crate::system::systemd::manager::Enablement;

/// Where Atomic put units.
const UNITS: &str = "/etc/systemd/system";
/// Variables that Atomic set itself: it recorded their values, but these are not the user's.
const BUILT_IN: [&str; 4] = ["ALL_PROCESS_CAPABILITIES", "RUNTIME", "ATOMIC", "UUID"];

/// The values that the user seems to have set: those that are neither defaults of the image nor built in.
pub fn user_values(info: &Info, defaults: &Values) -> Values {
    let run_directory = info.values.get("RUN_DIRECTORY").map_or("", String::as_str);
    let name = info.values.get("NAME").map_or("", String::as_str);
    let is_default = |key: &str, value: &str| {
        BUILT_IN.contains(&key)
            || variables::is_forced(key)
            || defaults.get(key).is_some_and(|default| default == value)
            || variables::DIRECTORIES.contains(&(key, value))
            || key == "PIDFILE" && value == variables::pid_file(run_directory, name)
    };
    let set = info.values.iter().filter(|(key, value)| !is_default(key, value));
    set.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Finds the deployment that Atomic made current: the one whose unit is on the host or, if that unit was changed or
/// removed, the latest one.
pub fn find(deployments: &Deployments, all: &[Deployment]) -> Option<(Deployment, Info)> {
    let read = |deployment: &Deployment| Some((deployment.clone(), deployments.info(deployment).ok()?));
    let made: Vec<_> = all.iter().rev().filter_map(read).filter(|(_, info)| info.is_from_atomic()).collect();
    let has_unit = |deployment: &Deployment| {
        let (unit, copy) = &files_of(deployments, deployment)[0];
        unit.exists() && is_unchanged(unit, copy).unwrap_or(false)
    };
    made.iter().find(|(deployment, _)| has_unit(deployment)).or(made.first()).cloned()
}

/// Refuses to take over a deployment whose files the user has changed.
pub fn check(deployments: &Deployments, deployment: &Deployment, replace_unit: bool) -> Result<()> {
    for (path, copy) in files_of(deployments, deployment) {
        if !replace_unit && !is_unchanged(&path, &copy)? {
            return Err(Error::new(format!(
                "cannot take over {}: {} was changed since it was installed; keep the changes in a drop-in, and then replace it with --replace-unit",
                deployment.name(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// Removes the unit, its links and the tmpfiles.d(5) file of Atomic's, once ours are in place. Returns whether there
/// were any.
pub fn retire(site: &Site, deployment: &Deployment) -> Result<bool> {
    let (root, name) = (site.root(), deployment.name());
    let outdated = outdated(&site.deployments, deployment)?;
    for path in &outdated {
        if is_unit(root, name, path) {
            site.manager.set_enablement(&[name.unit()], Enablement::Disable)?;
        }
        files::remove(path)?;
        path.parent().map_or(Ok(()), files::sync_directory)?;
    }
    Ok(!outdated.is_empty())
}

/// The files that [`retire`] removes.
pub fn outdated(deployments: &Deployments, deployment: &Deployment) -> Result<Vec<PathBuf>> {
    let (name, mut outdated) = (deployment.name(), Vec::new());
    for (path, copy) in files_of(deployments, deployment) {
        let is_outdated = if is_unit(deployments.root(), name, &path) {
            path.is_file() && !derived::is_stub(&path, name)?
        } else {
            path.exists() && is_unchanged(&path, &copy)?
        };
        if is_outdated {
            outdated.push(path);
        }
    }
    Ok(outdated)
}

/// Whether `path` is where Atomic put the unit of the container.
pub fn is_unit(root: &Root, name: &Name, path: &Path) -> bool {
    path == root.join(&TreePath::from(UNITS).join(name.unit()))
}

/// The files outside of a deployment, each with the copy in it.
fn files_of(deployments: &Deployments, deployment: &Deployment) -> [(PathBuf, PathBuf); 2] {
    let (root, name, copies) = (deployments.root(), deployment.name(), deployments.path_of(deployment));
    [
        (root.join(&TreePath::from(UNITS).join(name.unit())), copies.join(name.unit())),
        (root.join(&derived::tmpfiles(name)), copies.join(derived::tmpfiles_in_deployment(name))),
    ]
}

/// Whether a file is the same as its copy; one that does not exist counts as unchanged.
fn is_unchanged(path: &Path, copy: &Path) -> Result<bool> {
    let found = files::read_if_exists(path)?;
    Ok(found.is_none() || found == files::read_if_exists(copy)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_user_values_from_defaults() {
        let values = [
            ("PORT", "8081"),
            ("RECEIVER", "me"),
            ("RUN_DIRECTORY", "/run"),
            ("STATE_DIRECTORY", "/srv"),
            ("PIDFILE", "/run/container-x.pid"),
            ("NAME", "x"),
            ("UUID", "1"),
            ("EXEC_START", "/usr/bin/runc run 'x'"),
        ];
        let values: Values = values.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let info: Info = serde_json::from_value(serde_json::json!({ "values": values })).unwrap();
        let defaults = Values::from([("PORT".into(), "8081".into()), ("RECEIVER".into(), "World".into())]);
        let set: Vec<_> = user_values(&info, &defaults).into_iter().collect();
        assert_eq!(set, [("RECEIVER".into(), "me".into()), ("STATE_DIRECTORY".into(), "/srv".to_owned())]);
    }
}
