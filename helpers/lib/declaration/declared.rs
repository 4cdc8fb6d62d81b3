//! A declaration as it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use serde::Serialize;

use crate::declaration::choices::{Choices, Pull};
use crate::declaration::image;
use crate::declaration::source::Source;
use crate::digest::Digest;
use crate::name::Name;

/// A valid declaration, with its drop-ins.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Name of the container.
    pub name: Name,
    /// The files that it was read from.
    pub source: Source,
    /// What `[Container]` says.
    pub choices: Choices,
    /// Lines of `[Unit]`, `[Service]` and `[X-…]`, for the unit: section, key, value.
    pub unit: Vec<(Rc<str>, String, String)>,
    /// Lines of `[Install]`, in order; an empty value resets its key.
    pub install: Vec<(String, String)>,
    /// Which file below /usr the image is in, if it is in one: another one of the same name has another image.
    pub image_file: Option<String>,
    /// What was ignored, each with its file and line.
    pub warnings: Vec<String>,
}

/// What a digest is of. What has its default is left out, so that a key that is new changes no digest.
#[derive(Serialize)]
struct Canonical<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_file: &'a Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<&'static str, Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: &'a Option<PathBuf>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    value_files: &'a BTreeMap<String, PathBuf>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    secrets: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rootfs: &'a Option<PathBuf>,
    #[serde(skip_serializing_if = "is_false")]
    plain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soak: Option<u128>,
    #[serde(skip_serializing_if = "is_false")]
    auto_update: bool,
    #[serde(skip_serializing_if = "is_false")]
    hold: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pull: Pull,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    install: &'a [(String, String)],
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_default(pull: &Pull) -> bool {
    *pull == Pull::default()
}

impl Declaration {
    /// Digest of all that the declaration chooses, in a canonical form: [`Choices`] and the lines of `[Install]`. Those of
    /// `[Unit]` and `[Service]` are not part of it, since they count without being applied; nor are files that it names, but for
    /// which one below /usr the image is in, which an upgrade of a package may replace.
    pub fn digest(&self) -> Digest {
        let choices = &self.choices;
        let mut settings: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for assignment in &choices.settings {
            settings.entry(assignment.key()).or_default().push(assignment.value());
        }
        let canonical = Canonical {
            image: &choices.image,
            image_file: &self.image_file,
            settings,
            runtime: &choices.runtime,
            values: &choices.values,
            value_files: &choices.value_files,
            secrets: &choices.secrets,
            rootfs: &choices.rootfs,
            plain: choices.plain,
            keep: choices.keep,
            soak: choices.soak.map(|soak| soak.as_millis()),
            auto_update: choices.auto_update,
            hold: choices.hold,
            enable: choices.enable,
            pull: choices.pull,
            install: &self.install,
        };
        Digest::of(&serde_json::to_vec(&canonical).expect("all keys are strings, and paths were text"))
    }

    /// Whether a network is needed to get the image.
    pub fn needs_network(&self) -> bool {
        self.choices.pull != Pull::Never && !image::is_local(&self.choices.image)
    }
}
