//! What several tests read: the list of programs, and manual pages.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub fn file(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of the files in a directory of the repository that end so, in order.
pub fn names(directory: &str, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

/// Names of all that is in a directory, in order.
pub fn names_in(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Fails with what differs, if anything does.
pub fn same<T: Ord + Debug>(what: &str, found: BTreeSet<T>, wanted: BTreeSet<T>) {
    let missing: Vec<_> = wanted.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&wanted).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "{what}: missing {missing:#?}, unknown {unknown:#?}");
}

/// A program, as Cargo.toml has it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    pub name: String,
    /// `helpers` or `generators`.
    pub directory: String,
    pub needs_store: bool,
}

impl Program {
    /// Those that are built for this test, if it is not of all.
    pub fn is_built(&self) -> bool {
        cfg!(feature = "store") || !self.needs_store
    }

    /// The program that Cargo built.
    pub fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_BIN_EXE_syscontainer-generator")).with_file_name(&self.name)
    }

    /// Its manual page.
    pub fn page(&self) -> Page {
        Page::read(&format!("{}/{}.8", self.directory, self.name))
    }
}

/// All programs, by name. This is the list that others are compared with.
pub fn programs() -> Vec<Program> {
    let manifest = file("Cargo.toml");
    let tables = manifest.split("\n[").filter_map(|table| table.strip_prefix("[bin]]\n"));
    let mut programs: Vec<Program> = tables
        .map(|table| {
            let value = |key: &str| table.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
            let text =
                |key: &str| value(key).unwrap_or_else(|| panic!("no {key}: {table}")).trim_matches('"');
            let (directory, source) = text("path").split_once('/').unwrap();
            assert_eq!(source, format!("{}.rs", text("name")));
            Program {
                name: text("name").into(),
                directory: directory.into(),
                needs_store: value("required-features").is_some(),
            }
        })
        .collect();
    programs.sort();
    programs
}

/// A manual page, by sections.
pub struct Page {
    sections: Vec<(String, Vec<String>)>,
}

impl Page {
    pub fn read(path: &str) -> Page {
        let mut sections = vec![(String::new(), Vec::new())];
        for line in file(path).lines() {
            match line.strip_prefix(".SH ") {
                Some(name) => sections.push((name.to_owned(), Vec::new())),
                None => sections.last_mut().unwrap().1.push(line.to_owned()),
            }
        }
        Page { sections }
    }

    /// The lines of a section, as they are.
    pub fn section(&self, name: &str) -> &[String] {
        self.sections.iter().find(|(section, _)| section == name).map_or(&[], |(_, lines)| lines)
    }

    /// What stands before the paragraphs of a section.
    pub fn tags(&self, section: &str) -> Vec<String> {
        let lines = self.section(section);
        let is_tag = |line: &String| line == ".TP" || line == ".TQ";
        lines
            .iter()
            .zip(lines.iter().skip(1))
            .filter(|(line, _)| is_tag(line))
            .map(|(_, tag)| plain(tag))
            .collect()
    }

    /// The text of a section.
    pub fn text(&self, section: &str) -> String {
        self.section(section).iter().map(|line| plain(line)).collect::<Vec<_>>().join(" ")
    }

    /// What is shown as it is in a section, between `.EX` and `.EE`.
    pub fn example(&self, section: &str) -> String {
        let lines = self.section(section).iter().skip_while(|line| *line != ".EX").skip(1);
        lines.take_while(|line| *line != ".EE").map(|line| unescape(line) + "\n").collect()
    }
}

/// A line without its macro, quotes and fonts.
pub fn plain(line: &str) -> String {
    let Some(line) = line.strip_prefix('.') else { return unescape(line) };
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words = arguments(rest);
    unescape(&words.join(if name.len() == 2 && name != "TP" { "" } else { " " }))
}

fn arguments(text: &str) -> Vec<String> {
    let (mut words, mut is_quoted, mut is_new) = (Vec::<String>::new(), false, true);
    for c in text.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                if is_quoted && is_new {
                    words.push(String::new());
                    is_new = false;
                }
            }
            ' ' if !is_quoted => is_new = true,
            _ => {
                if is_new {
                    words.push(String::new());
                    is_new = false;
                }
                words.last_mut().unwrap().push(c);
            }
        }
    }
    words
}

fn unescape(text: &str) -> String {
    let mut text = text.to_owned();
    for (escape, plain) in [
        ("\\fB", ""),
        ("\\fI", ""),
        ("\\fR", ""),
        ("\\fP", ""),
        ("\\|", ""),
        ("\\-", "-"),
        ("\\~", " "),
        ("\\(dq", "\""),
        ("\\e", "\\"),
    ] {
        text = text.replace(escape, plain);
    }
    text
}
