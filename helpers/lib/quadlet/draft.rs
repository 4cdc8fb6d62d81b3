//! A declaration that is being made of a quadlet.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use crate::container::settings;
use crate::program::text;
use crate::quadlet::files::{Quadlet, SUFFIX};
use crate::quadlet::specifiers;
use crate::quadlet::syntax::{Entry, Place};
use crate::quadlet::together::Together;
use crate::steps;

/// What became of a quadlet.
#[derive(Debug)]
pub struct Conversion {
    /// Name of the declaration, with an `@` at its end if it is a template.
    pub name: String,
    /// The text of the declaration. What is refused is in it as comments.
    pub text: String,
    /// The instance of a template that is to be there by default.
    pub default_instance: Option<String>,
    /// What is not carried over, or not quite.
    pub remarks: Vec<Remark>,
    /// Whether the quadlet leaves the network to podman, which makes one with addresses of its own.
    pub uses_default_network: bool,
    /// Whether only root is to read the declaration.
    pub is_private: bool,
}

impl Conversion {
    /// Whether something was refused, without which the container is another one.
    pub fn is_refused(&self) -> bool {
        self.remarks.iter().any(|remark| remark.matters)
    }
}

/// What is said of a line.
#[derive(Debug)]
pub struct Remark {
    /// What is said.
    pub text: String,
    /// Whether the line was refused.
    pub matters: bool,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The sections of a declaration, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Unit,
    Container,
    Service,
    Install,
}

const PARTS: [(Part, &str); 4] = [
    (Part::Unit, "[Unit]"),
    (Part::Container, "[Container]"),
    (Part::Service, "[Service]"),
    (Part::Install, "[Install]"),
];

/// The declaration so far.
pub struct Draft<'a> {
    pub quadlet: &'a Quadlet,
    /// All that are converted together, and which one of them this is.
    pub together: &'a Together<'a>,
    pub number: usize,
    pub default_instance: Option<String>,
    /// Named volumes that were met.
    pub volumes: HashSet<String>,
    /// What was found in files beside the quadlet.
    beside: HashMap<String, Result<Option<String>, String>>,
    lines: Vec<(Part, String)>,
    extensions: Vec<(Rc<str>, String)>,
    remarks: Vec<Remark>,
    /// The line that was refused last.
    refused: Option<Place>,
}

impl<'a> Draft<'a> {
    pub fn new(together: &'a Together<'a>, number: usize) -> Draft<'a> {
        let quadlet = &together.quadlets[number];
        let mut draft = Draft {
            quadlet,
            together,
            number,
            default_instance: None,
            volumes: HashSet::new(),
            beside: HashMap::new(),
            lines: Vec::new(),
            extensions: Vec::new(),
            remarks: Vec::new(),
            refused: None,
        };
        if let Err(e) = quadlet.check_name() {
            draft.refuse_all(&e.to_string());
        }
        if together.is_taken(quadlet.service()) {
            draft.refuse_all(&format!("another file makes {}.service, too", quadlet.service()));
        }
        draft
    }

    /// What `find` finds in another file in the same directory, such as `data.volume`, which is read once; `None` if there is
    /// none.
    pub fn beside(
        &mut self,
        file: &str,
        find: fn(&[Entry]) -> Result<String, String>,
    ) -> Result<Option<String>, String> {
        if let Some(found) = self.beside.get(file) {
            return found.clone();
        }
        let entries = self.quadlet.beside(file).map_err(|e| e.to_string());
        let found = entries.and_then(|entries| entries.map(|entries| find(&entries)).transpose());
        self.beside.insert(file.to_owned(), found.clone());
        found
    }

    /// Adds a key of `[Container]` whose value systemd would have expanded, if the declaration takes it.
    pub fn carry(&mut self, entry: &Entry, key: &str, value: &str) {
        match specifiers::translate(value) {
            Ok(value) => self.set(entry, key, &value),
            Err(why) => self.refuse(entry, &why),
        }
    }

    /// Like [`Draft::carry`], for a value that has been translated.
    pub fn set(&mut self, entry: &Entry, key: &str, value: &str) {
        let shown = specifiers::example(value, self.quadlet.service());
        if shown.is_empty() {
            return self.refuse(entry, "it is empty, since this is not an instance of a template");
        }
        let checked = settings::key(key).map_or(Ok(()), |key| (key.check)(&shown));
        match checked {
            Err(e) => self.refuse(entry, &e.to_string()),
            Ok(()) => self.add(entry, Part::Container, key, value),
        }
    }

    /// Adds a line as it is.
    pub fn add(&mut self, entry: &Entry, part: Part, key: &str, value: &str) {
        match line(key, value) {
            Ok(line) => self.lines.push((part, line)),
            Err(why) => self.refuse(entry, why),
        }
    }

    /// Adds a line to a section `[X-…]`.
    pub fn add_extension(&mut self, entry: &Entry) {
        match line(&entry.key, &entry.value) {
            Ok(line) => self.extensions.push((entry.section.clone(), line)),
            Err(why) => self.refuse(entry, why),
        }
    }

    /// Adds a line that no line of the quadlet is the reason of; `first` in its section, so that it can be reset there.
    pub fn imply(&mut self, part: Part, text: &str, first: bool) {
        let at = if first { 0 } else { self.lines.len() };
        self.lines.insert(at, (part, text.to_owned()));
    }

    /// Whether anything was added to a section.
    pub fn has(&self, part: Part) -> bool {
        self.lines.iter().any(|(other, _)| *other == part)
    }

    /// Says that a line is not carried over, and that this matters.
    pub fn refuse(&mut self, entry: &Entry, why: &str) {
        self.comment(entry);
        self.remark(&entry.place, &format!("cannot carry over {}=: {why}", entry.key), true);
    }

    /// Says that a line is left out, without which the same runs.
    pub fn leave_out(&mut self, entry: &Entry, why: &str) {
        self.remark(&entry.place, &format!("{}= is left out: {why}", entry.key), false);
    }

    /// Says what is different about a line that was carried over.
    pub fn note(&mut self, entry: &Entry, what: &str) {
        self.remark(&entry.place, &format!("{}= {what}", entry.key), false);
    }

    /// Says why there is no declaration that does the same, other than for a line.
    pub fn refuse_all(&mut self, why: &str) {
        let path = self.quadlet.path.display();
        self.remarks.push(Remark { text: format!("{path}: cannot carry it over: {why}"), matters: true });
    }

    fn remark(&mut self, place: &Place, text: &str, matters: bool) {
        self.remarks.push(Remark { text: format!("{place}: {text}"), matters });
    }

    /// Keeps the place of what was refused, for somebody to mend it: once, whatever is wrong with how many words of it.
    fn comment(&mut self, entry: &Entry) {
        if self.refused.as_ref() == Some(&entry.place) {
            return;
        }
        self.refused = Some(entry.place.clone());
        steps::count(entry.value.len());
        let part = match &*entry.section {
            "Unit" => Part::Unit,
            "Service" => Part::Service,
            "Install" => Part::Install,
            _ => Part::Container,
        };
        self.lines.push((part, format!("# Not carried over: {}={}", entry.key, entry.value)));
    }

    pub fn finish(self) -> Conversion {
        // Whatever the file is called, this is one line.
        let file = text::printable(&format!("{}{SUFFIX}", self.quadlet.stem));
        let mut text = format!("# From {file}, by syscontainer-from-quadlet.\n");
        let of_part = PARTS.iter().map(|(part, header)| {
            let lines = self.lines.iter().filter(|(other, _)| other == part);
            ((*header).to_owned(), lines.map(|(_, line)| line.as_str()).collect::<Vec<_>>())
        });
        let mut sections: Vec<(String, Vec<&str>)> = of_part.collect();
        let mut numbers = HashMap::new();
        for (section, line) in steps::counted(self.extensions.iter()) {
            let number = *numbers.entry(section).or_insert(sections.len());
            if number == sections.len() {
                sections.push((format!("[{section}]"), Vec::new()));
            }
            sections[number].1.push(line);
        }
        for (header, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
            text.push_str(&format!("\n{header}\n{}\n", lines.join("\n")));
        }
        Conversion {
            name: self.quadlet.service().to_owned(),
            text,
            default_instance: self.default_instance,
            remarks: self.remarks,
            is_private: self.quadlet.is_private,
            uses_default_network: !self.quadlet.has("Container", "Network"),
        }
    }
}

fn line(key: &str, value: &str) -> Result<String, &'static str> {
    match value {
        _ if value.contains(|c: char| c.is_control() && c != '\t') => Err("it contains control characters"),
        // A blank between it and another one is enough for that.
        _ if value.ends_with('\\') => Err("the backslash at its end would continue the line"),
        _ => Ok(format!("{key}={value}")),
    }
}
