//! What a declaration chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::container::settings::Assignment;

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// If it is not in the store.
    #[default]
    Missing,
    /// Whenever the declaration is applied.
    Always,
    /// Never: somebody else does.
    Never,
}

/// What `[Container]` says; keys of `-o` are in `settings`.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The image's reference.
    pub image: String,
    /// What an option `-o` would set, in order: those that count, none of which is empty.
    pub settings: Vec<Assignment>,
    /// The OCI runtime.
    pub runtime: Option<PathBuf>,
    /// Values of variables.
    pub values: BTreeMap<String, String>,
    /// Variables whose values are in files; none of them is in `values`.
    pub value_files: BTreeMap<String, PathBuf>,
    /// Variables whose values are secret.
    pub secrets: BTreeSet<String>,
    /// A directory to be used in place of a checkout.
    pub rootfs: Option<PathBuf>,
    /// Whether `/exports` are ignored.
    pub plain: bool,
    /// How many deployments are kept.
    pub keep: Option<usize>,
    /// How long a new deployment is watched.
    pub soak: Option<Duration>,
    /// Whether it is updated every day.
    pub auto_update: bool,
    /// Whether updates are held.
    pub hold: bool,
    /// Whether the unit is to be enabled, if that is said.
    pub enable: Option<bool>,
    /// When the image is pulled.
    pub pull: Pull,
}
