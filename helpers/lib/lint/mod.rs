//! What is wrong with an image, or with the sources of one, before anybody installs it.
//!
//! One module for each thing that is looked at. Nothing is changed, nothing of the image is run, and whatever an image
//! holds is a finding, never a failure.

mod config;
mod dockerfile;
mod exports;
mod git;
mod json;
mod limits;
mod manifest;
mod mounts;
pub mod remote;
pub mod rules;
pub mod subject;
mod unit;
mod variables;

use std::fmt;

use serde_json::{Value, json};

use crate::error::Result;
use exports::Exports;
use rules::{Rule, Severity};
use subject::Subject;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file: a path of this host, `exports/…` in an image, or an image's name.
    pub file: String,
    /// Line and column, from 1, where they are known.
    pub position: Option<(usize, usize)>,
}

impl Place {
    /// A whole file.
    fn file(file: impl Into<String>) -> Place {
        Place { file: file.into(), position: None }
    }

    /// A place in a file.
    fn at(file: impl Into<String>, line: usize, column: usize) -> Place {
        Place { file: file.into(), position: Some((line, column)) }
    }
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// Where.
    pub place: Place,
    /// What, and what to do about it.
    pub message: String,
}

impl Finding {
    /// As JSON: syscontainer-lint(8) has the schema.
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

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.rule.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position =
            self.place.position.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let severity = self.rule.severity.as_str();
        let line = format!("{}{position}: {severity}: {} [{}]", self.place.file, self.message, self.rule.id);
        // Text from images must not forge a line of its own.
        f.write_str(&line.replace(char::is_control, "\u{fffd}"))
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// By file and line.
    pub findings: Vec<Finding>,
    /// What could not be checked here, and why.
    pub notes: Vec<String>,
}

impl Report {
    fn add(&mut self, rule: &'static Rule, place: Place, message: impl Into<String>) {
        self.findings.push(Finding { rule, place, message: message.into() });
    }
}

/// Applies all rules.
pub fn check(subject: &Subject) -> Result<Report> {
    let mut report = Report::default();
    let exports = Exports::read(subject, &mut report)?;
    let run_once = match subject.image() {
        Some(image) => image.labels()?.get("atomic.run").is_some_and(|run| run == "once"),
        None => subject.dockerfile().is_some_and(|file| dockerfile::is_run_once(&file.text)),
    };
    if let Some(source) = subject.source() {
        dockerfile::check(subject, source, &mut report);
        git::check(source, &mut report);
    }
    let manifest = manifest::check(subject, &exports, &mut report);
    let variables = variables::Variables::new(subject, &manifest)?;
    let rendered = variables::check(subject, &exports, &manifest, variables, &mut report)?;
    let config = config::check(subject, &exports, &rendered, &manifest, run_once, &mut report)?;
    let unit = unit::check(subject, &exports, &rendered, config.as_ref(), &manifest, &mut report)?;
    if let (Some(config), Some(unit)) = (&config, &unit) {
        limits::check(config, unit, &mut report);
    }
    if let Some(config) = &config {
        mounts::check(config, &rendered, unit.as_ref(), &mut report);
    }
    report.findings.sort_by(|a, b| (&a.place.file, a.place.position).cmp(&(&b.place.file, b.place.position)));
    Ok(report)
}
