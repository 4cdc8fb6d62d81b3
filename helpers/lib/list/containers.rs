//! The list of containers: what is installed, what systemd says about it, and what is wrong with it.
//!
//! A broken container does not keep the others from being shown: it gets a row with its problem.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::container::deployment::{self, Deployments, Info};
use crate::container::registration;
use crate::container::state::State;
use crate::error::{Error, Result};
use crate::install::recovery;
use crate::install::register;
use crate::name::Name;
use crate::store::Store;
use crate::system::files;
use crate::system::systemd::{self, UnitState};

/// A container, or something that is in the way of one; the fields are the JSON keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ContainerRow {
    /// Its name, or that of a file that belongs to no container.
    pub name: String,
    /// State of its unit, as `active (running)`; `no service` if it has no unit, and empty if systemd is not running.
    pub state: String,
    /// Name of its current deployment.
    pub deployment: Option<String>,
    /// The image that the deployment was made of.
    pub image: Option<String>,
    /// Digest of the image's manifest.
    pub digest: Option<String>,
    /// Time of the last change of state, as systemd writes it.
    pub since: Option<String>,
    /// Digest of its image in the store, if that is a different one.
    pub pending: Option<String>,
    /// Name of the deployment that is staged for the next switch.
    pub staged: Option<String>,
    /// Whether updates skip it.
    pub held: bool,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// Lists all containers by name, and then files that belong to no container.
pub fn list(deployments: &Deployments, store: Option<&Store>) -> Result<Vec<ContainerRow>> {
    let found = recovery::find(deployments)?;
    let names: BTreeSet<Name> = found.names.into_iter().filter(|name| exists(deployments, name)).collect();
    let states = systemd::states(deployments.root(), &names)?;
    let mut rows: Vec<ContainerRow> =
        names.iter().map(|name| row(deployments, store, name, &states)).collect();
    for entry in files::names(&deployments.path(""))? {
        if let Some(problem) = problem_of_entry(deployments, &entry).map(str::to_owned) {
            rows.push(ContainerRow { name: entry, problems: vec![problem], ..ContainerRow::default() });
        }
    }
    Ok(rows)
}

/// What is wrong with an entry of the directory, if it belongs to no container.
fn problem_of_entry(deployments: &Deployments, entry: &str) -> Option<&'static str> {
    if entry.starts_with('.') {
        return None;
    }
    if deployment::owner(entry).is_none() {
        return Some("it is not the name of a container or a deployment");
    }
    if deployment::is_called_so(entry) && !deployments.is_deployment(entry) {
        return Some("it is not a deployment, though its name has the form of one; remove it by hand");
    }
    None
}

/// Whether there is a container of this name. Lock files and leftovers of a removed container do not count.
fn exists(deployments: &Deployments, name: &Name) -> bool {
    let path = deployments.path(name.as_str());
    path.is_symlink()
        || path.exists()
        || deployments.all(name).is_ok_and(|(all, temporary)| !all.is_empty() || !temporary.is_empty())
        || register::is_there(deployments.root(), name)
}

fn row(
    deployments: &Deployments,
    store: Option<&Store>,
    name: &Name,
    states: &BTreeMap<String, UnitState>,
) -> ContainerRow {
    let mut row = ContainerRow { name: name.to_string(), ..ContainerRow::default() };
    let unit = states.get(&name.unit());
    row.state = unit.map(UnitState::to_string).unwrap_or_default();
    row.since = unit.and_then(|unit| unit.since.clone());
    match deployments.current(name) {
        Err(e) => row.problems.push(e.to_string()),
        Ok(None) => row
            .problems
            .push("it has no current deployment; an installation or removal was interrupted".into()),
        Ok(Some(current)) => match deployments.info(&current) {
            Err(e) => {
                row.problems.push(e.to_string());
                row.deployment = Some(current);
            }
            Ok(info) => describe(&mut row, deployments, store, name, current, info),
        },
    }
    match State::load(deployments, name) {
        Ok(state) => describe_updates(&mut row, deployments, &state),
        Err(e) => row.problems.push(e.to_string()),
    }
    row.problems.extend(recovery::staleness(deployments.root(), name).map(|why| why.to_string()));
    row
}

fn describe_updates(row: &mut ContainerRow, deployments: &Deployments, state: &State) {
    row.staged =
        state.staged(deployments).map(str::to_owned).filter(|staged| row.deployment.as_ref() != Some(staged));
    row.held = state.hold;
    if let Some(switch) = &state.switch {
        row.problems.push(format!("a switch to {} is under way, or was interrupted", switch.to));
    }
    let failed = state.bad.iter().find(|bad| row.pending.as_ref() == Some(&bad.digest));
    row.problems.extend(failed.map(|bad| format!("the pending image failed before: {}", bad.reason)));
}

fn describe(
    row: &mut ContainerRow,
    deployments: &Deployments,
    store: Option<&Store>,
    name: &Name,
    current: String,
    info: Info,
) {
    let digest =
        if info.is_of_original() { format!("sha256:{}", info.revision) } else { info.digest.clone() };
    let in_store = store.and_then(|store| store.find(&info.image).ok());
    row.pending = in_store.map(|image| image.digest.to_string()).filter(|found| *found != digest);
    if !info.has_container_service {
        row.state = "no service".into();
    }
    if !info.is_of_original() {
        row.problems.extend(problem_of_registration(deployments, name, &current));
    }
    row.deployment = Some(current);
    row.image = Some(info.image);
    row.digest = Some(digest);
}

fn problem_of_registration(deployments: &Deployments, name: &Name, current: &str) -> Option<String> {
    let repair = "'systemctl restart syscontainers-reconcile.service' repairs that";
    match registration::find(deployments.root(), name) {
        Ok(Some((_, registration))) if registration.deployment == current => None,
        Ok(Some((path, registration))) => Some(format!(
            "{} describes deployment {}, not {current}; {repair}",
            path.display(),
            registration.deployment
        )),
        Ok(None) => Some(format!("it is not registered, or masked; {repair}")),
        Err(e) => Some(format!("{e}; {repair}")),
    }
}

/// A condition on containers: `--filter=KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    key: Key,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    State,
    Image,
    Digest,
    Problem,
}

impl std::str::FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter> {
        let usage = || Error::usage("expected KEY=VALUE, where KEY is name, state, image, digest or problem");
        let (key, value) = text.split_once('=').ok_or_else(usage)?;
        let key = match key {
            "name" => Key::Name,
            "state" => Key::State,
            "image" => Key::Image,
            "digest" => Key::Digest,
            "problem" => Key::Problem,
            _ => return Err(usage()),
        };
        Ok(Filter { key, value: value.to_owned() })
    }
}

impl Filter {
    /// Whether the value is part of what a row has for the key.
    pub fn accepts(&self, row: &ContainerRow) -> bool {
        let has = |text: &str| text.contains(&self.value);
        match self.key {
            Key::Name => has(&row.name),
            Key::State => has(&row.state),
            Key::Image => row.image.as_deref().is_some_and(has),
            Key::Digest => row.digest.as_deref().is_some_and(has),
            Key::Problem => row.problems.iter().any(|problem| has(problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let row = ContainerRow {
            name: "web".into(),
            state: "active (running)".into(),
            problems: vec!["odd".into()],
            ..ContainerRow::default()
        };
        for (text, accepted) in [
            ("name=we", true),
            ("name=x", false),
            ("state=running", true),
            ("image=x", false),
            ("problem=", true),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap().accepts(&row), accepted, "{text}");
        }
        for text in ["", "name", "colour=x"] {
            assert!(text.parse::<Filter>().unwrap_err().is_usage());
        }
    }
}
