//! `/exports/manifest.json`: what an image says about its own installation.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};

/// The manifest's keys; unknown ones, and `version`, mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// Values of variables that the user did not set.
    #[serde(deserialize_with = "values")]
    pub default_values: BTreeMap<String, String>,
    /// The image only brings host files: no unit, no service.
    pub no_container_service: bool,
}

/// Parses a manifest.
pub fn parse(text: &[u8]) -> Result<Manifest> {
    let what = || "cannot read exports/manifest.json".to_string();
    let value: Value = serde_json::from_slice(text).context(what)?;
    if !value.is_object() {
        return Err(Error::new("cannot read exports/manifest.json: it is not a JSON object"));
    }
    serde_json::from_value(value).context(what)
}

/// Values that are no strings read as Python prints them: images were made for that.
fn values<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
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
        assert_eq!(parse(b"{}").unwrap(), Manifest::default());
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
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("cannot read exports/manifest.json: "), "{error}");
        }
    }
}
