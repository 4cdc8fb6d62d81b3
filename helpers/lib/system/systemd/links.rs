//! Files of systemd that belong to a unit: links of `[Install]`, and an administrator's settings.

use std::fs;

use walkdir::WalkDir;

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{Root, STUBS, TreePath};
use crate::system::files;
use crate::system::systemd::manager::{Enablement, Manager, Verb};

/// Where `systemctl enable` creates links.
pub const LINKS: &str = "/etc/systemd/system";

/// Units and drop-ins with which an administrator has changed a unit.
pub fn settings(root: &Root, name: &Name) -> Vec<TreePath> {
    let places = ["/etc/systemd/system.control", LINKS, "/run/systemd/system.control", "/run/systemd/system"];
    let names = [name.unit(), format!("{}.d", name.unit())];
    let paths = places.iter().flat_map(|place| names.iter().map(|name| TreePath::from(*place).join(name)));
    paths.filter(|path| root.join(path).symlink_metadata().is_ok()).collect()
}

/// Whether automatic updates of a container are on.
pub fn has_updates(root: &Root, name: &Name) -> bool {
    has_links(root, &update_units(name))
}

fn update_units(name: &Name) -> [String; 2] {
    [format!("syscontainer-update@{name}.timer"), format!("syscontainer-update@{name}.service")]
}

/// Whether any of these units is enabled.
fn has_links(root: &Root, units: &[String]) -> bool {
    let links = WalkDir::new(root.join(LINKS)).min_depth(2).max_depth(2).into_iter().flatten();
    let is_theirs = |link: walkdir::DirEntry| units.iter().any(|unit| link.file_name() == unit.as_str());
    links.into_iter().any(is_theirs)
}

/// Turns off automatic updates of a container. Returns whether they were on.
pub fn disable_updates(root: &Root, manager: &dyn Manager, name: &Name) -> Result<bool> {
    let units = update_units(name);
    if !has_links(root, &units) {
        return Ok(false);
    }
    if manager.is_running() {
        manager.queue(Verb::Stop, &units[..1])?;
    }
    manager.set_enablement(&units, Enablement::Disable)?;
    Ok(true)
}

/// Removes links to a stub that is gone, which systemctl cannot do. Returns whether there were any.
pub fn remove_dangling(root: &Root, name: &Name) -> Result<bool> {
    let stub = TreePath::from(STUBS).join(name.unit());
    let mut found = false;
    let links = WalkDir::new(root.join(LINKS)).min_depth(1).max_depth(2).into_iter().flatten();
    for link in links.filter(|entry| entry.path_is_symlink()) {
        if fs::read_link(link.path()).is_ok_and(|target| target == stub.as_path()) {
            let what = || format!("cannot remove {}", link.path().display());
            found |= files::remove_file(link.path()).context(what)?;
            // Like systemctl. Fails while other units have links there.
            link.path().parent().map(fs::remove_dir);
        }
    }
    Ok(found)
}
