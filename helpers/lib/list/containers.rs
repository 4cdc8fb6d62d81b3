//! Containers as a list: what is installed, what systemd says of it, and what is wrong with it.
//!
//! Nothing that is broken keeps the rest from being shown: it is a row with its problem.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::container::deployment::{self, Deployments, Info};
use crate::container::registration;
use crate::container::state::State;
use crate::error::Result;
use crate::install::recovery;
use crate::name::Name;
use crate::store::Store;
use crate::system::files;
use crate::system::systemd::{self, UnitState};

/// A container, or what is in the place of one; the fields are the JSON keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Its name, or that of a file which is none's.
    pub name: String,
    /// What systemd says: `active (running)`; `no service` where there is no unit; empty where no systemd runs.
    pub state: String,
    /// Its current deployment.
    pub deployment: Option<String>,
    /// The image that this was made of.
    pub image: Option<String>,
    /// Digest of that image's manifest.
    pub digest: Option<String>,
    /// Since when it is in this state, as systemd writes it.
    pub since: Option<String>,
    /// The digest that its image has in the store now, if that is another one.
    pub pending: Option<String>,
    /// The deployment that is to be current next.
    pub staged: Option<String>,
    /// Whether it is left alone in updates.
    pub held: bool,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// All containers by name, then what is none.
pub fn list(deployments: &Deployments, store: Option<&Store>) -> Result<Vec<Row>> {
    let found = recovery::find(deployments)?;
    let names: BTreeSet<Name> = found.names.into_iter().filter(|name| is_one(deployments, name)).collect();
    let states = systemd::states(deployments.root(), &names)?;
    let mut rows: Vec<Row> = names.iter().map(|name| row(deployments, store, name, &states)).collect();
    for entry in files::names(&deployments.path(""))? {
        let problem = match deployment::owner(&entry) {
            _ if entry.starts_with('.') => None,
            None => Some("it is no name of a container or deployment"),
            Some(_) if deployment::is_called_so(&entry) && !deployments.is_deployment(&entry) => {
                Some("it is no deployment, though it is called so; remove it by hand")
            }
            Some(_) => None,
        };
        if let Some(problem) = problem.map(str::to_owned) {
            rows.push(Row { name: entry, problems: vec![problem], ..Row::default() });
        }
    }
    Ok(rows)
}

/// The lock files and leftovers of one that was removed are none.
fn is_one(deployments: &Deployments, name: &Name) -> bool {
    let path = deployments.path(name.as_str());
    path.is_symlink()
        || path.exists()
        || deployments.all(name).is_ok_and(|(all, temporary)| !all.is_empty() || !temporary.is_empty())
        || crate::install::register::is_there(deployments.root(), name)
}

fn row(
    deployments: &Deployments,
    store: Option<&Store>,
    name: &Name,
    states: &BTreeMap<String, UnitState>,
) -> Row {
    let mut row = Row { name: name.to_string(), ..Row::default() };
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

fn describe_updates(row: &mut Row, deployments: &Deployments, state: &State) {
    row.staged =
        state.staged(deployments).map(str::to_owned).filter(|staged| row.deployment.as_ref() != Some(staged));
    row.held = state.hold;
    if let Some(switch) = &state.switch {
        row.problems.push(format!("it is being switched to {}, or that was interrupted", switch.to));
    }
    let failed = state.bad.iter().find(|bad| row.pending.as_ref() == Some(&bad.digest));
    row.problems.extend(failed.map(|bad| format!("the image that is pending failed: {}", bad.reason)));
}

fn describe(
    row: &mut Row,
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
    let mend = "'systemctl restart syscontainers-reconcile.service' mends that";
    match registration::find(deployments.root(), name) {
        Ok(Some((_, registration))) if registration.deployment == current => None,
        Ok(Some((path, registration))) => Some(format!(
            "{} is of deployment {}, not {current}; {mend}",
            path.display(),
            registration.deployment
        )),
        Ok(None) => Some(format!("it is not registered, or masked; {mend}")),
        Err(e) => Some(format!("{e}; {mend}")),
    }
}

/// What `--filter=KEY=VALUE` is about.
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
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Filter> {
        let usage = || {
            crate::error::Error::usage(
                "expected KEY=VALUE, where KEY is name, state, image, digest or problem",
            )
        };
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
    /// Whether a row has the value, as a part.
    pub fn accepts(&self, row: &Row) -> bool {
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
        let row = Row {
            name: "web".into(),
            state: "active (running)".into(),
            problems: vec!["odd".into()],
            ..Row::default()
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
