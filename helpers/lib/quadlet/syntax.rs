//! Lines of quadlets. podman reads them a little differently from systemd: lines are joined without a space, and neither
//! comments nor empty lines end a continuation.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::steps;
use crate::unit::lines::NAME_MAX;

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Rc<str>,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One `KEY=VALUE`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The section that it is in.
    pub section: Rc<str>,
    /// The key.
    pub key: String,
    /// The value, continued lines joined.
    pub value: String,
    /// The line that it begins at.
    pub place: Place,
}

impl Entry {
    /// The value of a key that takes one text: quotes around all of it are not part of it.
    pub fn text(&self) -> &str {
        let inner = self.value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.unwrap_or(&self.value)
    }
}

/// All assignments of a quadlet, in order. Whatever is looked up takes as long as what is found is.
#[derive(Debug)]
pub struct Entries {
    all: Vec<Entry>,
    /// By section and key.
    ends: HashMap<Rc<str>, HashMap<String, Ends>>,
}

/// Where the last assignments of a key are.
#[derive(Debug, Default)]
struct Ends {
    /// The last one.
    last: usize,
    /// The last one that is empty.
    reset: Option<usize>,
}

impl Entries {
    pub fn new(all: Vec<Entry>) -> Entries {
        let mut ends: HashMap<Rc<str>, HashMap<String, Ends>> = HashMap::new();
        for (index, entry) in steps::counted(all.iter().enumerate()) {
            let of_section = ends.entry(entry.section.clone()).or_default();
            let of_key = of_section.entry(entry.key.clone()).or_default();
            of_key.last = index;
            if entry.value.is_empty() {
                of_key.reset = Some(index);
            }
        }
        Entries { all, ends }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        steps::counted(self.all.iter())
    }

    /// The last assignment of a key.
    pub fn last(&self, section: &str, key: &str) -> Option<&Entry> {
        Some(&self.all[self.ends(section, key)?.last])
    }

    /// Whether a later one has the same key as the one at this place.
    pub fn is_replaced(&self, index: usize) -> bool {
        self.ends_of(index).is_some_and(|ends| ends.last > index)
    }

    /// Whether a later one that has the same key is empty.
    pub fn is_reset(&self, index: usize) -> bool {
        self.ends_of(index).is_some_and(|ends| ends.reset > Some(index))
    }

    fn ends_of(&self, index: usize) -> Option<&Ends> {
        let entry = self.all.get(index)?;
        self.ends(&entry.section, &entry.key)
    }

    fn ends(&self, section: &str, key: &str) -> Option<&Ends> {
        self.ends.get(section)?.get(key)
    }
}

/// The assignments of a file, in order. Like podman, nothing is made of a file with a line that is none of what there may be.
pub fn parse(text: &str, file: &str) -> Result<Vec<Entry>> {
    let file: Rc<str> = file.into();
    let (mut entries, mut section) = (Vec::new(), None::<Rc<str>>);
    for (line, text) in logical_lines(text) {
        let place = Place { file: file.clone(), line };
        let error = |why: &str| Error::new(format!("cannot convert {place}: {why}"));
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(error("control characters are not allowed"));
        }
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if name.is_empty() || name.contains(['[', ']']) {
                return Err(error(&format!("{text:?} is not the header of a section")));
            }
            if name.len() > NAME_MAX {
                return Err(error(&format!("the name of the section is longer than {NAME_MAX} bytes")));
            }
            section = Some(name.into());
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            // What it says may be a secret that has lost its key.
            return Err(error("expected KEY=VALUE or [SECTION]"));
        };
        let (key, value) = (key.trim_end().to_owned(), value.trim().to_owned());
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Err(error("what is in front of '=' is not a key"));
        }
        if key.len() > NAME_MAX {
            return Err(error(&format!("what is in front of '=' is longer than {NAME_MAX} bytes")));
        }
        let section = section.clone().ok_or_else(|| error(&format!("{key}= is not in any section")))?;
        entries.push(Entry { section, key, value, place });
    }
    Ok(entries)
}

/// Lines with their continuations, and the numbers of those that they begin at.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(begin) => {
                joined.push_str(begin);
                open = Some((number, joined));
            }
            None => {
                joined.push_str(line);
                lines.push((number, joined));
            }
        }
    }
    lines.extend(open);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let entries = parse(text, "x").unwrap();
        entries
            .into_iter()
            .map(|entry| (format!("{}:{}", entry.key, entry.place.line), entry.value))
            .collect()
    }

    #[test]
    fn lines_are_joined_as_podman_does() {
        let text = "\r\n[Container]\n# no\n; no\nExec = a \\\n  b\\\n# between\n\n\tc \\\r\n d\nImage=\"x y\" \nUser=a\\";
        let expected = [("Exec:5", "a bc d"), ("Image:11", "\"x y\""), ("User:12", "a")];
        assert_eq!(pairs(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(parse(text, "x").unwrap()[1].text(), "x y");
    }

    #[test]
    fn what_podman_does_not_read_is_an_error_with_its_line() {
        let long = "a".repeat(NAME_MAX + 1);
        for (text, line, why) in [
            ("[Container]\nImage", 2, "expected KEY=VALUE or [SECTION]"),
            ("Image=x", 1, "is not in any section"),
            ("[Container]\n\n=x", 3, "what is in front of"),
            ("[a[b]", 1, "is not the header of a section"),
            ("[Container]\nExec=a\u{1b}", 2, "control characters"),
            (&format!("[X-{long}]"), 1, "the name of the section is longer than 128 bytes"),
            (&format!("[Container]\n{long}="), 2, "is longer than 128 bytes"),
        ] {
            let error = parse(text, "a.container").unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot convert a.container:{line}: ")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
