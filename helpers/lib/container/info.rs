//! The file `info` of a deployment: what is recorded about an installation. JSON, see syscontainers-info(5).
//!
//! The keys of Project Atomic come first, and mean what they meant there: its installations keep running, and are taken
//! over by their first update. Our own keys are below a single one; where that is absent, Atomic made the deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::commit::Commit;
use crate::container::execution::Execution;
use crate::container::readiness::UserNotify;
use crate::container::settings::Settings;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::paths::TreePath;
use crate::provenance::Provenance;
use crate::system::files;

/// Values of variables by their names.
pub type Values = BTreeMap<String, String>;

/// Name of the file in a deployment.
pub const FILE: &str = "info";

/// The format of what is below [`OURS`], which this version writes. A key that confines payloads raises it, since older
/// programs ignore keys that they do not know.
pub const VERSION: u32 = 1;

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
    #[serde(default = "Commit::unknown")]
    pub ostree_commit: Commit,
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
    pub runtime: Option<TreePath>,
    /// Who made the deployment.
    #[serde(rename = "syscontainers", default = "atomic", skip_serializing_if = "Origin::is_atomic")]
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

impl Origin {
    fn is_atomic(&self) -> bool {
        *self == Origin::Atomic
    }
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
    /// Format of these keys: [`VERSION`].
    pub version: u32,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Where the image comes from, which is where updates come from.
    #[serde(default)]
    pub provenance: Option<Provenance>,
    /// What became of the image's `/exports`.
    #[serde(default = "ExportsUse::none")]
    pub exports: ExportsUse,
    /// The values that the user set, which are the only ones that an update keeps.
    pub user_values: Values,
    /// The variables whose values are secret, as the user said.
    #[serde(default)]
    pub user_secrets: BTreeSet<String>,
    /// The variables with a value of the user's that the manifest of this image, or of one before, marked as secret.
    #[serde(default)]
    pub image_secrets: BTreeSet<String>,
    /// What the user set with `--option=`.
    #[serde(default)]
    pub settings: Settings,
    /// The argument of `--notify=`, if it was given.
    #[serde(default)]
    pub user_notify: Option<UserNotify>,
    /// Lines of `[Install]` that were added to the image's.
    #[serde(default)]
    pub user_install: Vec<(String, String)>,
    /// Whether the unit was enabled when it was installed.
    pub enabled: bool,
    /// Mount points that were created in the root file system.
    #[serde(default)]
    pub mount_points: Vec<TreePath>,
    /// How the payload is run.
    pub execution: Execution,
}

/// What an installation does with the `/exports` of images, which may do anything to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportsUse {
    /// The image has none. An image with some needs to be accepted by hand.
    None,
    /// They are used, and so are those of later images.
    Accepted,
    /// They are ignored, and so are those of later images: `--plain`.
    Ignored,
}

impl ExportsUse {
    /// What it is where the key is absent.
    fn none() -> ExportsUse {
        ExportsUse::None
    }
}

impl Info {
    /// Reads the `info` of the deployment in `directory`.
    pub fn read(directory: &Path) -> Result<Info> {
        let path = directory.join(FILE);
        let what = || format!("cannot read {}", path.display());
        let remedy = "restore it, or remove the container with syscontainer-remove";
        let text = files::read_if_exists(&path)?;
        let text = text.ok_or_else(|| Error::new("there is no such file")).context(what)?;
        let value: Value = serde_json::from_slice(&text)
            .context(|| format!("it is not valid JSON; {remedy}"))
            .context(what)?;
        if !value.is_object() {
            return Err(Error::new(format!("it is not a JSON object; {remedy}"))).context(what);
        }
        if value.get(OURS).is_some_and(Value::is_null) {
            // Absent, it would say that Atomic made the deployment.
            return Err(Error::new(format!("it is damaged: {OURS} is null; {remedy}"))).context(what);
        }
        // Before the rest is parsed, which may mean something else by then.
        match value.get(OURS).and_then(|ours| ours.get("version")).and_then(Value::as_u64) {
            Some(version) if version > u64::from(VERSION) => Err(Error::new(format!(
                "it was made by a newer version of syscontainers (format {version}; this version knows {VERSION}), which may confine the payload in ways that this version does not know; install that version again, or remove the container"
            )))
            .context(what),
            _ => serde_json::from_value(value)
                .context(|| format!("it is damaged; {remedy}"))
                .context(what),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    fn read(info: &Value) -> Result<Info> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), info.to_string()).unwrap();
        Info::read(directory.path())
    }

    fn ours(version: u32) -> Value {
        json!({"image": "web", "syscontainers": {
            "version": version, "digest": Digest::of(b""), "user-values": {}, "enabled": true,
            "execution": {"notify": "created"},
        }})
    }

    #[test]
    fn what_never_ends_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let why = || Info::read(directory.path()).unwrap_err().to_string();
        assert!(why().ends_with("/info: there is no such file"), "{}", why());
        std::os::unix::fs::symlink("/dev/zero", directory.path().join(FILE)).unwrap();
        assert!(why().ends_with("/info: it is not a regular file"), "{}", why());
    }

    #[test]
    fn the_format_of_a_newer_version_is_refused() {
        assert!(read(&ours(VERSION)).unwrap().ours().is_some());
        let error = read(&ours(VERSION + 1)).unwrap_err().to_string();
        assert!(
            error
                .contains("it was made by a newer version of syscontainers (format 2; this version knows 1)"),
            "{error}"
        );
        assert!(error.contains("install that version again, or remove the container"), "{error}");
        // Whatever else is in it, and however high the number is.
        for version in [json!(VERSION + 1), json!(u64::MAX)] {
            let newer = json!({"image": [], "syscontainers": {"version": version, "execution": "other"}});
            assert!(read(&newer).unwrap_err().to_string().contains("a newer version"));
        }
        for version in [json!("1"), json!(-1), json!(null)] {
            let mut odd = ours(VERSION);
            odd["syscontainers"]["version"] = version;
            assert!(read(&odd).is_err(), "{odd}");
        }
        let mut without = ours(VERSION);
        without["syscontainers"].as_object_mut().unwrap().remove("version");
        assert!(read(&without).unwrap_err().to_string().contains("missing field `version`"));
    }

    #[test]
    fn null_is_damaged_and_absent_is_atomic() {
        let null = read(&json!({"image": "web", "syscontainers": null})).unwrap_err().to_string();
        assert!(null.contains("it is damaged: syscontainers is null"), "{null}");
        let info = read(&json!({"image": "web"})).unwrap();
        assert!(info.is_from_atomic());
        assert!(read(&serde_json::to_value(info).unwrap()).unwrap().is_from_atomic());
    }

    #[test]
    fn a_container_is_plain_unless_it_is_recorded_otherwise() {
        let info = read(&ours(VERSION)).unwrap();
        assert_eq!(info.ours().unwrap().exports, ExportsUse::None);
        let mut accepted = ours(VERSION);
        accepted["syscontainers"]["exports"] = "accepted".into();
        assert_eq!(read(&accepted).unwrap().ours().unwrap().exports, ExportsUse::Accepted);
        accepted["syscontainers"]["exports"] = "whatever".into();
        assert!(read(&accepted).is_err());
    }
}
