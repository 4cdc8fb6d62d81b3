//! `info` of a deployment: what is known of an installation. JSON, see syscontainers-info(5).
//!
//! The keys of Project Atomic come first, and mean what they meant there: its installations keep running, and are taken over
//! by their first update. What is ours is below one key of its own, whose absence says that Atomic made the deployment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::container::execution::Execution;
use crate::container::readiness::UserNotify;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::paths::TreePath;

/// Values of variables by their names.
pub type Values = BTreeMap<String, String>;

/// The file's name in a deployment.
pub const FILE: &str = "info";

/// The file's content; the fields are the JSON keys. Each of Atomic's may be missing, since its versions differ.
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
    /// When it was installed, seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// Values of all variables.
    #[serde(default, deserialize_with = "values")]
    pub values: Values,
    /// Whether there is a unit.
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
    #[serde(rename = "syscontainers", default)]
    pub origin: Origin,
}

/// Host files of a deployment as it recorded them; the fields are JSON keys of Atomic's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordedFiles {
    /// Paths on the host, directories before what is in them.
    #[serde(default)]
    pub installed_files: Vec<String>,
    /// Their checksums, see [`crate::host_files::record`].
    #[serde(default)]
    pub installed_files_checksum: BTreeMap<String, String>,
}

impl RecordedFiles {
    /// The checksum that was recorded for a path.
    pub fn checksum(&self, path: &str) -> Option<&str> {
        self.installed_files_checksum.get(path).map(String::as_str)
    }

    /// Whether a path is one of the files.
    pub fn contains(&self, path: &str) -> bool {
        self.installed_files.iter().any(|file| file == path)
    }
}

/// Who made a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Ours>", into = "Option<Ours>")]
pub enum Origin {
    /// Project Atomic: its unit runs without our help, and stays as it is until the first update.
    #[default]
    Atomic,
    /// These programs.
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
    /// The values that the user set, the only ones that outlive an update.
    pub user_values: Values,
    /// What `--notify` said.
    #[serde(default)]
    pub user_notify: Option<UserNotify>,
    /// Whether the unit was enabled when it was installed.
    pub enabled: bool,
    /// Mount points that were made in the root file system.
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
        let value: Value = serde_json::from_slice(&fs::read(&path).context(what)?)
            .context(|| format!("it is not valid JSON; {remedy}"))
            .context(what)?;
        if !value.is_object() {
            return Err(Error::new(format!("it is not a JSON object; {remedy}"))).context(what);
        }
        serde_json::from_value(value).context(what)
    }

    /// What Atomic did not record; `None` if it made the deployment.
    pub fn ours(&self) -> Option<&Ours> {
        match &self.origin {
            Origin::Atomic => None,
            Origin::Ours(ours) => Some(ours),
        }
    }

    /// Whether Project Atomic made the deployment.
    pub fn is_of_atomic(&self) -> bool {
        matches!(self.origin, Origin::Atomic)
    }

    /// Digest of the image's manifest; `None` where Atomic recorded none that is one.
    pub fn digest(&self) -> Option<Digest> {
        match &self.origin {
            Origin::Ours(ours) => Some(ours.digest.clone()),
            Origin::Atomic => format!("sha256:{}", self.revision).parse().ok(),
        }
    }

    /// The root file system, where that is not the deployment's own.
    pub fn rootfs(&self) -> Option<&TreePath> {
        self.ours().and_then(|ours| ours.execution.rootfs.as_ref())
    }
}

/// As installations are if nothing says otherwise.
fn yes() -> bool {
    true
}

/// Atomic wrote null or false where there is none.
fn path_or_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().map(PathBuf::from))
}

/// Values that are not strings read as Python prints them, which is what images were made for.
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
