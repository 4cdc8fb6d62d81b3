//! The AppArmor profile of payloads.
//!
//! This package has one, which apparmor.service loads at boot; where nobody did, it is loaded before a start. A profile
//! that podman made and loaded is as good, while ours is not there.

use std::io::ErrorKind;
use std::process::Command;
use std::{fs, io};

use crate::error::{Context, Result};
use crate::paths::Root;
use crate::program::log;
use crate::system::command;

/// Where this package has its profile.
pub const FILE: &str = "/etc/apparmor.d/syscontainers-default";
/// The name of the profile.
const OURS: &str = "syscontainers-default";
/// What the names of podman's begin with; its version follows.
const PODMAN: &str = "containers-default-";
/// The profiles that are loaded, each a line such as `NAME (enforce)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// What loads a profile.
const PARSER: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/// The profile to use, which is loaded; `None` if there is none.
pub fn profile(root: &Root) -> Result<Option<String>> {
    let found = find(&loaded(root)?);
    if found.as_deref() == Some(OURS) || !load(root) {
        return Ok(found);
    }
    Ok(find(&loaded(root)?))
}

fn loaded(root: &Root) -> Result<String> {
    match fs::read_to_string(root.join(LOADED)) {
        // In a container, securityfs may not be mounted.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.context(|| format!("cannot read {LOADED}")),
    }
}

fn find(loaded: &str) -> Option<String> {
    let mut names: Vec<&str> =
        loaded.lines().filter_map(|line| line.rsplit_once(" (")).map(|(name, _)| name).collect();
    names.sort_unstable();
    let ours = names.iter().find(|name| **name == OURS);
    let any = ours.or_else(|| names.iter().rfind(|name| name.starts_with(PODMAN)));
    any.map(|name| (*name).to_owned())
}

/// Loads our profile; returns whether that was done. A failure is a warning: another profile may be there.
fn load(root: &Root) -> bool {
    let file = root.join(FILE);
    let Some(parser) = PARSER.map(|path| root.join(path)).into_iter().find(|path| path.exists()) else {
        return false;
    };
    // An administrator who does not want it removes the file.
    if file.symlink_metadata().is_err_and(|e: io::Error| e.kind() == ErrorKind::NotFound) {
        return false;
    }
    let done = command::run(Command::new(parser).arg("--replace").arg(&file));
    if let Err(e) = &done {
        log::warning(&e.to_string());
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_used_or_else_the_newest_of_podman() {
        for (loaded, expected) in [
            ("", None),
            ("/usr/bin/man (enforce)\nlsb_release (enforce)\n", None),
            ("syscontainers-default-not (enforce)\n", None),
            ("containers-default-0.50.1 (enforce)\n/x (complain)\n", Some("containers-default-0.50.1")),
            (
                "containers-default-0.50.1 (enforce)\ncontainers-default-0.57.0 (enforce)\n",
                Some("containers-default-0.57.0"),
            ),
            ("containers-default-0.50.1 (enforce)\nsyscontainers-default (enforce)\n", Some(OURS)),
        ] {
            assert_eq!(find(loaded).as_deref(), expected, "{loaded}");
        }
    }

    /// A host with our profile and a program that loads it, or fails to.
    fn host(script: &str) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for directory in ["etc/apparmor.d", "usr/sbin", "sys/kernel/security/apparmor"] {
            fs::create_dir_all(dir.path().join(directory)).unwrap();
        }
        fs::write(dir.path().join("etc/apparmor.d/syscontainers-default"), "").unwrap();
        fs::write(dir.path().join("sys/kernel/security/apparmor/profiles"), "x (enforce)\n").unwrap();
        let list = dir.path().join("sys/kernel/security/apparmor/profiles");
        let text =
            format!("#!/bin/sh\n[ \"$1\" = --replace ] || exit 1\nlist={}\n{script}\n", list.display());
        fs::write(dir.path().join("script"), text).unwrap();
        // Written by another process: a program that this one still has open, or a child of it, cannot be run.
        let parser = dir.path().join("usr/sbin/apparmor_parser");
        command::run(Command::new("install").arg("--mode=755").arg(dir.path().join("script")).arg(parser))
            .unwrap();
        let root = Root::new(dir.path());
        (dir, root)
    }

    #[test]
    fn ours_is_loaded_where_nobody_did() {
        let (_dir, root) = host("echo \"$(basename \"$2\") (enforce)\" >>\"$list\"");
        assert_eq!(profile(&root).unwrap().as_deref(), Some(OURS));
        // Once is enough.
        assert_eq!(profile(&root).unwrap().as_deref(), Some(OURS));
        assert_eq!(loaded(&root).unwrap(), "x (enforce)\nsyscontainers-default (enforce)\n");
        let (dir, root) = host("echo no >&2; exit 1");
        assert_eq!(profile(&root).unwrap(), None);
        fs::write(
            dir.path().join("sys/kernel/security/apparmor/profiles"),
            "containers-default-1 (enforce)\n",
        )
        .unwrap();
        assert_eq!(profile(&root).unwrap().as_deref(), Some("containers-default-1"));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(profile(&Root::new(empty.path())).unwrap(), None);
    }
}
