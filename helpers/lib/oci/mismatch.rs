//! Why JSON is not what it should be, without the value: that may be a user's, and messages are in the journal.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Something that is missing or has the wrong type.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it is: `process.args[1]`; empty for the whole text.
    pub place: String,
    /// What was expected.
    pub why: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() { f.write_str(&self.why) } else { write!(f, "{}: {}", self.place, self.why) }
    }
}

/// Converts JSON to a type.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Mismatch> {
    // With one value a line, the line of an error is a place.
    let text = format!("{value:#}");
    serde_json::from_str(&text)
        .map_err(|error| Mismatch { place: place(&text, error.line()), why: expectation(&error) })
}

/// What an error expected. What it found comes before that, and may be anything.
fn expectation(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // serde_json adds its own place.
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    match reason.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None if reason.starts_with("missing field `") => reason.to_owned(),
        None => "the value is not allowed there".to_owned(),
    }
}

/// An object or an array around a line.
struct Around {
    /// How many elements an array has before the line; `None` for an object.
    count: Option<usize>,
    /// The length of its own place.
    length: usize,
}

/// Returns the place of a line, from 1, of JSON as serde_json prints it.
fn place(text: &str, number: usize) -> String {
    let (mut around, mut place): (Vec<Around>, String) = (Vec::new(), String::new());
    for line in text.lines().take(number).map(str::trim_start) {
        if line.starts_with(['}', ']']) {
            let closed = around.pop();
            place.truncate(closed.map_or(0, |closed| closed.length));
            continue;
        }
        if let Some(inner) = around.last_mut() {
            place.truncate(inner.length);
            match &mut inner.count {
                Some(count) => {
                    place.push_str(&format!("[{count}]"));
                    *count += 1;
                }
                None => {
                    let key = serde_json::Deserializer::from_str(line).into_iter::<String>().next();
                    place.push_str(if place.is_empty() { "" } else { "." });
                    place.push_str(&key.and_then(Result::ok).unwrap_or_default());
                }
            }
        }
        if line.ends_with(['{', '[']) {
            let count = line.ends_with('[').then_some(0);
            around.push(Around { count, length: place.len() });
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;
    use serde_json::json;

    #[test]
    fn names_the_place_and_not_the_value() {
        for (process, place, why) in [
            (json!({"cwd": "/", "args": ["a", 7]}), "process.args[1]", "expected a string"),
            (json!({"cwd": 7}), "process.cwd", "expected"),
            (
                json!({"cwd": "/", "oomScoreAdj": "hunter2, expected hunter2"}),
                "process.oomScoreAdj",
                "expected i32",
            ),
            (
                json!({"cwd": "/", "args": ["{", "hunter2"], "user": "hunter2"}),
                "process.user",
                "expected struct",
            ),
            (
                json!({"cwd": "/", "rlimits": [{"type": "hunter2", "soft": 1, "hard": 1}]}),
                "process.rlimits[0].type",
                "expected one of",
            ),
            (
                json!({"cwd": "/", "env": [], "user": {"uid": 1, "gid": "hunter2"}}),
                "process.user.gid",
                "expected u32",
            ),
        ] {
            let config = json!({"ociVersion": "1.0.2", "annotations": {"a\": {": "["}, "process": process});
            let mismatch = read::<Spec>(&config).expect_err("it is wrong");
            assert_eq!(mismatch.place, place, "{mismatch}");
            assert!(mismatch.why.starts_with(why) && !mismatch.why.contains("hunter2"), "{mismatch}");
        }
        assert_eq!(read::<u8>(&json!("hunter2")).unwrap_err().to_string(), "expected u8");
    }
}
