//! Files of systemd's that are about a unit: links of `[Install]`, and what an administrator has set.

use std::fs;

use walkdir::WalkDir;

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{Root, STUBS, TreePath};
use crate::system::files;
use crate::system::systemd::manager::{Enablement, Manager, Verb};

/// Where `systemctl enable` makes links.
const LINKS: &str = "/etc/systemd/system";

/// What an administrator has set for a unit.
pub fn settings(root: &Root, name: &Name) -> Vec<TreePath> {
    let places = ["/etc/systemd/system.control", LINKS, "/run/systemd/system.control", "/run/systemd/system"];
    let names = [name.unit(), format!("{}.d", name.unit())];
    let paths = places.iter().flat_map(|place| names.iter().map(|name| TreePath::from(*place).join(name)));
    paths.filter(|path| root.join(path).symlink_metadata().is_ok()).collect()
}

/// Turns off automatic updates of a container. Returns whether they were on.
pub fn disable_updates(root: &Root, manager: &dyn Manager, name: &Name) -> Result<bool> {
    let units = [format!("syscontainer-update@{name}.timer"), format!("syscontainer-update@{name}.service")];
    let links = WalkDir::new(root.join(LINKS)).min_depth(2).max_depth(2).into_iter().flatten();
    let is_theirs = |link: walkdir::DirEntry| units.iter().any(|unit| link.file_name() == unit.as_str());
    if !links.into_iter().any(is_theirs) {
        return Ok(false);
    }
    if manager.is_running() {
        manager.queue(Verb::Stop, &units[..1])?;
    }
    manager.set_enablement(&units, Enablement::Disable)?;
    Ok(true)
}

/// Removes links to a stub that is gone, which systemctl does not know what to do about. Returns whether there were any.
pub fn remove_dangling(root: &Root, name: &Name) -> Result<bool> {
    let stub = TreePath::from(STUBS).join(name.unit());
    let mut found = false;
    let links = WalkDir::new(root.join(LINKS)).min_depth(1).max_depth(2).into_iter().flatten();
    for link in links.filter(|entry| entry.path_is_symlink()) {
        if fs::read_link(link.path()).is_ok_and(|target| target == stub.as_path()) {
            let what = || format!("cannot remove {}", link.path().display());
            found |= files::remove_file(link.path()).context(what)?;
            // As systemctl does; others may have links there.
            link.path().parent().map(fs::remove_dir);
        }
    }
    Ok(found)
}
