//! Secret variables in `config.json.template`: they may only be in the environment of the payload.
//!
//! Everything else gets out of the configuration: arguments are in lists of processes, bind sources and resources in the
//! unit, and what systemd makes of it in the journal.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::container::info::Values;
use crate::image::exports::CONFIG_TEMPLATE;
use crate::image::positions::{JsonIndex, Positions};
use crate::image::template::{self, Format, PlaceholderFault, Problem};

/// What surrounds the name of a secret variable where its value would be; no value is made of such characters.
const MARKS: [char; 2] = ['\u{f0000}', '\u{f0001}'];

/// Finds the secrets of a template that are elsewhere than in `process.env`. Each is replaced by its name, so what the
/// values are makes no difference.
pub fn misplaced(
    text: &str,
    values: &Values,
    secrets: &BTreeSet<String>,
    stand_in: Option<&str>,
) -> Vec<Problem> {
    let used: BTreeSet<String> = template::variables(text).intersection(secrets).cloned().collect();
    if used.is_empty() {
        return Vec::new();
    }
    let [open, close] = MARKS;
    let mut values = values.clone();
    // Where it is not in a string already, it is one by its quotes.
    values.extend(used.iter().map(|name| (name.clone(), format!("\"{open}{name}{close}\""))));
    let marked = template::render(CONFIG_TEMPLATE, text, Format::Json, &values, stand_in);
    let Ok(config) = serde_json::from_str::<Value>(&marked.text) else {
        // Either it is not JSON with the values either, or one of them is a part of something.
        return used.iter().map(|name| problem(name, "a value that is not a string", (1, 1))).collect();
    };
    let mut found = Vec::new();
    let mut path = Vec::new();
    search(&config, &mut path, &mut found);
    let (index, positions) = (JsonIndex::new(&marked.text), Positions::new(text));
    let locate = |(name, path): &(String, Vec<String>)| {
        let at = marked.origin(index.find(path));
        problem(name, &shown(path), positions.find(at))
    };
    found.iter().map(locate).collect()
}

fn problem(name: &str, place: &str, (line, column): (usize, usize)) -> Problem {
    let fault = PlaceholderFault::SecretPlace { name: name.to_owned(), place: place.to_owned() };
    Problem { file: CONFIG_TEMPLATE.to_owned(), line, column, fault }
}

fn search(value: &Value, path: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    match value {
        Value::String(text) if !is_environment(path) => note(text, path, found),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push(index.to_string());
                search(value, path, found);
                path.pop();
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                note(key, path, found);
                path.push(key.clone());
                search(value, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn is_environment(path: &[String]) -> bool {
    matches!(path, [process, env, _] if process == "process" && env == "env")
}

/// Notes the first secret of a text, which is enough to refuse it.
fn note(text: &str, path: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let name = text.split_once(MARKS[0]).and_then(|(_, rest)| rest.split_once(MARKS[1]));
    found.extend(name.map(|(name, _)| (name.to_owned(), path.to_vec())));
}

/// The place in the words of messages: `process.args[1]`. It has no name of a member that is a secret itself.
fn shown(path: &[String]) -> String {
    let mut shown = String::new();
    for part in path {
        if part.contains(MARKS) {
            break;
        } else if part.bytes().all(|byte| byte.is_ascii_digit()) && !shown.is_empty() {
            shown.push_str(&format!("[{part}]"));
        } else {
            shown.push_str(if shown.is_empty() { "" } else { "." });
            shown.push_str(part);
        }
    }
    if shown.is_empty() { "the configuration".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, value: &str) -> Vec<String> {
        let values = Values::from([("PW".into(), value.into()), ("A".into(), "a".into())]);
        let secrets = BTreeSet::from(["PW".to_owned()]);
        misplaced(text, &values, &secrets, None).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn secrets_are_only_in_the_environment() {
        let env = r#"{"process": {"args": ["$A"], "env": ["A=$A", "PW=$PW", "${PW}2"]}}"#;
        assert_eq!(found(env, "hunter2"), [] as [String; 0]);
        for (text, place, column) in [
            (r#"{"process": {"args": ["x", "--p=$PW"]}}"#, "process.args[1]", 28),
            (r#"{"process": {"env": {"x": "$PW"}, "env2": 1}}"#, "", 0),
            (r#"{"mounts": [{"source": "/x/$PW"}]}"#, "mounts[0].source", 24),
            (r#"{"linux": {"resources": {"unified": {"$PW": "1"}}}}"#, "linux.resources.unified", 37),
            (r#"{"linux": {"resources": {"memory": {"limit": $PW}}}}"#, "linux.resources.memory.limit", 46),
            (r#"{"hostname": "$PW"}"#, "hostname", 14),
            (r#"{"x": 1$PW}"#, "a value that is not a string", 1),
        ] {
            if place.is_empty() {
                assert_eq!(found(text, "hunter2"), [] as [String; 0], "{text}");
                continue;
            }
            let why = format!(
                "exports/config.json.template:1:{column}: PW is a secret, and other users of the host could see it in {place}; use it in process.env, or in a host file of mode 0600 that belongs to root"
            );
            // Whatever its value is, even that of a mask.
            for value in ["7", "********", "\"x\\"] {
                assert_eq!(found(text, value), [why.as_str()], "{text} {value}");
            }
        }
    }
}
