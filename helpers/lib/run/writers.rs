//! What payloads write to on this host, as far as a container's own paths may lead through it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::container::registration::{self, Registration};
use crate::container::settings::Settings;
use crate::container::volume;
use crate::error::{Context, Result};
use crate::name::Name;
use crate::oci::config::{Config, Normalised};
use crate::oci::nesting::{self, SYSTEM};
use crate::paths::{Root, TreePath, VOLUMES};
use crate::run::got;
use crate::system::files;
use crate::system::untrusted::{Got, Untrusted};

/// Finds the directories that payloads write to: the container's own, by its configuration, those that payloads that nobody
/// has to trust have ever got, and all volumes. A container that names no path of the host but its volumes has no use for
/// what else the configurations of others say, and they are not looked for; one that names none at all has no use for any.
pub fn find(
    root: &Root,
    registration: &Registration,
    config: &Normalised,
    settings: Option<&Settings>,
) -> Result<Untrusted> {
    let mut got = of_config(config);
    if got.all.is_empty() && got.written.is_empty() && settings.is_none_or(Settings::is_empty) {
        return Ok(Untrusted::default());
    }
    got.recorded = got::read(root)?.into_keys().collect();
    if names_host_paths(&registration.name, config, settings) {
        for other in of_others(root, &registration.name) {
            got.written.extend(other.written);
            got.all.extend(other.all);
        }
        got.written.extend(volumes(root));
    }
    Untrusted::new(root, &got, &SYSTEM)
}

/// Records what the payload is about to get, if nobody has to trust it.
pub fn record(
    root: &Root,
    registration: &Registration,
    config: &Normalised,
    untrusted: &Untrusted,
) -> Result<()> {
    if !registration.execution.confined {
        return Ok(());
    }
    let mut names = untrusted.names(root, &of_config(config));
    // Volumes are found without a record, but not what the host has mounted in them.
    let volumes = files::resolve_inside(root.path(), Path::new(VOLUMES)).unwrap_or_else(|_| VOLUMES.into());
    names.retain(|path, _| !is_volume(&volumes, path));
    got::add(root, names)
        .context(|| format!("cannot record which directories of the host {} may write to", registration.name))
}

/// Whether a path is in one of the directories that have nothing but volumes, whatever is mounted there.
fn is_volume(volumes: &Path, path: &Path) -> bool {
    path.strip_prefix(volumes).is_ok_and(|below| below.components().count() > 1)
}

fn of_config(config: &Normalised) -> Got {
    let written = nesting::writable_sources(config).into_iter().collect();
    let all = nesting::bind_sources(config).filter(|source| source.is_absolute()).collect();
    Got { written, all, ..Got::default() }
}

fn names_host_paths(name: &Name, config: &Normalised, settings: Option<&Settings>) -> bool {
    let volumes = volume::home(name);
    let mut sources = nesting::bind_sources(config);
    let is_read = |key: &str| settings.is_some_and(|settings| settings.last(key).is_some());
    ["EnvironmentFile", "Network", "AddDevice"].into_iter().any(is_read)
        // What is in a volume is not one.
        || sources.any(|source| source.parent() != Some(volumes.as_path()))
}

/// What the payloads of other plain images write to. Whatever is wrong with one of these is said where it is started.
fn of_others(root: &Root, name: &Name) -> Vec<Got> {
    let (paths, _) = registration::list(root);
    let others = paths.iter().filter(|(other, _)| *other != name);
    let others = others.filter_map(|(other, path)| registration::read(root, other, path).ok().flatten());
    let configs = others.filter(|other| other.execution.confined).filter_map(|other| config_of(root, &other));
    configs.map(|config| of_config(&config)).collect()
}

fn config_of(root: &Root, registration: &Registration) -> Option<Normalised> {
    let text = fs::read_to_string(root.join(&registration.path().join("config.json"))).ok()?;
    Config::parse(&text).ok().map(|config| config.normalised())
}

/// The volumes of all containers: who can enter the directories above them is root.
fn volumes(root: &Root) -> BTreeSet<PathBuf> {
    let all = files::resolve_inside(root.path(), Path::new(VOLUMES)).unwrap_or_else(|_| VOLUMES.into());
    let entries = |path: &Path| {
        let entries = fs::read_dir(root.join(&TreePath::new(path))).into_iter().flatten().flatten();
        entries.map(|entry| path.join(entry.file_name())).collect::<Vec<_>>()
    };
    entries(&all).iter().flat_map(|container| entries(container)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_those_of_containers() {
        let volumes = Path::new("/data/volumes");
        let is = |path: &str| is_volume(volumes, Path::new(path));
        assert!(is("/data/volumes/web/data") && is("/data/volumes/web/data/x"));
        assert!(!is("/data/volumes/web") && !is("/data/volumes2/web/data") && !is("/srv/shared"));
    }
}
