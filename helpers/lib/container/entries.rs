//! The names in the directory of deployments: one grammar for everything that reads or writes there.
//!
//! ```text
//! NAME                    symlink to the current deployment of a container
//! NAME.N                  a deployment
//! .NAME.N.new             a deployment that is being made
//! .NAME.N.old             a deployment that is being removed
//! .NAME.link              the symlink that is about to become NAME
//! .NAME.reserve           space set aside for reverting a switch
//! .NAME.scratch           changes to the scratch root file system of a container
//! .NAME.N.scratch         those of an earlier run, which are being removed
//! .NAME.state             what is remembered about a container, besides its deployments
//! .identity               identity of the directory
//! .host-files.json        what was last written to host files that containers share
//! .state-directories.json directories that installations created
//! .storage                the image store
//! ..FILE.new              FILE, being written
//! ```

use std::fmt;

use crate::name::{Deployment, Name};
use crate::paths::STORAGE;

/// An entry of the directory of deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The symlink to the current deployment, or something else with its name.
    Link(Name),
    /// A deployment, or something else with the name of one.
    Deployment(Deployment),
    /// A deployment that is being made.
    New(Deployment),
    /// A deployment that is being removed.
    Old(Deployment),
    /// The symlink that is about to become [`Entry::Link`].
    NewLink(Name),
    /// Space set aside for reverting a switch.
    Reserve(Name),
    /// Changes to the scratch root file system of a container.
    Scratch(Name),
    /// Those of an earlier run, with a number that nothing else has: they are being removed.
    Forgotten(Name, u32),
    /// What is remembered about a container, see [`crate::container::state`].
    State(Name),
    /// A record that all containers share.
    Record(Record),
    /// A file that is being written, with its final name.
    Unfinished(String),
    /// The directory of the image store.
    Store,
    /// Anything else.
    Foreign,
}

/// Records that all containers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Identity of the directory, see [`crate::container::identity`].
    Identity,
    /// What was last written to host files that containers share.
    HostFiles,
    /// Directories that installations created, each with the container that it was created for.
    StateDirectories,
}

impl Record {
    const ALL: [Record; 3] = [Record::Identity, Record::HostFiles, Record::StateDirectories];

    pub fn file_name(self) -> &'static str {
        match self {
            Record::Identity => ".identity",
            Record::HostFiles => ".host-files.json",
            Record::StateDirectories => ".state-directories.json",
        }
    }
}

impl Entry {
    /// Parses the name of an entry; a name outside of the grammar is [`Entry::Foreign`].
    pub fn parse(text: &str) -> Entry {
        if let Some(rest) = text.strip_prefix("..") {
            return rest
                .strip_suffix(".new")
                .map_or(Entry::Foreign, |of| Entry::Unfinished(format!(".{of}")));
        }
        let Some(hidden) = text.strip_prefix('.') else {
            let deployment = text.parse().map(Entry::Deployment);
            return deployment.or_else(|_| text.parse().map(Entry::Link)).unwrap_or(Entry::Foreign);
        };
        if text == STORAGE {
            return Entry::Store;
        }
        if let Some(record) = Record::ALL.into_iter().find(|record| record.file_name() == text) {
            return Entry::Record(record);
        }
        let Some((stem, suffix)) = hidden.rsplit_once('.') else { return Entry::Foreign };
        let of_deployment = |make: fn(Deployment) -> Entry| stem.parse().ok().map(make);
        let of_container = |make: fn(Name) -> Entry| stem.parse().ok().map(make);
        let entry = match suffix {
            "new" => of_deployment(Entry::New),
            "old" => of_deployment(Entry::Old),
            "link" => of_container(Entry::NewLink),
            "reserve" => of_container(Entry::Reserve),
            "scratch" => of_container(Entry::Scratch).or_else(|| of_deployment(Entry::forgotten)),
            "state" => of_container(Entry::State),
            _ => None,
        };
        entry.unwrap_or(Entry::Foreign)
    }

    /// No name of a container is one of a deployment.
    fn forgotten(named: Deployment) -> Entry {
        Entry::Forgotten(named.name().clone(), named.number())
    }

    /// The container that the entry belongs to, if any.
    pub fn container(&self) -> Option<&Name> {
        match self {
            Entry::Deployment(deployment) | Entry::New(deployment) | Entry::Old(deployment) => {
                Some(deployment.name())
            }
            Entry::Link(name)
            | Entry::NewLink(name)
            | Entry::Reserve(name)
            | Entry::Scratch(name)
            | Entry::Forgotten(name, _)
            | Entry::State(name) => Some(name),
            Entry::Record(_) | Entry::Unfinished(_) | Entry::Store | Entry::Foreign => None,
        }
    }

    /// Whether the entry only means something while a program works on it; one that is left over is removed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Entry::New(_) | Entry::Old(_) | Entry::NewLink(_) | Entry::Reserve(_))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Link(name) => write!(f, "{name}"),
            Entry::Deployment(deployment) => write!(f, "{deployment}"),
            Entry::New(deployment) => write!(f, ".{deployment}.new"),
            Entry::Old(deployment) => write!(f, ".{deployment}.old"),
            Entry::NewLink(name) => write!(f, ".{name}.link"),
            Entry::Reserve(name) => write!(f, ".{name}.reserve"),
            Entry::Scratch(name) => write!(f, ".{name}.scratch"),
            Entry::Forgotten(name, number) => write!(f, ".{name}.{number}.scratch"),
            Entry::State(name) => write!(f, ".{name}.state"),
            Entry::Record(record) => f.write_str(record.file_name()),
            Entry::Unfinished(of) => write!(f, ".{of}.new"),
            Entry::Store => f.write_str(STORAGE),
            Entry::Foreign => f.write_str("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        let name: Name = "foo.bar".parse().unwrap();
        let deployment = Deployment::new(&name, 12);
        for (entry, text) in [
            (Entry::Link(name.clone()), "foo.bar"),
            (Entry::Deployment(deployment.clone()), "foo.bar.12"),
            (Entry::New(deployment.clone()), ".foo.bar.12.new"),
            (Entry::Old(deployment), ".foo.bar.12.old"),
            (Entry::NewLink(name.clone()), ".foo.bar.link"),
            (Entry::Reserve(name.clone()), ".foo.bar.reserve"),
            (Entry::Scratch(name.clone()), ".foo.bar.scratch"),
            (Entry::Forgotten(name.clone(), 3), ".foo.bar.3.scratch"),
            (Entry::State(name), ".foo.bar.state"),
            (Entry::Record(Record::Identity), ".identity"),
            (Entry::Record(Record::HostFiles), ".host-files.json"),
            (Entry::Record(Record::StateDirectories), ".state-directories.json"),
            (Entry::Unfinished(".host-files.json".into()), "..host-files.json.new"),
            (Entry::Unfinished(".web.state".into()), "..web.state.new"),
            (Entry::Store, ".storage"),
        ] {
            assert_eq!(entry.to_string(), text);
            assert_eq!(Entry::parse(text), entry, "{text}");
        }
    }

    #[test]
    fn other_names_are_foreign() {
        for text in [
            "",
            ".",
            "..",
            "foo.",
            ".new",
            ".0.new",
            "a b",
            "..0",
            "foo.01",
            ".foo.new",
            ".foo.1.link",
            ".lock",
        ] {
            assert_eq!(Entry::parse(text), Entry::Foreign, "{text}");
        }
    }
}
