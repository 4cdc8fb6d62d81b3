//! The SELinux labels of payloads and of their files.
//!
//! The policy says in contexts/lxc_contexts which types containers have. Two of its categories distinguish containers:
//! no two of those that are registered have the same pair, and each has the same one at every start, as its volumes
//! need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::container::registration;
use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{Root, TreePath};
use crate::system::{command, files};

/// Names the policy that is in force.
const CONFIG: &str = "/etc/selinux/config";
/// How many categories there are.
const CATEGORIES: u32 = 1024;
/// What sets and shows labels.
const CHCON: &str = "/usr/bin/chcon";
const STAT: &str = "/usr/bin/stat";

/// The labels of one container.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    /// That of the payload's processes.
    pub process: String,
    /// That of the files that are the payload's.
    pub file: String,
}

impl Labels {
    /// The labels of a container; `None` if the policy has none for containers.
    pub fn find(root: &Root, name: &Name) -> Result<Option<Labels>> {
        let config = files::read_text_if_exists(&root.join(CONFIG))?.unwrap_or_default();
        let policy = setting(&config, "SELINUXTYPE").unwrap_or("targeted");
        let contexts = TreePath::from("/etc/selinux").join(policy).join("contexts/lxc_contexts");
        let Some(text) = files::read_text_if_exists(&root.join(&contexts))? else { return Ok(None) };
        let (Some(process), Some(file)) = (setting(&text, "process"), setting(&text, "file")) else {
            return Ok(None);
        };
        let mut names: BTreeSet<Name> = registration::list(root).0.into_keys().collect();
        names.insert(name.clone());
        let pair = categories(&names)[name];
        Ok(Some(Labels { process: labelled(process, pair), file: labelled(file, pair) }))
    }
}

/// The value of `KEY = "VALUE"` in a file of settings.
fn setting<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut values =
        lines.filter(|(found, _)| found.trim() == key).map(|(_, value)| value.trim().trim_matches('"'));
    values.next_back().filter(|value| !value.is_empty())
}

/// A context of four fields, the last of which is the level, at which the categories are.
fn labelled(context: &str, (first, second): (u32, u32)) -> String {
    let fields: Vec<&str> = context.splitn(4, ':').collect();
    let level = fields.get(3).and_then(|level| level.split([':', '-']).next()).unwrap_or("s0");
    format!("{}:{level}:c{first},c{second}", fields[..fields.len().min(3)].join(":"))
}

/// Two categories for each name, the lower one first. They follow from the name, unless another name has them.
fn categories(names: &BTreeSet<Name>) -> BTreeMap<Name, (u32, u32)> {
    let (mut taken, mut found) = (BTreeSet::new(), BTreeMap::new());
    for name in names {
        let candidates = (0u32..).map(|attempt| candidate(name.as_str(), attempt));
        let mut free =
            candidates.filter(|(first, second)| first < second && !taken.contains(&(*first, *second)));
        if let Some(pair) = free.next() {
            taken.insert(pair);
            found.insert(name.clone(), pair);
        }
    }
    found
}

fn candidate(name: &str, attempt: u32) -> (u32, u32) {
    let digest = Sha256::digest(format!("{name}\n{attempt}"));
    let number = |at: usize| u32::from(u16::from_be_bytes([digest[at], digest[at + 1]])) % CATEGORIES;
    let (one, other) = (number(0), number(2));
    (one.min(other), one.max(other))
}

/// Gives a directory of the payload, and everything in it, a label. What has it already stays as it is: payloads give
/// what they make their own label.
pub fn label(root: &Root, directory: &Path, label: &str) -> Result<()> {
    let what = || format!("cannot label {}", directory.display());
    let shown = command::output(Command::new(root.join(STAT)).args(["--format=%C", "--"]).arg(directory));
    if shown.context(what)?.trim_ascii() == label.as_bytes() {
        return Ok(());
    }
    // It goes by descriptors, follows no links, and comes to a directory after what is in it: a label that is there means
    // that everything has it.
    let mut chcon = Command::new(root.join(CHCON));
    chcon.args(["--recursive", "--no-dereference", "--", label]).arg(directory);
    command::run(&mut chcon).context(what)
}

/// The option of a mount by which all of its files have a label.
pub fn mount_option(label: &str) -> String {
    format!("context=\"{label}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn every_container_has_two_categories_of_its_own() {
        let many: Vec<String> = (0..1500).map(|number| format!("web{number}")).collect();
        let many = names(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let found = categories(&many);
        assert_eq!(found.len(), 1500);
        assert_eq!(found.values().collect::<BTreeSet<_>>().len(), 1500);
        assert!(found.values().all(|(first, second)| first < second && *second < CATEGORIES));
        let alone = categories(&names(&["web7"]));
        assert_eq!(alone.values().next(), found.get(&"web7".parse::<Name>().unwrap()));
    }

    #[test]
    fn labels_are_those_of_the_policy() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let name: Name = "web".parse().unwrap();
        assert_eq!(Labels::find(&root, &name).unwrap(), None);
        let contexts = dir.path().join("etc/selinux/mls/contexts");
        fs::create_dir_all(&contexts).unwrap();
        fs::write(dir.path().join("etc/selinux/config"), "# SELINUXTYPE=x\nSELINUXTYPE=mls\n").unwrap();
        let text = "process = \"system_u:system_r:container_t:s0\"\nfile=\"system_u:object_r:container_file_t:s0:c0\"\n";
        fs::write(contexts.join("lxc_contexts"), text).unwrap();
        let (first, second) = candidate("web", 0);
        let labels = Labels::find(&root, &name).unwrap().unwrap();
        assert_eq!(labels.process, format!("system_u:system_r:container_t:s0:c{first},c{second}"));
        assert_eq!(labels.file, format!("system_u:object_r:container_file_t:s0:c{first},c{second}"));
        fs::write(contexts.join("lxc_contexts"), "sandbox_kvm_process = \"x\"\n").unwrap();
        assert_eq!(Labels::find(&root, &name).unwrap(), None);
    }

    #[test]
    fn a_volume_is_labelled_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let programs = dir.path().join("usr/bin");
        fs::create_dir_all(&programs).unwrap();
        let program = |name: &str, script: &str| {
            let text = format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display());
            fs::write(dir.path().join(name), text).unwrap();
            // Written by another process: a program that this one still has open, or a child of it, cannot be run.
            let mut install = Command::new("install");
            install.arg("--mode=755").arg(dir.path().join(name)).arg(&programs);
            command::run(&mut install).unwrap();
        };
        program("stat", "cat label");
        program("chcon", "echo \"$*\" >>calls; echo l >label");
        let (root, volume) = (Root::new(dir.path()), dir.path().join("v"));
        fs::create_dir(&volume).unwrap();
        fs::write(dir.path().join("label"), "other\n").unwrap();
        label(&root, &volume, "l").unwrap();
        let expected = format!("--recursive --no-dereference -- l {}\n", volume.display());
        assert_eq!(fs::read_to_string(dir.path().join("calls")).unwrap(), expected);
        label(&root, &volume, "l").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("calls")).unwrap(), expected);
    }
}
