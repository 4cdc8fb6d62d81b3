//! Findings, and the report that they are collected in.

use std::collections::{BTreeMap, HashMap};
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

impl Rule {
    /// Returns whether its findings are errors, and not warnings.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
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

/// How many findings of one file are kept.
const MOST_IN_FILE: usize = 1000;
/// How many findings are kept in all.
const MOST: usize = 10_000;

/// Everything that was found.
#[derive(Debug, Default)]
pub struct LintReport {
    /// Findings; by file and line once the report is complete.
    pub findings: Vec<Finding>,
    /// What could not be checked here, and why.
    pub notes: Vec<String>,
    /// How many findings each file has.
    files: HashMap<String, usize>,
    /// The rules of findings that were not kept since there are too many, with how many of each there are.
    omitted: BTreeMap<&'static str, (&'static Rule, usize)>,
}

impl LintReport {
    /// Adds a finding.
    pub fn add(&mut self, rule: &'static Rule, place: Place, message: impl Into<String>) {
        let in_file = self.files.entry(place.file.clone()).or_default();
        *in_file += 1;
        if *in_file > MOST_IN_FILE || self.findings.len() >= MOST {
            self.omitted.entry(rule.id).or_insert((rule, 0)).1 += 1;
            return;
        }
        self.findings.push(Finding { rule, place, message: message.into() });
    }

    /// Leaves out the findings of these rules.
    pub fn skip(&mut self, ids: &[String]) {
        let is_skipped = |rule: &Rule| ids.iter().any(|id| id == rule.id);
        self.findings.retain(|finding| !is_skipped(finding.rule));
        self.omitted.retain(|_, (rule, _)| !is_skipped(rule));
    }

    /// Notes on findings that were not kept.
    pub fn omissions(&self) -> impl Iterator<Item = String> {
        self.omitted
            .values()
            .map(|(rule, count)| format!("{count} more findings of {} are not listed", rule.id))
    }

    /// Whether there is any finding of such a rule.
    pub fn has(&self, is_meant: impl Fn(&Rule) -> bool) -> bool {
        let omitted = self.omitted.values().map(|(rule, _)| *rule);
        self.findings.iter().map(|finding| finding.rule).chain(omitted).any(is_meant)
    }

    /// Returns whether there is a finding in a file already: what follows from that is not worth another one.
    pub fn mentions(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::rules;

    #[test]
    fn a_part_of_many_findings_is_kept_and_all_of_them_count() {
        let mut report = LintReport::default();
        for _ in 0..MOST_IN_FILE {
            report.add(&rules::NO_DEFAULT, Place::file("exports/a"), "x");
        }
        assert_eq!(report.omissions().count(), 0);
        for _ in 0..3 {
            report.add(&rules::PLACEHOLDER, Place::file("exports/a"), "x");
        }
        assert!(report.mentions("exports/a") && !report.mentions("exports/b"));
        assert_eq!(report.findings.len(), MOST_IN_FILE);
        let notes: Vec<String> = report.omissions().collect();
        assert_eq!(notes, [format!("3 more findings of {} are not listed", rules::PLACEHOLDER.id)]);
        assert!(report.has(Rule::is_error));
        for file in 0..2 * MOST {
            report.add(&rules::NO_DEFAULT, Place::file(file.to_string()), "x");
        }
        assert_eq!(report.findings.len(), MOST);
        report.skip(&[rules::PLACEHOLDER.id.to_owned(), rules::NO_DEFAULT.id.to_owned()]);
        assert!(!report.has(|_| true) && report.omissions().count() == 0);
    }
}
