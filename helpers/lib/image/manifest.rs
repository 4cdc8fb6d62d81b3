//! `/exports/manifest.json`: what an image says about its own installation.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::container::info::{self, Values};
use crate::error::{Context, Result};
use crate::image::limits;
use crate::image::positions::{JsonIndex, Positions};
use crate::image::template::Problem;
use crate::image::tree::Tree;

/// Path of the manifest in the image.
pub const FILE: &str = "exports/manifest.json";

/// The keys of the manifest; unknown ones, and `version`, are ignored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// Values of variables that the user does not set.
    #[serde(deserialize_with = "info::values")]
    pub default_values: Values,
    /// Whether the image only brings files for the host: no unit, no service.
    #[serde(deserialize_with = "or_default")]
    pub no_container_service: bool,
    /// Paths on the host, after renaming, of the host files that are templates.
    #[serde(deserialize_with = "or_default")]
    pub installed_files_template: Vec<String>,
    /// New names of host files and directories, in which variables are replaced.
    #[serde(deserialize_with = "or_default")]
    pub rename_files: BTreeMap<String, String>,
    /// Variables whose values are secret.
    #[serde(deserialize_with = "or_default")]
    pub secret_values: Vec<String>,
    /// Whether host files below /usr may be hard links into the store. Only recorded: they never are, since editing one
    /// would change every image that has it.
    #[serde(deserialize_with = "or_true")]
    pub use_links: bool,
    /// The file itself, to find places in it.
    #[serde(skip)]
    text: String,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            default_values: BTreeMap::new(),
            no_container_service: false,
            installed_files_template: Vec::new(),
            rename_files: BTreeMap::new(),
            secret_values: Vec::new(),
            use_links: true,
            text: String::new(),
        }
    }
}

impl Manifest {
    /// Where the strings of the manifest are in the file.
    pub fn places(&self) -> ManifestPlaces<'_> {
        ManifestPlaces { index: JsonIndex::new(&self.text), positions: Positions::new(&self.text) }
    }
}

/// Places in the file of a manifest.
pub struct ManifestPlaces<'a> {
    index: JsonIndex,
    positions: Positions<'a>,
}

impl ManifestPlaces<'_> {
    /// Returns a problem that was found in the new name of `from`, with its place in the file.
    pub fn locate(&self, from: &str, problem: Problem) -> Problem {
        let (line, column) = self.positions.find(self.index.find(["renameFiles", from]));
        Problem { line, column: column + problem.column, ..problem }
    }
}

fn or_true<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(true))
}

/// Deserializes null as the default, as if the key were missing.
fn or_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Why a text is not a manifest.
#[derive(Debug)]
pub enum ManifestError {
    Syntax(serde_json::Error),
    NotAnObject,
    /// A key has a value of the wrong type.
    Type(serde_json::Error),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::Syntax(error) | ManifestError::Type(error) => error.fmt(f),
            ManifestError::NotAnObject => f.write_str("it is not a JSON object"),
        }
    }
}

impl std::error::Error for ManifestError {}

/// Parses a manifest.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let value: Value = serde_json::from_str(text).map_err(ManifestError::Syntax)?;
    if !value.is_object() {
        return Err(ManifestError::NotAnObject);
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(ManifestError::Type)?;
    Ok(Manifest { text: text.to_owned(), ..manifest })
}

/// Reads the manifest of an image; one that has none has an empty one.
pub fn read(tree: &dyn Tree) -> Result<Manifest> {
    let what = || format!("cannot read {FILE}");
    let Some(content) = tree.read(FILE)? else { return Ok(Manifest::default()) };
    limits::check_size(content.len(), limits::TEXT).context(what)?;
    parse(&String::from_utf8(content).context(what)?).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::template;

    #[test]
    fn reads_what_images_write() {
        let m = parse(r#"{"version":"1.0","defaultValues":{"A":"x","B":5,"C":true,"D":null},"other":[]}"#)
            .unwrap();
        let values: Vec<_> = m.default_values.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(values, ["A=x", "B=5", "C=True", "D=None"]);
        let empty = r#"{"defaultValues":null,"renameFiles":null,"installedFilesTemplate":null,"noContainerService":null,"useLinks":null}"#;
        for text in ["{}", empty] {
            let manifest = parse(text).unwrap();
            assert_eq!(Manifest { text: String::new(), ..manifest }, Manifest::default());
        }
    }

    #[test]
    fn problems_have_their_place() {
        let manifest = parse("{\n  \"renameFiles\": {\"/a\": \"/b/$C\"}\n}").unwrap();
        let mut rendered = template::render(FILE, "/b/$C", template::Format::Text, &BTreeMap::new(), None);
        let found = manifest.places().locate("/a", rendered.problems.remove(0));
        assert_eq!(found.to_string(), "exports/manifest.json:2:29: no value for C");
    }

    #[test]
    fn errors_have_a_kind() {
        assert!(matches!(parse("{"), Err(ManifestError::Syntax(_))));
        assert!(matches!(parse("[]"), Err(ManifestError::NotAnObject)));
        let error = parse(r#"{"renameFiles": []}"#).unwrap_err();
        assert_eq!(error.to_string(), "invalid type: sequence, expected a map");
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"defaultValues":{"A":[]}}"#,
            r#"{"defaultValues":[]}"#,
            r#"{"noContainerService":3}"#,
            r#"{"renameFiles":["/a"]}"#,
            r#"{"renameFiles":{"/a":3}}"#,
            r#"{"installedFilesTemplate":"/a"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
