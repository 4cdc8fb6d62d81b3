//! Unit files, systemd.syntax(7): reading what an image brings, and writing ours.
//!
//! The kind of a value decides how it is escaped, so that callers cannot forget it. Quoting everything would be wrong:
//! systemd ignores quoted paths in settings that take one path.

use std::fmt::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// One `KEY=VALUE` of a unit file, continued lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment {
    line: usize,
    section: String,
    key: String,
    value: String,
}

/// A parsed unit file: assignments in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFile {
    assignments: Vec<Assignment>,
}

/// Sections that a service has; those that begin with `X-` are anyone's.
const SECTIONS: [&str; 3] = ["Unit", "Service", "Install"];

impl UnitFile {
    /// Parses unit syntax; an error names the line. systemd only warns of most of these, and runs without what was meant.
    pub fn parse(text: &str) -> Result<UnitFile> {
        let mut unit = UnitFile::default();
        let mut section = None;
        for (line, text) in logical_lines(text) {
            let error = |why: String| Err(Error::new(format!("line {line}: {why}")));
            if text.chars().any(|c| c.is_control() && c != '\t') {
                return error("control characters have no place in a unit".into());
            }
            if let Some(name) = text.strip_prefix('[') {
                match name.strip_suffix(']') {
                    Some(name) if SECTIONS.contains(&name) || name.starts_with("X-") && is_name(name) => {
                        section = Some(name.to_owned());
                    }
                    Some(name) => return error(format!("unknown section [{name}]")),
                    None => return error(format!("section header {text:?} lacks its ']'")),
                }
                continue;
            }
            let Some((key, value)) = text.split_once('=') else {
                return error(format!("{text:?} is neither an assignment nor a section"));
            };
            if !is_name(key.trim()) {
                return error(format!("{:?} is no setting's name", key.trim()));
            }
            let Some(section) = &section else {
                return error(format!("{}= stands before any section", key.trim()));
            };
            unit.assignments.push(Assignment {
                line,
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
        Ok(unit)
    }

    /// Assignments of one section, in order.
    pub fn section<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a, 'n> {
        self.assignments.iter().filter(move |a| a.section == name).map(|a| (a.key.as_str(), a.value.as_str()))
    }

    /// Those that are in force: an empty assignment takes back the ones before it, and is none itself.
    pub fn effective<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a, 'n> {
        let reset = move |index: usize, key: &str| {
            self.assignments[index + 1..]
                .iter()
                .any(|a| a.section == name && a.key == key && a.value.is_empty())
        };
        let all = self.assignments.iter().enumerate().filter(move |(_, a)| a.section == name);
        let set = all.filter(move |(index, a)| !a.value.is_empty() && !reset(*index, &a.key));
        set.map(|(_, a)| (a.key.as_str(), a.value.as_str()))
    }

    /// As [`UnitFile::section`], with the number of the line that each begins at.
    pub fn lines<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = (usize, &'a str, &'a str)> + use<'a, 'n> {
        let lines = self.assignments.iter().filter(move |a| a.section == name);
        lines.map(|a| (a.line, a.key.as_str(), a.value.as_str()))
    }

    /// Names of the sections that are nobody's but ours or the image's, `X-…`, each once.
    pub fn extensions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for assignment in &self.assignments {
            if assignment.section.starts_with("X-") && !names.contains(&assignment.section.as_str()) {
                names.push(&assignment.section);
            }
        }
        names
    }

    /// What a setting that keeps its last value is set to.
    pub fn last<'a>(&'a self, section: &str, key: &str) -> Option<&'a str> {
        self.effective(section).filter(|(k, _)| *k == key).last().map(|(_, v)| v)
    }
}

/// Lines with continued ones joined by a blank, and the number each begins at; comments and blank lines are left out.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        // Comments may stand between continued lines.
        if line.starts_with(['#', ';']) || (open.is_none() && line.trim().is_empty()) {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(line) if is_continued(line) => {
                joined.push_str(line);
                joined.push(' ');
                open = Some((number, joined));
            }
            _ => {
                joined.push_str(line);
                lines.push((number, joined.trim_end().to_owned()));
            }
        }
    }
    lines.extend(open.map(|(number, joined)| (number, joined.trim_end().to_owned())));
    lines
}

/// Whether the backslash behind `line` is one that continues it, and not the second half of an escaped one.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 0
}

/// What settings and sections are called.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// A value of a setting, by kind: how it is escaped.
pub enum Value<'a> {
    /// One absolute path, never quoted: `SourcePath=`, `AssertPathExists=`.
    Path(&'a Path),
    /// Quoted words: `RequiresMountsFor=`, `Environment=`.
    Words(&'a [&'a str]),
    /// A command line, preceded by its special prefixes: `ExecStart=`.
    Exec(&'a str, &'a [&'a str]),
    /// The rest of the line: `Description=`.
    Text(&'a str),
    /// Written as it is: constants, and lines of the image's own unit.
    Raw(&'a str),
}

/// Writes a unit file.
pub struct Writer {
    text: String,
    section: String,
}

impl Writer {
    /// Begins with the line that says whose file it is.
    pub fn new(header: &str) -> Writer {
        Writer { text: format!("# {header}\n"), section: String::new() }
    }

    /// Adds an assignment, and its section's header if the last one was of another.
    pub fn set(&mut self, section: &str, key: &str, value: Value<'_>) -> Result<()> {
        if !is_name(key) || !is_name(section) {
            return Err(Error::new(format!("cannot write {key:?} of [{section}]: it is no setting's name")));
        }
        let value =
            escape(&value).map_err(|why| Error::new(format!("cannot write {key}= of a unit: {why}")))?;
        if self.section != section {
            let blank = if self.section.is_empty() { "" } else { "\n" };
            let _ = writeln!(self.text, "{blank}[{section}]");
            self.section = section.to_owned();
        }
        let _ = writeln!(self.text, "{key}={value}");
        Ok(())
    }

    /// The file's text.
    pub fn finish(self) -> String {
        self.text
    }
}

fn escape(value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::Path(path) => {
            let text = path.to_str().ok_or_else(|| format!("{path:?} is not UTF-8"))?;
            if !path.is_absolute() || text.trim() != text {
                return Err(format!("{text:?} is not an absolute path, or has blanks at its ends"));
            }
            plain(text)
        }
        Value::Text(text) => plain(text.trim()),
        Value::Words(words) => quoted(words, false),
        Value::Exec(prefix, words) => quoted(words, true).map(|line| format!("{prefix}{line}")),
        Value::Raw(text) if text.contains(char::is_control) && text.contains(['\n', '\r', '\0']) => {
            Err(format!("{text:?} holds control characters"))
        }
        Value::Raw(text) => Ok((*text).to_owned()),
    }
}

fn plain(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err(format!("{text:?} holds control characters"));
    }
    if text.ends_with('\\') {
        return Err(format!("{text:?} ends in a backslash, which would swallow the next line"));
    }
    Ok(text.replace('%', "%%"))
}

fn quoted(words: &[&str], command: bool) -> Result<String, String> {
    let mut out = Vec::new();
    for word in words {
        if word.contains(char::is_control) {
            return Err(format!("{word:?} holds control characters"));
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
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemd_reads() {
        let text = "# c\n[Unit]\nDescription = a b \n; c\n[Service]\nExecStart=/bin/x \\\n# between\n  y\\\nz\nA=\\\\\n[X-Y]\nq=1\n[Unit]\nAfter=\nAfter=b";
        let unit = UnitFile::parse(text).unwrap();
        let list = |section| unit.section(section).map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
        assert_eq!(list("Unit"), ["Description=a b", "After=", "After=b"]);
        assert_eq!(list("Service"), ["ExecStart=/bin/x  y z", "A=\\\\"]);
        assert_eq!(unit.extensions(), ["X-Y"]);
        assert_eq!(unit.last("Unit", "After"), Some("b"));
        assert_eq!(unit.last("Unit", "Before"), None);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, error) in [
            ("A=1", "line 1: A= stands before any section"),
            ("[Unit]\n\n[Sock]", "line 3: unknown section [Sock]"),
            ("[Unit]\nfoo", "line 2: \"foo\" is neither an assignment nor a section"),
            ("[Unit]\na b=1", "line 2: \"a b\" is no setting's name"),
            ("[Unit\n", "line 1: section header \"[Unit\" lacks its ']'"),
            ("[Unit]\nA=\\\n1\nB=\u{1b}", "line 4: control characters have no place in a unit"),
        ] {
            assert_eq!(UnitFile::parse(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn escapes_by_kind() {
        let mut writer = Writer::new("h");
        writer.set("Unit", "SourcePath", Value::Path(Path::new("/a b%c"))).unwrap();
        writer.set("Unit", "Description", Value::Text("50% \"x\"")).unwrap();
        writer.set("Unit", "RequiresMountsFor", Value::Words(&["/a b", "/$c\"%"])).unwrap();
        writer.set("Service", "ExecStart", Value::Exec("+", &["/bin/x", "a b", "$HOME;%\\", ""])).unwrap();
        let expected = "# h\n[Unit]\nSourcePath=/a b%%c\nDescription=50%% \"x\"\nRequiresMountsFor=\"/a b\" \"/$c\\\"%%\"\n\n[Service]\nExecStart=+/bin/x \"a b\" \"$$HOME;%%\\\\\" \"\"\n";
        assert_eq!(writer.finish(), expected);
    }

    #[test]
    fn refuses_what_would_be_another_line() {
        let mut writer = Writer::new("h");
        for value in [
            Value::Path(Path::new("/a\nb")),
            Value::Path(Path::new("a")),
            Value::Path(Path::new("/a\\")),
            Value::Text("a\nExecStart=/x"),
            Value::Words(&["a\n"]),
            Value::Exec("", &["a\0"]),
            Value::Raw("a\nb"),
        ] {
            assert!(writer.set("Unit", "X", value).is_err());
        }
        assert!(writer.set("Unit", "A=1\nB", Value::Text("")).is_err());
        assert_eq!(writer.finish(), "# h\n");
    }

    /// What is written is read back as it was.
    #[test]
    fn raw_lines_round_trip() {
        let text = "[Unit]\nA=1\nB=x \"y\" %n\n\n[Service]\nC=\\\\\n";
        let unit = UnitFile::parse(text).unwrap();
        let mut writer = Writer::new("h");
        for section in ["Unit", "Service"] {
            for (key, value) in unit.section(section) {
                writer.set(section, key, Value::Raw(value)).unwrap();
            }
        }
        assert_eq!(writer.finish(), format!("# h\n{text}"));
    }
}
