//! Deployments: `NAME.N` directories of one container, and the symlink NAME that says which is current.
//!
//! A deployment holds `rootfs/`, `config.json` as the image rendered it, `info`, the rendered unit `NAME.service` and, if
//! the container has any, `tmpfiles-NAME.conf` and `hostfs/` with its files for the host. It is made under a temporary name, synced and renamed, so one that has
//! its name is whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::registration::{Notify, UserNotify};
use crate::container::runtime::Runtime;
use crate::container::volumes::Volume;
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{self, Root};
use crate::system::files;
use crate::system::mounts;

/// What is known of an installation; the fields are the JSON keys of `info`, those of the original first. All may be
/// missing, since the original had fewer at times.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Info {
    /// Name of the image in the store.
    pub image: String,
    /// Digest of the image's manifest without `sha256:`.
    pub revision: String,
    /// Commit of the image's tree.
    pub ostree_commit: String,
    /// When it was installed, seconds since 1970.
    pub created: u64,
    /// Values of all variables.
    #[serde(deserialize_with = "crate::image::manifest::values")]
    pub values: BTreeMap<String, String>,
    /// Whether there is a unit.
    #[serde(default = "yes")]
    pub has_container_service: bool,
    /// Host files that are the container's, directories before what is in them.
    pub installed_files: Vec<String>,
    /// Their checksums, see [`crate::host_files`].
    pub installed_files_checksum: BTreeMap<String, String>,
    /// Of the image's manifest.
    pub installed_files_template: Vec<String>,
    /// Of the image's manifest, substituted.
    pub rename_installed_files: BTreeMap<String, String>,
    /// The original could install host files as an RPM package; null.
    pub rpm_installed: Option<String>,
    /// `no`, as the original says where there is no such package.
    pub system_package: String,
    /// The directory that `--rootfs` named, if the files are not the deployment's own.
    #[serde(deserialize_with = "path_or_false")]
    pub remote: Option<PathBuf>,
    /// Of the image's manifest.
    pub use_links: bool,
    /// The runtime's path.
    pub runtime: Option<PathBuf>,
    /// The values that the user set, the only ones that outlive an update.
    pub user_values: BTreeMap<String, String>,
    /// Digest of the image's manifest; empty in what the original installed.
    pub digest: String,
    /// The runtime, with what it is.
    pub runtime_kind: Option<Runtime>,
    /// Whether the unit was enabled when it was installed.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Who tells systemd that the service is ready.
    pub notify: Notify,
    /// Which EXEC variables the unit uses.
    pub placed: Vec<String>,
    /// Whether the unit or the configuration uses PIDFILE.
    pub uses_pid_file: bool,
    /// Mount points that were made in the rootfs.
    pub mount_points: Vec<PathBuf>,
    /// The root file system, where `remote` is set.
    pub rootfs: Option<PathBuf>,
    /// Directories that the payload writes to.
    pub volumes: Vec<Volume>,
    /// What `--notify` said.
    pub user_notify: Option<UserNotify>,
    /// Whether it runs once, see [`crate::container::registration::Registration`].
    pub run_once: bool,
}

impl Info {
    /// Whether the original installed it: its unit is one that runs without our help, and stays as it is.
    pub fn is_of_original(&self) -> bool {
        self.digest.is_empty()
    }
}

/// The original wrote null or false where there is none.
fn path_or_false<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map(PathBuf::from))
}

/// What deployments have; each has some of it.
const PARTS: [&str; 4] = ["info", "rootfs", "hostfs", "config.json"];

/// As installations are if nobody says otherwise.
fn yes() -> bool {
    true
}

/// The directory of deployments, below one root.
#[derive(Clone, Debug)]
pub struct Deployments {
    root: Root,
    directory: PathBuf,
}

impl Deployments {
    /// Those of a tree, where the environment or the default says.
    pub fn new(root: &Root) -> Self {
        Deployments { root: root.clone(), directory: paths::deployments() }
    }

    /// Those that came with the system, which are read only.
    pub fn preinstalled(root: &Root) -> Self {
        Deployments { root: root.clone(), directory: PathBuf::from(paths::PREINSTALLED) }
    }

    /// The directory as programs inside the tree see it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The tree these belong to.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A path below the directory, as this process sees it.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(&self.directory).join(below)
    }

    /// Makes the directory.
    pub fn create(&self) -> Result<()> {
        files::make_directory(&self.path(""), 0o711)
    }

    /// The current deployment's name, `NAME.0`; `None` where the container is not installed.
    pub fn current(&self, name: &Name) -> Result<Option<String>> {
        let link = self.path(name.as_str());
        match fs::read_link(&link) {
            // The original wrote absolute targets.
            Ok(target) => match target.file_name().and_then(|t| t.to_str()) {
                Some(deployment) if number(name, deployment).is_some() && self.is_here(&target) => {
                    Ok(Some(deployment.to_owned()))
                }
                _ => Err(Error::new(format!("{} does not name a deployment of {name}", link.display()))),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                Err(Error::new(format!("{} is in the way: it is no symlink to a deployment", link.display())))
            }
            Err(e) => Err(e).context(|| format!("cannot read {}", link.display())),
        }
    }

    /// As [`Deployments::current`], where there has to be one.
    pub fn installed(&self, name: &Name) -> Result<String> {
        self.current(name)?.ok_or_else(|| Error::not_found(format!("there is no container {name}")))
    }

    /// Whether a symlink's target is in the directory that the symlink is in.
    fn is_here(&self, target: &Path) -> bool {
        let parent = target.parent().unwrap_or(Path::new(""));
        parent == Path::new("")
            || parent == Path::new(".")
            || parent == self.directory
            || parent == self.path("")
    }

    /// Makes a deployment current: the one moment at which a container changes.
    pub fn switch(&self, name: &Name, deployment: &str) -> Result<()> {
        let (link, temporary) = (self.path(name.as_str()), self.path(format!(".{name}.link")));
        let what = || format!("cannot switch {} to {deployment}", link.display());
        files::remove_file(&temporary).context(what)?;
        std::os::unix::fs::symlink(deployment, &temporary).context(what)?;
        fs::rename(&temporary, &link).context(what)?;
        files::sync_directory(&self.path(""))
    }

    /// Makes no deployment current.
    pub fn detach(&self, name: &Name) -> Result<()> {
        let link = self.path(name.as_str());
        files::remove_file(&link).context(|| format!("cannot remove {}", link.display()))?;
        files::sync_directory(&self.path(""))
    }

    /// Where deployment `number` is made before it gets its name.
    pub fn temporary(&self, name: &Name, number: u32) -> PathBuf {
        self.path(format!(".{name}.{number}.new"))
    }

    /// Where a run-once container's changes to its root file system are while it runs.
    pub fn scratch(&self, name: &Name) -> PathBuf {
        self.path(scratch(name))
    }

    /// Where the space is that going back from a switch may need.
    pub fn reserve(&self, name: &Name) -> PathBuf {
        self.path(format!(".{}", reserve(name)))
    }

    /// Names of all containers that are installed.
    pub fn names(&self) -> Result<Vec<Name>> {
        let entries = files::names(&self.path(""))?;
        let names = entries.iter().filter_map(|entry| entry.parse().ok());
        Ok(names.filter(|name: &Name| self.path(name.as_str()).is_symlink()).collect())
    }

    /// Other containers than `name`, each with its current deployment. One that is broken is left out: it is told of by whoever
    /// works on it.
    pub fn others(&self, name: &Name) -> Result<Vec<(Name, String, Info)>> {
        let others = self.names()?.into_iter().filter(|other| other != name);
        let known = others.filter_map(|other| {
            let current = self.current(&other).ok()??;
            let info = self.info(&current).ok()?;
            Some((other, current, info))
        });
        Ok(known.collect())
    }

    /// Names of all deployments of a container, oldest first, and temporary ones of killed programs.
    pub fn all(&self, name: &Name) -> Result<(Vec<String>, Vec<PathBuf>)> {
        let (mut whole, mut temporary) = (Vec::new(), Vec::new());
        let directory = self.path("");
        for entry in files::names(&directory)? {
            if is_temporary(name, &entry) {
                temporary.push(directory.join(entry));
            } else if number(name, &entry).is_some() && self.is_deployment(&entry) {
                whole.push(entry);
            }
        }
        whole.sort_by_key(|deployment| number(name, deployment));
        Ok((whole, temporary))
    }

    /// Whether what has the name of a deployment is one, and not something that somebody else put there.
    pub fn is_deployment(&self, entry: &str) -> bool {
        let path = self.path(entry);
        !path.is_symlink() && PARTS.iter().any(|part| path.join(part).symlink_metadata().is_ok())
    }

    /// The number of the deployment that is made next.
    pub fn next_number(&self, name: &Name) -> Result<u32> {
        let entries = files::names(&self.path(""))?;
        let last = entries.iter().filter_map(|entry| number(name, entry)).max();
        Ok(last.map_or(0, |last| last + 1))
    }

    /// What tells a deployment from every other one, of the same name too, without reading it.
    pub fn stamp(&self, deployment: &str) -> Result<String> {
        use std::os::unix::fs::MetadataExt;
        let path = self.path(deployment).join("info");
        let info = fs::symlink_metadata(&path).context(|| format!("cannot read {}", path.display()))?;
        Ok(format!("{}-{}.{:09}", info.ino(), info.mtime(), info.mtime_nsec()))
    }

    /// Reads a deployment's `info`.
    pub fn info(&self, deployment: &str) -> Result<Info> {
        let path = self.path(deployment).join("info");
        let what = || format!("cannot read {}", path.display());
        let remedy = "restore it, or remove the container with syscontainer-remove";
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&path).context(what)?)
            .context(|| format!("it is no JSON; {remedy}"))
            .context(what)?;
        if !value.is_object() {
            return Err(Error::new(format!("it is no JSON object; {remedy}"))).context(what);
        }
        serde_json::from_value(value).context(what)
    }

    /// Reads a text file of a deployment; `None` where it has none of that name.
    pub fn read(&self, deployment: &str, file: &str) -> Result<Option<String>> {
        let path = self.path(deployment).join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Removes a deployment: it loses its name first, so that a half-removed one never looks whole.
    pub fn remove(&self, deployment: &str) -> Result<()> {
        let path = self.path(deployment);
        mounts::refuse(&path).context(|| format!("cannot remove {}", path.display()))?;
        let doomed = self.path(format!(".{deployment}.old"));
        files::remove_tree(&doomed)?;
        match fs::rename(&path, &doomed) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            result => result.context(|| format!("cannot remove {}", path.display()))?,
        }
        files::remove_tree(&doomed)
    }
}

/// Name, without its dot, of the file that holds the space that going back from a switch may need.
fn reserve(name: &Name) -> String {
    format!("{name}.reserve")
}

/// Name of the directory that [`Deployments::scratch`] is.
pub fn scratch(name: &Name) -> String {
    format!(".{name}.scratch")
}

/// The container that a scratch directory is of, if an entry of the directory is one.
pub fn scratch_owner(entry: &str) -> Option<Name> {
    entry.strip_prefix('.')?.strip_suffix(".scratch")?.parse().ok()
}

/// The number of a deployment of `name`, if `text` is one's name.
fn number(name: &Name, text: &str) -> Option<u32> {
    let digits = text.strip_prefix(name.as_str())?.strip_prefix('.')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The container that an entry of the directory belongs to, if it is one's: its symlink, a deployment, or what a killed
/// program left.
pub fn owner(entry: &str) -> Option<Name> {
    let stem = |text: &str| {
        let (name, number) = text.rsplit_once('.')?;
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
            .then(|| name.parse().ok())
            .flatten()
    };
    match entry.strip_prefix('.') {
        Some(rest) => match rest.strip_suffix(".link").or_else(|| rest.strip_suffix(".reserve")) {
            Some(name) => name.parse().ok(),
            None => rest.strip_suffix(".new").or_else(|| rest.strip_suffix(".old")).and_then(stem),
        },
        None => stem(entry).or_else(|| entry.parse().ok()),
    }
}

/// Whether an entry of the directory is called as deployments are.
pub fn is_called_so(entry: &str) -> bool {
    !entry.starts_with('.') && owner(entry).is_some_and(|name| name.as_str() != entry)
}

fn is_temporary(name: &Name, text: &str) -> bool {
    let Some(rest) = text.strip_prefix('.') else { return false };
    let deployment = rest.strip_suffix(".new").or_else(|| rest.strip_suffix(".old"));
    deployment.is_some_and(|d| number(name, d).is_some())
        || rest == format!("{name}.link")
        || rest == reserve(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_deployments_from_other_names() {
        let name: Name = "foo".parse().unwrap();
        assert_eq!(number(&name, "foo.0"), Some(0));
        assert_eq!(number(&name, "foo.12"), Some(12));
        for other in ["foo", "foo.", "foo.x", "foobar.0", "fo.0", "foo.0.0", "foo.-1", ".foo.0"] {
            assert_eq!(number(&name, other), None, "{other}");
        }
        assert!(is_temporary(&name, ".foo.0.new") && is_temporary(&name, ".foo.3.old"));
        assert!(!is_temporary(&name, ".foo.bar.0.new") && !is_temporary(&name, ".storage"));
        for entry in ["foo", "foo.0", "foo.12", ".foo.0.new", ".foo.3.old", ".foo.link"] {
            assert_eq!(owner(entry), Some(name.clone()), "{entry}");
        }
        assert_eq!(owner(".foo.bar.0.new"), "foo.bar".parse().ok());
        for entry in [
            ".storage",
            ".host-files.json",
            "..host-files.json.new",
            "",
            ".",
            "foo.",
            ".new",
            ".0.new",
            "a b",
            "..0",
        ] {
            assert_eq!(owner(entry), None, "{entry}");
        }
        assert_eq!(scratch_owner(&scratch(&name)), Some(name));
        assert_eq!(scratch_owner("foo.scratch"), None);
    }
}
