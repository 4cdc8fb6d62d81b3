//! The manifest: its keys, and the types of their values.

use serde_json::Value;

use super::finding::{LintReport, Place};
use super::target::Target;
use super::texts::FoundTexts;
use super::{json, rules};
use crate::image::manifest::{self, Manifest, ManifestError};
use crate::image::positions::{JsonIndex, Positions};
use crate::image::variables;

const KEYS: [&str; 7] = [
    "version",
    "defaultValues",
    "secretValues",
    "noContainerService",
    "installedFilesTemplate",
    "renameFiles",
    "useLinks",
];

/// Applies the rules for manifests; returns an empty one where it cannot be used.
pub fn check(target: &Target, texts: &FoundTexts, report: &mut LintReport) -> Manifest {
    let file = target.shown(manifest::FILE);
    let Some(text) = &texts.exported.manifest else {
        if texts.expects_files && !report.mentions(&file) {
            let message = "there is no manifest.json; variables have no default values";
            report.add(&rules::MANIFEST_MISSING, Place::file(file), message);
        }
        return Manifest::default();
    };
    if let Ok(value) = serde_json::from_str(text) {
        keys(&file, text, &value, report);
    }
    let error = match manifest::parse(text) {
        Ok(manifest) => return manifest,
        Err(error) => error,
    };
    let (place, message) = match &error {
        ManifestError::Syntax(error) => {
            (Place::at(file, error.line(), error.column().max(1)), json::reason(error))
        }
        ManifestError::NotAnObject | ManifestError::Type(_) => (Place::file(file), error.to_string()),
    };
    report.add(&rules::MANIFEST_INVALID, place, message);
    Manifest::default()
}

fn keys(file: &str, text: &str, value: &Value, report: &mut LintReport) {
    let (index, positions) = (JsonIndex::new(text), Positions::new(text));
    let place = |segments: &[&str]| {
        let (line, column) = positions.find(index.find(segments));
        Place::at(file, line, column)
    };
    let Some(object) = value.as_object() else { return };
    for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let message = format!("unknown key {key:?}; the keys are {}", KEYS.join(", "));
        report.add(&rules::MANIFEST_KEY, place(&[key]), message);
    }
    let Some(defaults) = value.get("defaultValues").and_then(Value::as_object) else { return };
    for name in defaults.keys().filter(|name| variables::is_forced(name)) {
        let message = format!("{name} describes the installation; its default is never used");
        report.add(&rules::FORCED_DEFAULT, place(&["defaultValues", name]), message);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_keys_are_those_that_are_read_and_that_the_rule_names() {
        let read = serde_json::to_value(Manifest::default()).unwrap();
        let read = read.as_object().unwrap().keys().map(String::as_str).chain(["version"]);
        assert_eq!(BTreeSet::from(KEYS), read.collect());
        let (last, others) = KEYS.split_last().unwrap();
        let list = format!("The keys are {} and {last}.", others.join(", "));
        assert!(rules::MANIFEST_KEY.explanation.ends_with(&list), "{list}");
    }
}
