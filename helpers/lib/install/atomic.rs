//! Installations made by Project Atomic's `atomic install --system`: they run as they are, and are taken over by their first
//! update.
//!
//! Its unit lies in /etc/systemd/system, with a copy in the deployment. A unit that is not as that copy was changed by the user.

use std::fs;
use std::path::{Path, PathBuf};

use crate::container::deployment::{Deployments, Info};
use crate::error::{Context, Error, Result};
use crate::image::installation::Values;
use crate::image::variables;
use crate::install::register;
use crate::name::Name;
use crate::paths::{Root, TMPFILES};
use crate::system::files;
use crate::system::systemd;

/// Where it put units.
const UNITS: &str = "/etc/systemd/system";
/// Variables that it had no defaults of the image for, and of which it never recorded what the user said.
const BUILT_IN: [&str; 4] = ["ALL_PROCESS_CAPABILITIES", "RUNTIME", "ATOMIC", "UUID"];

/// The values that the user seems to have set: those that are no defaults of the image they were installed from.
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

/// The deployment of a container that the original made current, if there is one: its unit is the one on the host. Where
/// that was changed or removed, the one that was made last.
pub fn find(deployments: &Deployments, name: &Name, all: &[String]) -> Option<(String, Info)> {
    let read = |deployment: &String| Some((deployment.clone(), deployments.info(deployment).ok()?));
    let made: Vec<_> = all.iter().rev().filter_map(read).filter(|(_, info)| info.is_of_original()).collect();
    let has_unit = |deployment: &str| {
        let (unit, copy) = &files_of(deployments, name, deployment)[0];
        unit.exists() && is_unchanged(unit, copy).unwrap_or(false)
    };
    made.iter().find(|(deployment, _)| has_unit(deployment)).or(made.first()).cloned()
}

/// Refuses to take over what the user has changed.
pub fn check(deployments: &Deployments, name: &Name, deployment: &str, replace_unit: bool) -> Result<()> {
    for (path, copy) in files_of(deployments, name, deployment) {
        if !replace_unit && !is_unchanged(&path, &copy)? {
            return Err(Error::new(format!(
                "cannot take over {name}: {} was changed since it was installed; keep the changes in a drop-in, and then replace it with --replace-unit",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Removes unit, links and tmpfiles that the original made: those of a deployment of ours are there.
pub fn retire(deployments: &Deployments, name: &Name, deployment: &str) -> Result<bool> {
    let root = deployments.root();
    let outdated = outdated(deployments, name, deployment)?;
    for path in &outdated {
        if is_unit(root, name, path) {
            systemd::disable(root, name)?;
        }
        remove(path)?;
        path.parent().map_or(Ok(()), files::sync_directory)?;
    }
    Ok(!outdated.is_empty())
}

/// What [`retire`] removes.
pub fn outdated(deployments: &Deployments, name: &Name, deployment: &str) -> Result<Vec<PathBuf>> {
    let mut outdated = Vec::new();
    for (path, copy) in files_of(deployments, name, deployment) {
        let goes = match is_unit(deployments.root(), name, &path) {
            true => path.is_file() && !register::is_stub(&path, name)?,
            false => path.exists() && is_unchanged(&path, &copy)?,
        };
        if goes {
            outdated.push(path);
        }
    }
    Ok(outdated)
}

/// Whether a file is where the original put units.
pub fn is_unit(root: &Root, name: &Name, path: &Path) -> bool {
    path == root.join(UNITS).join(name.unit())
}

/// Its files outside of the deployment, each with the copy in it.
fn files_of(deployments: &Deployments, name: &Name, deployment: &str) -> [(PathBuf, PathBuf); 2] {
    let (root, copies) = (deployments.root(), deployments.path(deployment));
    [
        (root.join(UNITS).join(name.unit()), copies.join(name.unit())),
        (root.join(TMPFILES).join(format!("{name}.conf")), copies.join(register::tmpfiles_name(name))),
    ]
}

/// A file that is not there is as good as one that is unchanged.
fn is_unchanged(path: &Path, copy: &Path) -> Result<bool> {
    let read = |path: &Path| match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some).context(|| format!("cannot read {}", path.display())),
    };
    let found = read(path)?;
    Ok(found.is_none() || found == read(copy)?)
}

fn remove(path: &Path) -> Result<bool> {
    files::remove_file(path).context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_was_set_from_defaults() {
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
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let info = Info { values, ..Info::default() };
        let defaults = Values::from([("PORT".into(), "8081".into()), ("RECEIVER".into(), "World".into())]);
        let set: Vec<_> = user_values(&info, &defaults).into_iter().collect();
        assert_eq!(set, [("RECEIVER".into(), "me".into()), ("STATE_DIRECTORY".into(), "/srv".to_owned())]);
    }
}
