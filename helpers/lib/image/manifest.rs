//! `/exports/manifest.json`: what an image says about its own installation.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::image::template::{self, Problem};

/// Where it is in the image.
pub const FILE: &str = "exports/manifest.json";

/// The manifest's keys; unknown ones, and `version`, mean nothing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// Values of variables that the user did not set.
    #[serde(deserialize_with = "values")]
    pub default_values: BTreeMap<String, String>,
    /// The image only brings host files: no unit, no service.
    #[serde(deserialize_with = "or_default")]
    pub no_container_service: bool,
    /// Paths on the host, after renaming, of host files in which variables are substituted.
    #[serde(deserialize_with = "or_default")]
    pub installed_files_template: Vec<String>,
    /// Host files and directories that have another name on the host; variables are substituted in the latter.
    #[serde(deserialize_with = "or_default")]
    pub rename_files: BTreeMap<String, String>,
    /// Whether host files below /usr may be hard links into the store. They never are: whoever edits one would change
    /// every image that has it.
    #[serde(deserialize_with = "or_true")]
    pub use_links: bool,
    /// The file as it is, for places in messages.
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
            use_links: true,
            text: String::new(),
        }
    }
}

impl Manifest {
    /// A problem with `string`, one of the manifest's, at its place in the file.
    pub fn locate(&self, string: &str, problem: Problem) -> Problem {
        let quoted = serde_json::to_string(string).unwrap_or_default();
        match self.text.find(&quoted) {
            Some(at) => {
                let (line, column) = template::position(&self.text, at);
                Problem { line, column: column + problem.column, ..problem }
            }
            None => problem,
        }
    }
}

fn or_true<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(true))
}

/// null is as good as nothing.
fn or_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Parses a manifest.
pub fn parse(text: &[u8]) -> Result<Manifest> {
    let what = || format!("cannot read {FILE}");
    let value: Value = serde_json::from_slice(text).context(what)?;
    if !value.is_object() {
        return Err(Error::new("it is not a JSON object")).context(what);
    }
    let manifest: Manifest = serde_json::from_value(value).context(what)?;
    Ok(Manifest { text: String::from_utf8_lossy(text).into_owned(), ..manifest })
}

/// Values that are no strings read as Python prints them: images were made for that.
pub fn values<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let raw = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    raw.into_iter()
        .map(|(key, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(true) => "True".into(),
                Value::Bool(false) => "False".into(),
                Value::Null => "None".into(),
                _ => {
                    return Err(serde::de::Error::custom(format!(
                        "the default value of {key:?} is no string"
                    )));
                }
            };
            Ok((key, text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_images_write() {
        let m = parse(br#"{"version":"1.0","defaultValues":{"A":"x","B":5,"C":true,"D":null},"other":[]}"#)
            .unwrap();
        let values: Vec<_> = m.default_values.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(values, ["A=x", "B=5", "C=True", "D=None"]);
        let empty = br#"{"defaultValues":null,"renameFiles":null,"installedFilesTemplate":null,"noContainerService":null,"useLinks":null}"#;
        for text in [b"{}".as_slice(), empty] {
            let manifest = parse(text).unwrap();
            assert_eq!(Manifest { text: String::new(), ..manifest }, Manifest::default());
        }
    }

    #[test]
    fn problems_have_their_place() {
        let manifest = parse(b"{\n  \"renameFiles\": {\"/a\": \"/b/$C\"}\n}").unwrap();
        let mut problems = Vec::new();
        template::render(FILE, "/b/$C", template::Target::Text, |_| None, &mut problems);
        let found = manifest.locate("/b/$C", problems.remove(0));
        assert_eq!(found.to_string(), "exports/manifest.json:2:29: no value for C");
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
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("cannot read exports/manifest.json: "), "{error}");
        }
    }
}
