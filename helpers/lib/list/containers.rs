//! The list of containers: what is installed, what systemd says about it, and what is wrong with it.
//!
//! A broken container does not prevent the others from being shown: it gets a row with its problem.

use serde::Serialize;

use crate::apply::gone;
use crate::container::deployment::Deployments;
use crate::container::entries::Entry;
use crate::container::info::Info;
use crate::container::settings::Settings;
use crate::container::state::State;
use crate::container::{derived, registration, stale, standing};
use crate::declaration::files;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Image, secrets};
use crate::install::recovery;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::run::bundle::Bundle;
use crate::run::written::Written;
use crate::store::Store;
use crate::system::systemd::status::UnitStatus;
use crate::update::availability::Updates;

/// A container, or something in the way of one; the fields are the JSON keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ContainerRow {
    /// Name of the container, or of a file that belongs to no container.
    pub name: String,
    /// State of the unit, like `active (running)`; `no service` if there is no unit, and empty if systemd is not
    /// running.
    pub state: String,
    /// Name of the current deployment.
    pub deployment: Option<String>,
    /// Whether the current deployment came with the operating system.
    pub preinstalled: bool,
    /// Name of the image that the deployment was made from.
    pub image: Option<String>,
    /// Digest of the image's manifest.
    pub digest: Option<Digest>,
    /// Time of the last change of state, RFC 3339.
    pub since: Option<String>,
    /// Digest of the image in the store that an update would take, if that is a different one.
    pub pending: Option<Digest>,
    /// Name of the deployment that is staged for the next switch.
    pub staged: Option<String>,
    /// Whether updates are held.
    pub held: bool,
    /// What the administrator set with `--option`, without values that are secret.
    pub options: Settings,
    /// How many bytes the payload has written to its root file system, which are forgotten when it ends; at least so
    /// many, if these are very many files.
    pub written: Option<u64>,
    /// What is wrong with the container.
    pub problems: Vec<String>,
}

/// Lists all containers by name, and then files that belong to no container.
pub fn list(site: &Site, store: Option<&Store>) -> Result<Vec<ContainerRow>> {
    let found = recovery::find(&site.deployments)?;
    let names: Vec<Name> = found.names.into_iter().filter(|name| exists(&site.deployments, name)).collect();
    let mut rows = Vec::new();
    for (name, status) in names.iter().zip(statuses(site, &names)?) {
        rows.push(row(&site.deployments, store, name, status));
    }
    for (file_name, entry) in site.deployments.entries()? {
        if let Some(problem) = problem_of_entry(&site.deployments, &file_name, &entry).map(str::to_owned) {
            rows.push(ContainerRow { name: file_name, problems: vec![problem], ..ContainerRow::default() });
        }
    }
    Ok(rows)
}

/// Finds out for each container how much its payload has written to its root file system.
pub fn add_written(site: &Site, rows: &mut [ContainerRow]) {
    for row in rows {
        let Ok(name) = row.name.parse::<Name>() else { continue };
        let bundle = Bundle::new(site.root(), &name);
        let scratch = site.deployments.entry(&Entry::Scratch(name));
        match Written::find(&scratch, bundle.directory()) {
            Ok(written) => row.written = written.map(|written| written.bytes),
            Err(e) => row.problems.push(e.to_string()),
        }
    }
}

/// The status of all units, from a single call of systemctl; none if systemd is not running.
fn statuses(site: &Site, names: &[Name]) -> Result<Vec<Option<UnitStatus>>> {
    if !site.manager.is_running() {
        return Ok(vec![None; names.len()]);
    }
    let units: Vec<String> = names.iter().map(Name::unit).collect();
    let mut found = site.manager.show(&units)?;
    let take = |unit: &String| {
        let index = found.iter().position(|status| status.id == *unit)?;
        Some(found.swap_remove(index))
    };
    Ok(units.iter().map(take).collect())
}

/// What is wrong with an entry of the directory, if it belongs to no container.
fn problem_of_entry(deployments: &Deployments, file_name: &str, entry: &Entry) -> Option<&'static str> {
    match entry {
        _ if file_name.starts_with('.') => None,
        Entry::Foreign => Some("it is not the name of a container or a deployment"),
        Entry::Deployment(deployment) if !deployments.is_deployment(deployment) => {
            Some("it is not a deployment, though its name has the form of one; remove it by hand")
        }
        _ => None,
    }
}

/// Whether there is a container of this name. Lock files and leftovers of a removed container do not count.
fn exists(deployments: &Deployments, name: &Name) -> bool {
    let link = deployments.link(name);
    let found = || deployments.all(name);
    link.is_symlink()
        || link.exists()
        || found().is_ok_and(|found| !found.deployments.is_empty() || !found.leftovers.is_empty())
        || derived::is_there(deployments.root(), name)
        || deployments.of_system(name).is_some()
}

fn row(
    deployments: &Deployments,
    store: Option<&Store>,
    name: &Name,
    status: Option<UnitStatus>,
) -> ContainerRow {
    let mut row = ContainerRow { name: name.to_string(), ..ContainerRow::default() };
    row.state = status.as_ref().map(UnitStatus::to_string).unwrap_or_default();
    row.since = status.and_then(|status| status.since);
    match deployments.current(name) {
        Err(e) => row.problems.push(e.to_string()),
        Ok(None) => row
            .problems
            .push("it has no current deployment; an installation or removal was interrupted".into()),
        Ok(Some(current)) => {
            row.deployment = Some(current.to_string());
            row.preinstalled = deployments.came_with_system(&current);
            match deployments.info(&current) {
                Err(e) => row.problems.push(e.to_string()),
                Ok(info) => describe(&mut row, deployments, &current, &info),
            }
        }
    }
    match State::load(deployments, name) {
        Ok(state) => describe_updates(&mut row, deployments, &state),
        Err(e) => row.problems.push(e.to_string()),
    }
    // What keeps this from being known is among the problems already.
    if let (Some(store), Ok(updates)) = (store, Updates::of(deployments, name)) {
        let unaccepted = |image: &Image| updates.unaccepted(image, &store.tree(image)).unwrap_or_default();
        describe_pending(&mut row, &updates, |image| store.find(image).ok(), unaccepted);
    }
    row.problems.extend(problem_of_storage(deployments, name));
    row.problems.extend(problem_of_declaration(deployments, name));
    row
}

/// Why nothing is known of a container's deployments, or that they are gone.
fn problem_of_storage(deployments: &Deployments, name: &Name) -> Option<String> {
    match standing::elsewhere(deployments, name) {
        Ok(Some(why)) => Some(why.to_string()),
        Ok(None) => stale::read(deployments.root(), name).map(|note| note.why),
        Err(e) => Some(e.to_string()),
    }
}

/// What is wrong with what a container was declared as.
fn problem_of_declaration(deployments: &Deployments, name: &Name) -> Option<String> {
    let declared = State::load(deployments, name).ok()?.declared;
    let apply = format!("'syscontainer-apply {name}'");
    let source = match files::find(deployments.root(), name) {
        Ok(Some(source)) => source,
        Ok(None) => {
            let path = gone::declaration(deployments, name).ok()??;
            return Some(format!(
                "its declaration {path} is gone; 'syscontainer-remove {name}' or 'syscontainer-apply --prune' removes it"
            ));
        }
        Err(e) => return Some(format!("its declaration cannot be read: {e}")),
    };
    match files::read(deployments.root(), name, &source) {
        Err(e) => Some(format!("its declaration is broken: {e}")),
        Ok(declaration) => match declared {
            None => Some(format!("it is declared in {}, which was never applied; {apply} does", source.path)),
            Some(declared)
                if declared.digest != declaration.digest() || declared.installing || declared.unconfirmed =>
            {
                Some(format!("its declaration {} has changed; {apply} applies it", source.path))
            }
            Some(_) => None,
        },
    }
}

fn describe_updates(row: &mut ContainerRow, deployments: &Deployments, state: &State) {
    let staged = state.staged(deployments).map(|staged| staged.to_string());
    row.staged = staged.filter(|staged| row.deployment.as_ref() != Some(staged));
    row.held = state.hold;
    if let Some(switch) = &state.switch {
        row.problems.push(format!("a switch to {} is in progress, or was interrupted", switch.to));
    }
}

/// Describes the image that an update would take, which `find` finds by its name, unless the current deployment is from it.
/// `unaccepted` tells what it brings that the user has to accept.
fn describe_pending(
    row: &mut ContainerRow,
    updates: &Updates,
    find: impl FnOnce(&str) -> Option<Image>,
    unaccepted: impl FnOnce(&Image) -> Vec<&'static str>,
) {
    let Some(image) = find(&updates.image).filter(|image| updates.takes(image)) else { return };
    let digest = image.digest.clone();
    if row.digest.as_ref() == Some(&digest) {
        return;
    }
    row.pending = Some(digest);
    let unaccepted = unaccepted(&image);
    if !unaccepted.is_empty() {
        let accept = "see --accept-exports in syscontainer-checkout(8)";
        row.problems.push(format!("the pending image has {}; {accept}", unaccepted.join(", ")));
    }
    let failure = updates.failed_before(&image.digest);
    row.problems.extend(failure.map(|reason| format!("the pending image failed before: {reason}")));
}

fn describe(row: &mut ContainerRow, deployments: &Deployments, current: &Deployment, info: &Info) {
    if !info.has_container_service {
        row.state = "no service".into();
    }
    if !info.is_from_atomic() {
        row.problems.extend(problem_of_registration(deployments, current));
    }
    if let Some(ours) = info.ours() {
        let marked = ours.user_secrets.union(&ours.image_secrets).cloned().collect();
        row.options = secrets::masked_settings(&ours.settings, &marked);
    }
    row.image = Some(info.image.clone());
    row.digest = info.digest();
}

fn problem_of_registration(deployments: &Deployments, current: &Deployment) -> Option<String> {
    let repair = "'systemctl restart syscontainers-reconcile.service' repairs that";
    match registration::find(deployments.root(), current.name()) {
        Ok(Some((_, registration))) if registration.deployment == *current => None,
        Ok(Some((path, registration))) => {
            Some(format!("{path} describes deployment {}, not {current}; {repair}", registration.deployment))
        }
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
    /// Whether a row's value for the key contains the filter's.
    pub fn accepts(&self, row: &ContainerRow) -> bool {
        let has = |text: &str| text.contains(&self.value);
        match self.key {
            Key::Name => has(&row.name),
            Key::State => has(&row.state),
            Key::Image => row.image.as_deref().is_some_and(has),
            Key::Digest => row.digest.as_ref().is_some_and(|digest| has(digest.as_ref())),
            Key::Problem => row.problems.iter().any(|problem| has(problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tree::Directory;
    use crate::install::plan::{Options, Planner};
    use crate::install::previous::Previous;
    use crate::install::testing::TestHost;
    use crate::system::lock;
    use crate::update::updater::Updater;

    #[test]
    fn what_is_pending_is_of_the_image_that_is_to_be_next() {
        let host = TestHost::new();
        host.install(1).unwrap();
        let mut other = host.image(3);
        other.1.name = "registry.example/other:1".into();
        let pending = |version: u32| {
            let (deployments, name) = (&host.site.deployments, &host.name);
            let mut row = row(deployments, None, name, None);
            let found = |image: &str| {
                let is_other = image == other.1.name;
                Some(if is_other { other.1.clone() } else { host.image(version).1 })
            };
            describe_pending(&mut row, &Updates::of(deployments, name).unwrap(), found, |_| Vec::new());
            row.pending
        };
        let digest = |number| Some(host.image(number).1.digest);
        assert_eq!([1, 2].map(pending), [None, digest(2)]);
        stage_rebased(&host, &other);
        assert_eq!([1, 2].map(pending), [digest(3), digest(3)]);
    }

    fn stage_rebased(host: &TestHost, (tree, image): &(Directory, Image)) {
        let current = host.site.deployments.installed(&host.name).unwrap();
        let previous = Previous::read(&host.site, &current, tree).unwrap();
        let (site, name, options) = (&host.site, &host.name, Options { rebase: true, ..Options::default() });
        let planner = Planner { site, tree, image, name, options: &options, previous: Some(&previous) };
        let _lock = lock::container(host.site.root(), &host.name).unwrap();
        let _host_files = lock::host_files(host.site.root()).unwrap();
        Updater { planner, previous: &previous }.stage(false).unwrap();
    }

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
