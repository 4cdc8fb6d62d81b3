//! Findings, and the report that they are collected in.

use std::fmt;

use serde_json::{Value, json};

use super::rules::{Rule, Severity};
use crate::program::text;

/// The place of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file: a path of this host, `exports/…` in an image, or the name of an image.
    pub file: String,
    /// Line and column, from 1, if they are known.
    pub position: Option<(usize, usize)>,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: impl Into<String>) -> Place {
        Place { file: file.into(), position: None }
    }

    /// A line and a column of a file.
    pub fn at(file: impl Into<String>, line: usize, column: usize) -> Place {
        Place { file: file.into(), position: Some((line, column)) }
    }
}

/// One violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static Rule,
    /// Where it is violated.
    pub place: Place,
    /// What is wrong there, and what to do about it.
    pub message: String,
}

impl Finding {
    /// Returns the finding as JSON; syscontainer-lint(8) documents the keys.
    pub fn to_json(&self) -> Value {
        json!({
            "rule": self.rule.id,
            "severity": self.rule.severity.as_str(),
            "file": self.place.file,
            "line": self.place.position.map(|(line, _)| line),
            "column": self.place.position.map(|(_, column)| column),
            "message": self.message,
        })
    }

    /// Returns whether it is an error, and not a warning.
    pub fn is_error(&self) -> bool {
        self.rule.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = match self.place.position {
            Some((line, column)) => format!(":{line}:{column}"),
            None => String::new(),
        };
        let severity = self.rule.severity.as_str();
        let line = format!("{}{position}: {severity}: {} [{}]", self.place.file, self.message, self.rule.id);
        // Text from an image must not forge further lines.
        f.write_str(&text::printable(&line))
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct LintReport {
    /// Findings; by file and line once the report is complete.
    pub findings: Vec<Finding>,
    /// What could not be checked here, and why.
    pub notes: Vec<String>,
}

impl LintReport {
    /// Adds a finding.
    pub fn add(&mut self, rule: &'static Rule, place: Place, message: impl Into<String>) {
        self.findings.push(Finding { rule, place, message: message.into() });
    }

    /// Returns whether there is a finding in a file already: what follows from that is not worth another one.
    pub fn mentions(&self, file: &str) -> bool {
        self.findings.iter().any(|finding| finding.place.file == file)
    }
}
