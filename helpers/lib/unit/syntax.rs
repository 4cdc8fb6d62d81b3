//! Unit files, systemd.syntax(7): reading what an image brings, and writing ours.
//!
//! The kind of a value decides how it is escaped, so callers cannot forget to. Quoting everything would be wrong:
//! systemd ignores quoted paths in settings that take a single path.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use super::lines::{NAME_MAX, is_continued, is_name, logical_lines};
use crate::error::{Context, Error, Result};
use crate::steps;

/// Maximum size of a unit in bytes, after substitution: far above what anybody writes, and what a generator converts in a
/// few milliseconds.
pub const MAX_SIZE: usize = 256 << 10;

/// One `KEY=VALUE` of a unit file, continued lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment {
    line: usize,
    key: String,
    value: String,
    /// Whether it assigns something that no later line resets.
    is_effective: bool,
}

/// All assignments of one section in their order, wherever they are in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Section {
    assignments: Vec<Assignment>,
    /// The last effective assignment of each setting.
    last: HashMap<String, usize>,
}

/// A parsed unit file. Whatever is looked up takes as long as what is found is: units have as many lines as an image
/// wants them to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFile {
    sections: HashMap<String, Section>,
    /// Names of the sections that begin with `X-`, in their order.
    extensions: Vec<String>,
}

/// Why a text is not a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: SyntaxErrorKind,
}

/// What is wrong with a line of a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyntaxErrorKind {
    /// It begins after [`MAX_SIZE`].
    TooLarge,
    /// It contains a control character.
    ControlCharacter,
    /// It begins a section that services do not have.
    UnknownSection(String),
    /// It begins a section, and does not end in `]`.
    OpenSection(String),
    /// It is neither an assignment nor the header of a section.
    Unknown(String),
    /// It assigns to something that cannot be the name of a setting.
    SettingName(String),
    /// It assigns to a setting before there is a section.
    NoSection(String),
    /// Its value ends in a backslash that does not continue it, and would continue the line wherever it is written to.
    OpenValue(String),
}

impl fmt::Display for SyntaxErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyntaxErrorKind::TooLarge => {
                write!(f, "the unit is larger than the limit of {} KiB", MAX_SIZE >> 10)
            }
            SyntaxErrorKind::ControlCharacter => f.write_str("control characters are not allowed in a unit"),
            SyntaxErrorKind::UnknownSection(name) if name.len() > NAME_MAX => {
                write!(f, "the name of a section is longer than {NAME_MAX} bytes")
            }
            SyntaxErrorKind::SettingName(key) if key.len() > NAME_MAX => {
                write!(f, "the name of a setting is longer than {NAME_MAX} bytes")
            }
            SyntaxErrorKind::UnknownSection(name) => write!(f, "unknown section [{name}]"),
            SyntaxErrorKind::OpenSection(text) => write!(f, "section header {text:?} has no ']' at the end"),
            SyntaxErrorKind::Unknown(text) => write!(f, "{text:?} is neither an assignment nor a section"),
            SyntaxErrorKind::SettingName(key) => write!(f, "{key:?} is not the name of a setting"),
            SyntaxErrorKind::NoSection(key) => write!(f, "{key}= is not in any section"),
            SyntaxErrorKind::OpenValue(key) => {
                write!(f, "the value of {key}= ends in a backslash; remove that, or the blank behind it")
            }
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

impl std::error::Error for SyntaxError {}

/// Sections that a service has, besides those that begin with `X-`.
const SECTIONS: [&str; 3] = ["Unit", "Service", "Install"];

impl UnitFile {
    /// Parses unit syntax. systemd only warns about most errors, and runs the unit without the lines in question.
    pub fn parse(text: &str) -> Result<UnitFile, SyntaxError> {
        if let Some(line) = first_line_too_far(text) {
            return Err(SyntaxError { line, kind: SyntaxErrorKind::TooLarge });
        }
        let mut unit = UnitFile::default();
        let mut section = None::<(String, Section)>;
        for (line, text) in logical_lines(text) {
            let error = |kind| Err(SyntaxError { line, kind });
            if text.chars().any(|c| c.is_control() && c != '\t') {
                return error(SyntaxErrorKind::ControlCharacter);
            }
            if let Some(name) = text.strip_prefix('[') {
                match name.strip_suffix(']') {
                    Some(name) if SECTIONS.contains(&name) || name.starts_with("X-") && is_name(name) => {
                        unit.close(section.take());
                        section = Some((name.to_owned(), unit.sections.remove(name).unwrap_or_default()));
                    }
                    Some(name) => return error(SyntaxErrorKind::UnknownSection(name.to_owned())),
                    None => return error(SyntaxErrorKind::OpenSection(text)),
                }
                continue;
            }
            let Some((key, value)) = text.split_once('=') else {
                return error(SyntaxErrorKind::Unknown(text));
            };
            let key = key.trim().to_owned();
            if !is_name(&key) {
                return error(SyntaxErrorKind::SettingName(key));
            }
            let Some((name, section)) = &mut section else {
                return error(SyntaxErrorKind::NoSection(key));
            };
            if section.assignments.is_empty() && name.starts_with("X-") {
                unit.extensions.push(name.clone());
            }
            let value = value.trim().to_owned();
            if is_continued(&value) {
                return error(SyntaxErrorKind::OpenValue(key));
            }
            section.assignments.push(Assignment { line, key, value, is_effective: false });
        }
        unit.close(section);
        unit.sections.values_mut().for_each(Section::settle);
        Ok(unit)
    }

    /// Puts back the section that lines were added to. While it is open, no line has to find it by its name.
    fn close(&mut self, section: Option<(String, Section)>) {
        let section = section.filter(|(_, section)| !section.assignments.is_empty());
        steps::count(section.as_ref().map_or(0, |(name, _)| name.len()));
        self.sections.extend(section);
    }

    fn assignments<'a>(&'a self, section: &str) -> impl Iterator<Item = &'a Assignment> + use<'a> {
        steps::counted(self.sections.get(section).into_iter().flat_map(|section| &section.assignments))
    }

    /// Assignments of one section, in order.
    pub fn section<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.assignments(name).map(|a| (a.key.as_str(), a.value.as_str()))
    }

    /// Assignments of one section that are in force: an empty one resets its setting, and is left out itself.
    pub fn effective<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.assignments(name).filter(|a| a.is_effective).map(|a| (a.key.as_str(), a.value.as_str()))
    }

    /// Like [`UnitFile::section`], each with the number of the line that it begins at.
    pub fn lines<'a>(&'a self, name: &str) -> impl Iterator<Item = (usize, &'a str, &'a str)> + use<'a> {
        self.assignments(name).map(|a| (a.line, a.key.as_str(), a.value.as_str()))
    }

    /// Names of the sections that begin with `X-`, in the order of their first assignments.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The value in force of a setting that takes one value, which is the last one assigned.
    pub fn last(&self, section: &str, key: &str) -> Option<&str> {
        let section = self.sections.get(section)?;
        section.last.get(key).map(|index| section.assignments[*index].value.as_str())
    }
}

impl Section {
    /// Finds out which assignments are effective, once there are no more.
    fn settle(&mut self) {
        let mut reset: HashSet<&str> = HashSet::new();
        let mut effective = vec![false; self.assignments.len()];
        for (index, assignment) in steps::counted(self.assignments.iter().enumerate().rev()) {
            let key = assignment.key.as_str();
            if assignment.value.is_empty() {
                reset.insert(key);
            } else if !reset.contains(key) {
                effective[index] = true;
                self.last.entry(key.to_owned()).or_insert(index);
            }
        }
        for (assignment, is_effective) in self.assignments.iter_mut().zip(effective) {
            assignment.is_effective = is_effective;
        }
    }
}

/// The number of the line in which a text gets larger than [`MAX_SIZE`].
fn first_line_too_far(text: &str) -> Option<usize> {
    let allowed = text.as_bytes().get(..=MAX_SIZE)?;
    Some(allowed.iter().filter(|byte| **byte == b'\n').count() + 1)
}

/// The value of a setting, by the kind that decides how it is escaped.
pub enum Value<'a> {
    /// One absolute path, never quoted: `SourcePath=`, `AssertPathExists=`.
    Path(&'a Path),
    /// Quoted words: `RequiresMountsFor=`, `Environment=`.
    Words(&'a [&'a str]),
    /// A command line, preceded by its special prefixes: `ExecStart=`.
    Exec(&'a str, &'a [&'a str]),
    /// The rest of the line: `Description=`.
    Text(&'a str),
    /// Written verbatim: constants, and lines of the image's own unit or of a declaration.
    Raw(&'a str),
}

/// Writes a unit file.
pub struct Writer {
    text: String,
    section: String,
}

impl Writer {
    /// Starts a file with `header` as a comment, which says where the file comes from.
    pub fn new(header: &str) -> Writer {
        Writer { text: format!("# {header}\n"), section: String::new() }
    }

    /// Adds an assignment, preceded by the header of its section unless the last assignment was in the same one.
    pub fn set(&mut self, section: &str, key: &str, value: Value<'_>) -> Result<()> {
        if !is_name(section) {
            return Err(Error::new(format!("cannot write [{section}]: it is not the name of a section")));
        }
        let line = line(key, &value)?;
        if self.section != section {
            if !self.section.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(&format!("[{section}]\n"));
            self.section = section.to_owned();
        }
        self.text.push_str(&line);
        Ok(())
    }

    /// Returns the text of the file.
    pub fn finish(self) -> String {
        self.text
    }
}

/// One assignment as a line of a unit file.
pub fn line(key: &str, value: &Value<'_>) -> Result<String> {
    if !is_name(key) {
        return Err(Error::new(format!("cannot write {key:?} to a unit: it is not the name of a setting")));
    }
    let value = escape(value).context(|| format!("cannot write {key}= of a unit"))?;
    Ok(format!("{key}={value}\n"))
}

fn escape(value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::Path(path) => {
            let text = path.to_str().ok_or_else(|| format!("{path:?} is not UTF-8"))?;
            if !path.is_absolute() || text.trim() != text {
                return Err(format!("{text:?} is not an absolute path, or has spaces at its ends"));
            }
            plain(text)
        }
        Value::Text(text) => plain(text.trim()),
        Value::Words(words) => quoted(words, false),
        Value::Exec(prefix, words) => quoted(words, true).map(|line| format!("{prefix}{line}")),
        Value::Raw(text) if text.contains(['\n', '\r', '\0']) => {
            Err(format!("{text:?} contains control characters"))
        }
        Value::Raw(text) if is_continued(text) => Err(continues(text)),
        Value::Raw(text) => Ok((*text).to_owned()),
    }
}

fn plain(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err(format!("{text:?} contains control characters"));
    }
    if text.ends_with('\\') {
        return Err(continues(text));
    }
    Ok(text.replace('%', "%%"))
}

fn continues(text: &str) -> String {
    format!("{text:?} ends in a backslash, which would continue the line")
}

fn quoted(words: &[&str], command: bool) -> Result<String, String> {
    let mut out = Vec::new();
    for word in words {
        if word.contains(char::is_control) {
            return Err(format!("{word:?} contains control characters"));
        }
        let mut escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
        if command {
            escaped = escaped.replace('$', "$$");
        }
        let harmless =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '=' | ':' | ',' | '@');
        let bare = command && !word.is_empty() && word.chars().all(harmless);
        out.push(if bare { escaped } else { format!("\"{escaped}\"") });
    }
    Ok(out.join(" "))
}

#[cfg(test)]
mod tests;
