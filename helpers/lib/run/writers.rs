//! What payloads write to on this host, as far as a container's own paths may lead through it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::container::registration::{self, Registration};
use crate::container::settings::Settings;
use crate::container::volume;
use crate::name::Name;
use crate::oci::config::{Config, Normalised};
use crate::oci::nesting;
use crate::paths::{Root, TreePath, VOLUMES};
use crate::system::untrusted::Untrusted;

/// Finds the directories that payloads write to: the container's own, by its configuration, those of other images that
/// nobody has to trust, and all volumes. A container that names no path of the host but its volumes has no use for the
/// others, and they are not looked for.
pub fn find(
    root: &Root,
    registration: &Registration,
    config: &Normalised,
    settings: Option<&Settings>,
) -> Untrusted {
    let own = nesting::writable_sources(config);
    if !names_host_paths(&registration.name, config, settings) {
        return Untrusted::new(root, own);
    }
    let others = of_others(root, &registration.name);
    Untrusted::new(root, own.into_iter().chain(others).chain(volumes(root)))
}

fn names_host_paths(name: &Name, config: &Normalised, settings: Option<&Settings>) -> bool {
    let volumes = volume::home(name);
    let mut sources = nesting::bind_sources(config);
    let is_read = |key: &str| settings.is_some_and(|settings| settings.last(key).is_some());
    is_read("EnvironmentFile")
        || is_read("Network")
        || sources.any(|source| !source.starts_with(volumes.as_path()))
}

/// What the payloads of other plain images write to. Whatever is wrong with one of these is said where it is started.
fn of_others(root: &Root, name: &Name) -> Vec<PathBuf> {
    let (paths, _) = registration::list(root);
    let others = paths.iter().filter(|(other, _)| *other != name);
    let others = others.filter_map(|(other, path)| registration::read(root, other, path).ok().flatten());
    let configs = others.filter(|other| other.execution.confined).filter_map(|other| config_of(root, &other));
    configs.flat_map(|config| nesting::writable_sources(&config)).collect()
}

fn config_of(root: &Root, registration: &Registration) -> Option<Normalised> {
    let text = fs::read_to_string(root.join(&registration.path().join("config.json"))).ok()?;
    Config::parse(&text).ok().map(|config| config.normalised())
}

/// The volumes of all containers: who can enter the directories above them is root.
fn volumes(root: &Root) -> Vec<PathBuf> {
    let entries = |path: &Path| {
        let entries = fs::read_dir(root.join(&TreePath::new(path))).into_iter().flatten().flatten();
        entries.map(|entry| path.join(entry.file_name())).collect::<Vec<_>>()
    };
    entries(Path::new(VOLUMES)).iter().flat_map(|container| entries(container)).collect()
}
