//! From the texts of a declaration's files to what they choose.
//!
//! Sections and lines are those of systemd.syntax(7). What is not known, which a later version may know, is only told of;
//! what is known and wrong breaks the declaration.

use std::fmt;
use std::rc::Rc;

use crate::declaration::choices::Choices;
use crate::declaration::declared::Declaration;
use crate::declaration::source::Source;
use crate::declaration::{keys, specifiers};
use crate::name::Name;
use crate::paths::TreePath;
use crate::unit::lines::{NAME_MAX, is_continued, is_name, logical_lines};

/// The section with what the container is.
const CONTAINER: &str = "Container";
/// All sections, besides those that begin with `X-`.
const SECTIONS: [&str; 4] = [CONTAINER, "Unit", "Service", "Install"];

/// Settings of `[Service]` that a declaration cannot have, and why.
pub const REFUSED: [(&str, &str); 10] = [
    ("BusName", "it is the image's to say; use a drop-in of the unit"),
    ("DynamicUser", PAYLOAD_USER),
    ("ExecStart", "the payload is what the service runs; use Exec= of [Container] for another command"),
    ("Group", "it would be that of the programs that start the payload; use Group= of [Container]"),
    ("NotifyAccess", "syscontainers sets it; use Notify= of [Container]"),
    ("PIDFile", "syscontainers sets it; leave the line out"),
    ("RootDirectory", IMAGE_ROOT),
    ("RootImage", IMAGE_ROOT),
    ("Type", "syscontainers sets it; use Notify= of [Container] for a payload that notifies systemd"),
    ("User", PAYLOAD_USER),
];
const PAYLOAD_USER: &str =
    "it would be that of the programs that start the payload; use User= of [Container]";
const IMAGE_ROOT: &str = "the root file system is the image's; use Rootfs= of [Container] for another one";

/// How much of what is ignored is told at every start of the host.
const TOLD: usize = 20;

/// Something that is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: TreePath,
    /// Number of the line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.text),
            None => write!(f, "{}: {}", self.path, self.text),
        }
    }
}

/// What was found in the files of a declaration.
#[derive(Debug)]
pub struct Parsed {
    /// What they declare; only valid without `errors`.
    pub declaration: Declaration,
    /// What breaks it, in order.
    pub errors: Vec<Fault>,
    /// What is ignored, in order.
    pub warnings: Vec<Fault>,
}

/// Parses the texts of the files of `source`, in the order in which they count.
pub fn parse(name: &Name, source: &Source, texts: &[(TreePath, Vec<u8>)]) -> Parsed {
    let declaration = Declaration {
        name: name.clone(),
        source: source.clone(),
        choices: Choices::default(),
        unit: Vec::new(),
        install: Vec::new(),
        image_file: None,
        warnings: Vec::new(),
    };
    let mut parsed = Parsed { declaration, errors: Vec::new(), warnings: Vec::new() };
    for (path, bytes) in texts {
        File { path, parsed: &mut parsed, section: Section::None }.read(bytes);
    }
    keys::settle(&mut parsed.declaration.choices);
    if parsed.declaration.choices.image.is_empty() && parsed.errors.is_empty() {
        let text = "there is no Image= in [Container], which says what is to be installed".to_owned();
        parsed.errors.push(Fault { path: source.path.clone(), line: None, text });
    }
    parsed.declaration.warnings = parsed.warnings.iter().take(TOLD).map(Fault::to_string).collect();
    if let more @ 1.. = parsed.warnings.len().saturating_sub(TOLD) {
        parsed
            .declaration
            .warnings
            .push(format!("{}: {more} more keys and sections are ignored", source.path));
    }
    parsed
}

/// The section that a line is in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    /// There was none yet.
    None,
    /// One whose lines are ignored.
    Ignored,
    /// One that counts.
    Known(Rc<str>),
}

/// One file that is being read.
struct File<'a> {
    path: &'a TreePath,
    parsed: &'a mut Parsed,
    section: Section,
}

impl File<'_> {
    fn error(&mut self, line: usize, text: String) {
        self.parsed.errors.push(Fault { path: self.path.clone(), line: Some(line), text });
    }

    fn warning(&mut self, line: usize, text: String) {
        self.parsed.warnings.push(Fault { path: self.path.clone(), line: Some(line), text });
    }

    fn read(&mut self, bytes: &[u8]) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(e) => {
                let line = bytes[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                return self.error(line, "it is not UTF-8".into());
            }
        };
        // In comments, too: whoever looks at the file shall see what it says.
        let has_control = |line: &str| line.chars().any(|c| c.is_control() && c != '\t');
        if let Some(index) = text.lines().position(has_control) {
            return self.error(index + 1, "control characters are not allowed".into());
        }
        for (line, text) in logical_lines(text) {
            self.line(line, &text);
        }
    }

    fn line(&mut self, line: usize, text: &str) {
        if let Some(header) = text.strip_prefix('[') {
            match header.strip_suffix(']') {
                Some(name) => self.enter(line, name),
                None if is_name(header) => {
                    self.error(line, format!("section header {text:?} has no ']' at the end"))
                }
                // It may be a part of a value that has lost its key.
                None => self.error(line, "a section header has no ']' at the end".into()),
            }
            return;
        }
        let section = match self.section.clone() {
            Section::Ignored => return,
            Section::Known(name) => Some(name),
            Section::None => None,
        };
        // What such a line says may be a secret that has lost its key.
        let Some((key, value)) = text.split_once('=') else {
            return self.error(line, "expected KEY=VALUE or [SECTION]".into());
        };
        let (key, value) = (key.trim(), value.trim());
        if key.len() > NAME_MAX {
            return self.error(line, format!("what is in front of '=' is longer than {NAME_MAX} bytes"));
        }
        if !is_name(key) {
            return self.error(line, "what is in front of '=' is not a key".into());
        }
        let Some(section) = section else {
            return self.error(line, format!("{key}= is not in any section; begin with [{CONTAINER}]"));
        };
        if &*section != CONTAINER && is_continued(value) {
            let why = "which would continue the line; remove that, or the blank behind it";
            return self.error(line, format!("the value of {key}= ends in a backslash, {why}"));
        }
        match &*section {
            CONTAINER => self.choose(line, key, value),
            "Install" => self.parsed.declaration.install.push((key.to_owned(), value.to_owned())),
            _ => self.set(line, section, key, value),
        }
    }

    fn enter(&mut self, line: usize, name: &str) {
        if SECTIONS.contains(&name) || name.starts_with("X-") && is_name(name) {
            self.section = Section::Known(name.into());
            return;
        }
        self.section = Section::Ignored;
        if !is_name(name) {
            let why = match name.len() {
                ..=NAME_MAX => "what is between the brackets is not a name".to_owned(),
                _ => format!("its name is longer than {NAME_MAX} bytes"),
            };
            return self.warning(line, format!("unknown section, its lines are ignored: {why}"));
        }
        let meant = SECTIONS.iter().find(|known| known.eq_ignore_ascii_case(name));
        let meant = meant.map_or_else(String::new, |known| format!("; did you mean [{known}]?"));
        self.warning(line, format!("unknown section [{name}], its lines are ignored{meant}"));
    }

    fn choose(&mut self, line: usize, key: &str, value: &str) {
        if !keys::is_known(key) {
            let meant =
                keys::meant(key).map_or_else(String::new, |known| format!("; did you mean {known}=?"));
            return self.warning(line, format!("unknown key {key}=, it is ignored{meant}"));
        }
        let declaration = &mut self.parsed.declaration;
        let chosen = match specifiers::expand(value, &declaration.name) {
            Ok(expanded) if expanded.is_empty() && !value.is_empty() => Err(format!(
                "{key}={value} is empty, since {} is not an instance of a template",
                declaration.name
            )),
            Ok(expanded) => keys::choose(&mut declaration.choices, key, &expanded).map_err(|e| e.to_string()),
            Err(specifier) => {
                let shown = if keys::is_shown(key) { specifier } else { "'%'".to_owned() };
                let all = specifiers::ALL;
                Err(format!("{shown} in {key}= is not a specifier; there are {all}, which is a percent sign"))
            }
        };
        if let Err(why) = chosen {
            self.error(line, why);
        }
    }

    fn set(&mut self, line: usize, section: Rc<str>, key: &str, value: &str) {
        if &*section == "Service" {
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                return self.error(line, format!("{key}= cannot be set in [Service]: {why}"));
            }
            if key.starts_with("Exec") && value.is_empty() {
                let why = "it would remove the commands that the container needs; leave the line out";
                return self.error(line, format!("{key}= cannot be empty: {why}"));
            }
        }
        self.parsed.declaration.unit.push((section, key.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests;
