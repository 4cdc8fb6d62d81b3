//! Declarations: files by which an administrator, or a distribution, asks for a container, `NAME.conf`.

use std::path::{Path, PathBuf};

use crate::name::Name;
use crate::paths::Root;

/// Where they are, the first directory that has a name wins.
const DIRECTORIES: [&str; 3] = ["/etc/syscontainers", "/run/syscontainers", "/usr/lib/syscontainers"];

/// The declaration of a container, if there is one that is in force: an empty file, or a link to /dev/null, masks the others.
pub fn find(root: &Root, name: &Name) -> Option<PathBuf> {
    let paths = DIRECTORIES.iter().map(|directory| Path::new(directory).join(format!("{name}.conf")));
    let first = paths.into_iter().find(|path| root.join(path).symlink_metadata().is_ok())?;
    let is_file = root.join(&first).metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    is_file.then_some(first)
}
