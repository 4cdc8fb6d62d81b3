//! The manifest: what its keys are, and what they hold.

use serde_json::Value;

use super::exports::Exports;
use super::subject::{Subject, Text};
use super::{Place, Report, json, rules};
use crate::image::manifest::{self, Manifest};
use crate::image::template;
use crate::image::variables;

const KEYS: [&str; 6] =
    ["version", "defaultValues", "noContainerService", "installedFilesTemplate", "renameFiles", "useLinks"];

/// The manifest; an empty one where it cannot be used.
pub fn check(subject: &Subject, exports: &Exports, report: &mut Report) -> Manifest {
    let Some(file) = &exports.manifest else {
        let shown = subject.shown(manifest::FILE);
        let is_known = report.findings.iter().any(|finding| finding.place.file == shown);
        if exports.expects(subject) && !is_known {
            let message = "there is no manifest.json; variables have no default values";
            report.add(&rules::MANIFEST_MISSING, Place::file(shown), message);
        }
        return Manifest::default();
    };
    let value: Value = match serde_json::from_str(&file.text) {
        Ok(value) => value,
        Err(error) => {
            report.add(&rules::MANIFEST_INVALID, syntax(&file.file, &error), reason(&error));
            return Manifest::default();
        }
    };
    keys(file, &value, report);
    manifest::parse(file.text.as_bytes()).unwrap_or_else(|error| {
        let message = error.to_string();
        let message = message.rsplit_once(": ").map_or(message.as_str(), |(_, reason)| reason);
        report.add(&rules::MANIFEST_INVALID, Place::file(&file.file), message);
        Manifest::default()
    })
}

fn keys(file: &Text, value: &Value, report: &mut Report) {
    let place = |pointer: &str| {
        let (line, column) = template::position(&file.text, json::offset(&file.text, pointer));
        Place::at(&file.file, line, column)
    };
    for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !KEYS.contains(&key.as_str()) {
            let message = format!("the key {key:?} means nothing; known are {}", KEYS.join(", "));
            report.add(&rules::MANIFEST_KEY, place(&pointer(&[key])), message);
        }
    }
    let defaults = value.get("defaultValues").and_then(Value::as_object);
    for name in defaults.into_iter().flatten().map(|(name, _)| name).filter(|name| variables::is_forced(name))
    {
        let message = format!("{name} says how the container is installed, its default is never used");
        report.add(&rules::FORCED_DEFAULT, place(&pointer(&["defaultValues", name])), message);
    }
}

fn pointer(segments: &[&str]) -> String {
    segments.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Where JSON ends to be JSON.
pub fn syntax(file: &str, error: &serde_json::Error) -> Place {
    Place::at(file, error.line(), error.column().max(1))
}

/// Why it does, without the place.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    format!("invalid JSON: {}", text.strip_suffix(&place).unwrap_or(&text))
}
