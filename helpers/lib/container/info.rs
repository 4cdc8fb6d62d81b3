//! The file `info` of a deployment: what is recorded about an installation. JSON, see syscontainers-info(5).
//!
//! The keys of Project Atomic come first, and mean what they meant there: its installations keep running, and are taken
//! over by their first update. Our own keys are below a single one; where that is absent, Atomic made the deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::container::execution::Execution;
use crate::container::readiness::UserNotify;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::paths::TreePath;

/// Values of variables by their names.
pub type Values = BTreeMap<String, String>;

/// Name of the file in a deployment.
pub const FILE: &str = "info";

/// The key of [`Ours`].
const OURS: &str = "syscontainers";

/// The file's content; the fields are the JSON keys. Any of Atomic's may be missing, since its versions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// Name of the image in the store.
    #[serde(default)]
    pub image: String,
    /// Digest of the image's manifest without `sha256:`.
    #[serde(default)]
    pub revision: String,
    /// Commit of the image's tree.
    #[serde(default)]
    pub ostree_commit: String,
    /// When the deployment was made, in seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// Values of all variables.
    #[serde(default, deserialize_with = "values")]
    pub values: Values,
    /// Whether the deployment has a unit.
    #[serde(default = "yes")]
    pub has_container_service: bool,
    /// Host files that belong to the container, and their checksums.
    #[serde(flatten)]
    pub host_files: RecordedFiles,
    /// The image manifest's `installedFilesTemplate`.
    #[serde(default)]
    pub installed_files_template: Vec<String>,
    /// The image manifest's `renameFiles`, substituted.
    #[serde(default)]
    pub rename_installed_files: BTreeMap<String, String>,
    /// Always null: Atomic could install host files as an RPM package.
    #[serde(default)]
    pub rpm_installed: Option<String>,
    /// Always `no`: what Atomic writes where there is no such package.
    #[serde(default)]
    pub system_package: String,
    /// The directory that `--rootfs` named, if the files are not the deployment's own.
    #[serde(default, deserialize_with = "path_or_false")]
    pub remote: Option<PathBuf>,
    /// The image manifest's `useLinks`.
    #[serde(default)]
    pub use_links: bool,
    /// The runtime's path.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// Who made the deployment.
    #[serde(rename = "syscontainers", default = "atomic")]
    pub origin: Origin,
}

/// The host files that a deployment recorded; the fields are JSON keys of Atomic's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordedFiles {
    /// Paths on the host, directories before what is in them.
    #[serde(default)]
    pub installed_files: Vec<TreePath>,
    /// Their checksums by path, see [`crate::host_files::record`].
    #[serde(default)]
    pub installed_files_checksum: BTreeMap<TreePath, String>,
}

impl RecordedFiles {
    /// The record of a deployment without host files.
    pub fn none() -> RecordedFiles {
        RecordedFiles { installed_files: Vec::new(), installed_files_checksum: BTreeMap::new() }
    }

    /// The checksum that was recorded for a path.
    pub fn checksum(&self, path: &TreePath) -> Option<&str> {
        self.installed_files_checksum.get(path).map(String::as_str)
    }
}

/// Who made a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Ours>", into = "Option<Ours>")]
pub enum Origin {
    /// Project Atomic: its unit runs without our help, and stays as it is until the first update.
    Atomic,
    /// The programs of this package.
    Ours(Box<Ours>),
}

impl From<Option<Ours>> for Origin {
    fn from(ours: Option<Ours>) -> Origin {
        ours.map_or(Origin::Atomic, |ours| Origin::Ours(Box::new(ours)))
    }
}

impl From<Origin> for Option<Ours> {
    fn from(origin: Origin) -> Option<Ours> {
        match origin {
            Origin::Atomic => None,
            Origin::Ours(ours) => Some(*ours),
        }
    }
}

/// What Atomic did not record; the fields are the JSON keys below `syscontainers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ours {
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// The values that the user set, which are the only ones that an update keeps.
    pub user_values: Values,
    /// The variables whose values are secret, as the user said.
    #[serde(default)]
    pub user_secrets: BTreeSet<String>,
    /// The argument of `--notify=`, if it was given.
    #[serde(default)]
    pub user_notify: Option<UserNotify>,
    /// Whether the unit was enabled when it was installed.
    pub enabled: bool,
    /// Mount points that were created in the root file system.
    #[serde(default)]
    pub mount_points: Vec<PathBuf>,
    /// How the payload is run.
    pub execution: Execution,
}

impl Info {
    /// Reads the `info` of the deployment in `directory`.
    pub fn read(directory: &Path) -> Result<Info> {
        let path = directory.join(FILE);
        let what = || format!("cannot read {}", path.display());
        let remedy = "restore it, or remove the container with syscontainer-remove";
        let mut value: Value = serde_json::from_slice(&fs::read(&path).context(what)?)
            .context(|| format!("it is not valid JSON; {remedy}"))
            .context(what)?;
        match value.as_object_mut() {
            Some(info) => gather_ours(info),
            None => return Err(Error::new(format!("it is not a JSON object; {remedy}"))).context(what),
        }
        serde_json::from_value(value).context(what)
    }

    /// What Atomic did not record; `None` if Atomic made the deployment.
    pub fn ours(&self) -> Option<&Ours> {
        match &self.origin {
            Origin::Atomic => None,
            Origin::Ours(ours) => Some(ours),
        }
    }

    /// The value of STATE_DIRECTORY: below it is what the container keeps on the host.
    pub fn state_directory(&self) -> &str {
        self.values.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str)
    }

    /// Whether Project Atomic made the deployment.
    pub fn is_from_atomic(&self) -> bool {
        matches!(self.origin, Origin::Atomic)
    }

    /// Digest of the image's manifest; `None` if Atomic recorded something that is not a digest.
    pub fn digest(&self) -> Option<Digest> {
        match &self.origin {
            Origin::Ours(ours) => Some(ours.digest.clone()),
            Origin::Atomic => format!("sha256:{}", self.revision).parse().ok(),
        }
    }

    /// The root file system, if it is not the deployment's own.
    pub fn rootfs(&self) -> Option<&TreePath> {
        self.ours().and_then(|ours| ours.execution.rootfs.as_ref())
    }
}

fn yes() -> bool {
    true
}

/// Atomic had no key for it.
fn atomic() -> Origin {
    Origin::Atomic
}

/// Atomic wrote null or false where there was no such directory.
fn path_or_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().map(PathBuf::from))
}

/// Reads values that are not strings as Python prints them, which is what images were made for.
pub fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
    let raw = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |key: &str, value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(true) => Ok("True".into()),
        Value::Bool(false) => Ok("False".into()),
        Value::Null => Ok("None".into()),
        _ => Err(serde::de::Error::custom(format!("the value of {key:?} is not a string"))),
    };
    raw.into_iter().map(|(key, value)| text(&key, value).map(|text| (key, text))).collect()
}
/// Deployments that were made before our keys had a place of their own have them beside Atomic's, and a digest.
fn gather_ours(info: &mut Map<String, Value>) {
    let has_digest = info.get("digest").and_then(Value::as_str).is_some_and(|digest| !digest.is_empty());
    if info.contains_key(OURS) || !has_digest {
        return;
    }
    let pid_file = info.get("values").and_then(|values| values.get("PIDFILE")).cloned();
    let mut take = |key: &str| info.remove(key).unwrap_or_default();
    let execution = json!({
        "runtime": take("runtime-kind"),
        "notify": take("notify"),
        "pid-file": if take("uses-pid-file") == true { pid_file } else { None },
        "exec-variables": take("placed"),
        "rootfs": take("rootfs"),
        "run-once": take("run-once"),
        "volumes": take("volumes"),
    });
    let ours = json!({
        "digest": take("digest"),
        "user-values": take("user-values"),
        "user-notify": take("user-notify"),
        "enabled": take("enabled"),
        "mount-points": take("mount-points"),
        "execution": execution,
    });
    info.insert(OURS.into(), ours);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::readiness::Notify;

    #[test]
    fn deployments_whose_keys_are_beside_those_of_atomic_are_ours() {
        let directory = tempfile::tempdir().unwrap();
        let digest = format!("sha256:{:064}", 7);
        let flat = json!({
            "image": "registry.example/web:1", "revision": &digest[7..], "values": {"PIDFILE": "/run/web.pid"},
            "has-container-service": true, "runtime": "/usr/bin/crun", "user-values": {"A": "1"}, "digest": digest,
            "runtime-kind": {"path": "/usr/bin/crun", "kind": "crun"}, "enabled": false, "notify": "ready",
            "placed": ["EXEC_START"], "uses-pid-file": true, "mount-points": ["/proc"], "rootfs": null,
            "volumes": [{"destination": "/data", "owner": [1, 2]}],
            "user-notify": "ready", "run-once": false,
        });
        fs::write(directory.path().join(FILE), flat.to_string()).unwrap();
        let info = Info::read(directory.path()).unwrap();
        let ours = info.ours().unwrap();
        assert_eq!((ours.digest.to_string(), ours.enabled), (digest, false));
        assert_eq!((ours.user_values["A"].as_str(), ours.user_notify), ("1", Some(UserNotify::Ready)));
        assert_eq!(ours.mount_points, [PathBuf::from("/proc")]);
        let execution = &ours.execution;
        assert_eq!((execution.notify, execution.run_once), (Notify::Ready, false));
        assert_eq!(execution.pid_file, Some(TreePath::from("/run/web.pid")));
        assert!(execution.uses("EXEC_START") && execution.runtime.is_some() && execution.volumes.len() == 1);
        // What Atomic made has no digest.
        fs::write(directory.path().join(FILE), r#"{"image": "web", "user-values": {}}"#).unwrap();
        assert!(Info::read(directory.path()).unwrap().is_from_atomic());
    }
}
