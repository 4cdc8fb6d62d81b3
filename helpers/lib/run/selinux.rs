//! The SELinux labels of payloads and of their files.
//!
//! The policy says in contexts/lxc_contexts which types containers have. Two of its categories distinguish containers, see
//! [`crate::container::categories`].

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::container::execution::Categories;
use crate::error::{Context, Result};
use crate::paths::{Root, TreePath};
use crate::system::{command, files};

/// Names the policy that is in force.
const CONFIG: &str = "/etc/selinux/config";
/// What sets and shows labels.
const CHCON: &str = "/usr/bin/chcon";
const STAT: &str = "/usr/bin/stat";

/// The extended attribute with the label of a file.
const LABEL: &str = "security.selinux";

/// The labels of one container.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    /// That of the payload's processes.
    pub process: String,
    /// That of the files that are the payload's.
    pub file: String,
}

impl Labels {
    /// The labels of a container with these categories, whose payload is `systemd` or not; `None` if the policy has none
    /// for containers.
    pub fn find(root: &Root, categories: Categories, systemd: bool) -> Result<Option<Labels>> {
        let config = files::read_text_if_exists(&root.join(CONFIG))?.unwrap_or_default();
        let policy = setting(&config, "SELINUXTYPE").unwrap_or("targeted");
        let contexts = TreePath::from("/etc/selinux").join(policy).join("contexts/lxc_contexts");
        let Some(text) = files::read_text_if_exists(&root.join(&contexts))? else { return Ok(None) };
        let (Some(process), Some(file)) = (setting(&text, "process"), setting(&text, "file")) else {
            return Ok(None);
        };
        // Of this type it may change its cgroups.
        let init = if systemd { setting(&text, "init_process") } else { None };
        let process = init.unwrap_or(process);
        Ok(Some(Labels { process: labelled(process, categories), file: labelled(file, categories) }))
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
fn labelled(context: &str, Categories(first, second): Categories) -> String {
    let fields: Vec<&str> = context.splitn(4, ':').collect();
    let level = fields.get(3).and_then(|level| level.split([':', '-']).next()).unwrap_or("s0");
    format!("{}:{level}:c{first},c{second}", fields[..fields.len().min(3)].join(":"))
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

/// Gives an open file a label.
pub fn label_file(file: &File, path: &Path, label: &str) -> Result<()> {
    // The kernel's own labels end so, too.
    let value = format!("{label}\0");
    match rustix::fs::fsetxattr(file, LABEL, value.as_bytes(), XattrFlags::empty()) {
        // All files of that file system have the label that it was mounted with.
        Err(Errno::OPNOTSUPP) => Ok(()),
        set => set.context(|| format!("cannot label {}", path.display())),
    }
}

/// The option of a mount by which all of its files have a label.
pub fn mount_option(label: &str) -> String {
    format!("context=\"{label}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn labels_are_those_of_the_policy() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let find = || Labels::find(&root, Categories(7, 1000), false).unwrap();
        assert_eq!(find(), None);
        let contexts = dir.path().join("etc/selinux/mls/contexts");
        fs::create_dir_all(&contexts).unwrap();
        fs::write(dir.path().join("etc/selinux/config"), "# SELINUXTYPE=x\nSELINUXTYPE=mls\n").unwrap();
        let text = "process = \"system_u:system_r:container_t:s0\"\nfile=\"system_u:object_r:container_file_t:s0:c0\"\n";
        fs::write(contexts.join("lxc_contexts"), text).unwrap();
        let labels = find().unwrap();
        assert_eq!(labels.process, "system_u:system_r:container_t:s0:c7,c1000");
        assert_eq!(labels.file, "system_u:object_r:container_file_t:s0:c7,c1000");
        let of_systemd = || Labels::find(&root, Categories(7, 1000), true).unwrap().unwrap();
        assert_eq!(of_systemd(), labels);
        let init = "init_process = \"system_u:system_r:container_init_t:s0\"\n";
        fs::write(contexts.join("lxc_contexts"), format!("{text}{init}")).unwrap();
        assert_eq!(find().unwrap(), labels);
        assert_eq!(of_systemd().process, "system_u:system_r:container_init_t:s0:c7,c1000");
        assert_eq!(of_systemd().file, labels.file);
        fs::write(contexts.join("lxc_contexts"), "sandbox_kvm_process = \"x\"\n").unwrap();
        assert_eq!(find(), None);
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
