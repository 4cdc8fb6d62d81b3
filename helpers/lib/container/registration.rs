//! Registrations: what the generator knows about an installed container.
//!
//! A registration is `NAME.json` in one of [`paths::REGISTRATIONS`]. It is derived from a deployment, names it, and is
//! on the root file system, since generators run before /var is mounted. Mode 0600: a rendered unit may hold secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container::entries::Entry;
use crate::container::execution::Execution;
use crate::container::storage::Storage;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::name::{Deployment, Name};
use crate::paths::{DEPLOYMENTS, PREINSTALLED, REGISTRATIONS, Root, TreePath};
use crate::system::{files, record, tree};

/// The format this version writes, and the only one it reads.
///
/// A key that may be absent needs no new one: generators refuse keys that they do not know, and a reconcile by the older
/// version writes the file anew, from `info` without the key. Therefore a key that confines payloads raises
/// [`info::VERSION`] as well: an older version, after a rollback of the host, refuses to derive a registration from what it
/// cannot know, instead of one with less confinement.
///
/// [`info::VERSION`]: crate::container::info::VERSION
pub const VERSION: u32 = 1;

/// Maximum size of the file in bytes: what a generator reads and converts without keeping others waiting.
pub const MAX_SIZE: usize = 1 << 20;
/// What a link leads to that masks a registration.
const NULL: &str = "/dev/null";

/// What the generator knows about an installed container; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registration {
    /// Format of this file: [`VERSION`].
    pub version: u32,
    /// Name of the container, and of this file without `.json`.
    pub name: Name,
    /// Directory that holds the deployments and the symlink NAME.
    pub directory: TreePath,
    /// The deployment that this was derived from: `NAME.0`.
    pub deployment: Deployment,
    /// Name of the image in the store.
    pub image: String,
    /// Digest of the image's manifest: `sha256:…`.
    pub digest: Digest,
    /// The image's `service.template`, rendered: unit syntax. Absent if the image only brings files for the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How the unit runs the payload.
    pub execution: Execution,
    /// Settings of `[Service]` that correspond to the runtime configuration's `linux.resources`, in order.
    #[serde(default)]
    pub properties: Vec<(String, String)>,
    /// Host paths whose mounts the container needs.
    #[serde(default)]
    pub mounts: Vec<TreePath>,
    /// Whether there is a `tmpfiles.d/NAME.conf` to apply at every start.
    #[serde(default)]
    pub tmpfiles: bool,
    /// Digest of the declaration that was applied last, if one was: the generator compares it with the one that there is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Digest>,
    /// What [`directory`](Self::directory) was when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Distinguishes the deployment from another one of the same name, see [`Deployments::stamp`].
    ///
    /// [`Deployments::stamp`]: crate::container::deployment::Deployments::stamp
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
}

impl Registration {
    /// The symlink to the current deployment, which is DESTDIR in units.
    pub fn link(&self) -> TreePath {
        self.directory.join(self.name.as_str())
    }

    /// The deployment's own path.
    pub fn path(&self) -> TreePath {
        self.directory.join(self.deployment.to_string())
    }

    /// The directory of deployments, if symlinks led to it when this was written.
    pub fn resolved_directory(&self) -> Option<&TreePath> {
        self.storage.as_ref().map(|storage| &storage.path).filter(|path| **path != self.directory)
    }

    /// The root file system of the image, which is read-only.
    pub fn rootfs(&self) -> TreePath {
        self.execution.rootfs.clone().unwrap_or_else(|| self.path().join("rootfs"))
    }

    /// Whether the deployment came with the operating system.
    pub fn is_preinstalled(&self) -> bool {
        self.directory.as_path() == Path::new(PREINSTALLED)
    }

    /// Where changes to a scratch root file system are kept while the container runs. What came with the operating system
    /// is read-only.
    pub fn scratch(&self) -> TreePath {
        let directory =
            if self.is_preinstalled() { TreePath::from(DEPLOYMENTS) } else { self.directory.clone() };
        directory.join(Entry::Scratch(self.name.clone()).to_string())
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("all keys are strings");
        text + "\n"
    }

    /// Fails if the file would be larger than [`MAX_SIZE`].
    pub fn check_size(&self) -> Result<()> {
        let size = self.to_json().len();
        if size <= MAX_SIZE {
            return Ok(());
        }
        Err(Error::new(format!(
            "its registration would be {} KiB, over the limit of {} KiB: unit, mounts and resources are too large",
            size >> 10,
            MAX_SIZE >> 10
        )))
    }
}

/// Parses the registration of `name`; errors begin with `origin`, and the line number where there is one.
pub fn parse(text: &[u8], name: &Name, origin: &TreePath) -> Result<Registration> {
    let (registration, unknown) = deserialize(text).map_err(|e| {
        Error::new(format!("{origin}:{}: not a registration: {}", e.line(), record::reason(&e)))
    })?;
    let refuse = |why: String| Err(Error::new(format!("{origin}: {why}")));
    if let Some(key) = unknown.first() {
        return refuse(format!("not a registration: unknown field `{key}`"));
    }
    if registration.version != VERSION {
        return refuse(format!("format version {} is not {VERSION}", registration.version));
    }
    if &registration.name != name {
        return refuse(format!("it registers {}, not {name}", registration.name));
    }
    if registration.deployment.name() != name {
        return refuse(format!("deployment {} is not one of {name}", registration.deployment));
    }
    if !registration.directory.as_path().is_absolute() {
        return refuse(format!("directory {:?} is not absolute", registration.directory.as_path()));
    }
    Ok(registration)
}

/// Returns the registration, and the keys at any depth that this version does not know. A generator that ignored one
/// might run a payload with less confinement than it was registered with. In the `info` of a deployment, older programs
/// ignore keys that they do not know; one that confines raises [`info::VERSION`], so that they derive no registration
/// without it.
///
/// [`info::VERSION`]: crate::container::info::VERSION
fn deserialize(text: &[u8]) -> serde_json::Result<(Registration, Vec<String>)> {
    let (mut json, mut unknown) = (serde_json::Deserializer::from_slice(text), Vec::new());
    // `?` stands for an optional value in a path.
    let registration =
        serde_ignored::deserialize(&mut json, |path| unknown.push(path.to_string().replace(".?", "")))?;
    json.end()?;
    Ok((registration, unknown))
}

/// Reads the registration of `name` at `path`; `None` if it is masked: empty, or a link to /dev/null.
pub fn read(root: &Root, name: &Name, path: &TreePath) -> Result<Option<Registration>> {
    let what = || path.to_string();
    let file = tree::place(root, path).context(what)?;
    if file == root.join(NULL) {
        return Ok(None);
    }
    let metadata = fs::metadata(&file).context(what)?;
    if metadata.file_type().is_char_device() || metadata.is_file() && metadata.len() == 0 {
        return Ok(None);
    }
    // Neither a pipe nor a large file holds up the boot.
    match files::read_bounded(&file, MAX_SIZE) {
        Ok(text) => parse(&text.unwrap_or_default(), name, path).map(Some),
        Err(e) => Err(e).context(what),
    }
}

/// The size of the file at `path`, by which it is known how long it takes to convert; 0 if there is none.
pub fn size(root: &Root, path: &TreePath) -> u64 {
    fs::metadata(root.join(path)).map_or(0, |metadata| metadata.len())
}

/// Reads the first registration of `name` that is found; `None` if there is none, or if it is masked.
pub fn find(root: &Root, name: &Name) -> Result<Option<(TreePath, Registration)>> {
    for directory in REGISTRATIONS {
        let path = TreePath::from(directory).join(format!("{name}.json"));
        if root.join(&path).symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            continue;
        }
        let registration =
            read(root, name, &path).context(|| format!("cannot read the registration of {name}"))?;
        return Ok(registration.map(|registration| (path, registration)));
    }
    Ok(None)
}

/// Paths of all registrations by container name, leaving out those that another one overrides, and files without
/// `.json`.
///
/// Also returns what is wrong with directories that cannot be read, and with names that are not valid.
pub fn list(root: &Root) -> (BTreeMap<Name, TreePath>, Vec<Error>) {
    let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
    for directory in REGISTRATIONS {
        let entries = match fs::read_dir(root.join(directory)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => {
                errors
                    .push(Error::new(format!("cannot read {directory}: {e}, skipping the containers in it")));
                continue;
            }
        };
        let mut file_names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        file_names.sort();
        for file_name in file_names {
            if !has_suffix(&file_name) {
                continue;
            }
            let Some(stem) = Path::new(&file_name).file_stem() else { continue };
            match stem.to_string_lossy().parse::<Name>() {
                Ok(name) => {
                    found.entry(name).or_insert_with(|| TreePath::from(directory).join(&file_name));
                }
                Err(e) => errors
                    .push(Error::new(format!("{e}, skipping {directory}/{}", file_name.to_string_lossy()))),
            }
        }
    }
    (found, errors)
}

fn has_suffix(file_name: &std::ffi::OsStr) -> bool {
    Path::new(file_name).extension().is_some_and(|e| e == "json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn links_are_followed_in_their_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("tree"));
        let (name, path) = ("x".parse().unwrap(), TreePath::from("/etc/syscontainers/attached/x.json"));
        let link = root.join(&path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let outside = dir.path().join("x.json");
        fs::write(&outside, "{").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        assert!(read(&root, &name, &path).unwrap_err().to_string().contains("No such file"));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(NULL, &link).unwrap();
        assert!(read(&root, &name, &path).unwrap().is_none());
    }

    #[test]
    fn keys_of_a_newer_version_are_refused_at_any_depth() {
        let written = json!({
            "version": 1, "name": "x", "directory": "/var/lib/containers/atomic", "deployment": "x.1",
            "image": "i", "digest": format!("sha256:{:064}", 0),
            "execution": {"notify": "created", "runtime": {"path": "/usr/bin/crun", "kind": "crun"}},
        });
        let parsed = |value: &serde_json::Value| {
            let (name, origin) = ("x".parse().unwrap(), TreePath::from("/x.json"));
            parse(value.to_string().as_bytes(), &name, &origin).map_err(|e| e.to_string())
        };
        parsed(&written).unwrap();
        for (below, key) in [
            ("", "/x.json:1: not a registration: unknown field `new`, expected"),
            ("/execution", "/x.json: not a registration: unknown field `execution.new`"),
            ("/execution/runtime", "/x.json: not a registration: unknown field `execution.runtime.new`"),
        ] {
            let mut newer = written.clone();
            newer.pointer_mut(below).unwrap()["new"] = true.into();
            let error = parsed(&newer).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
    }
}
