//! Scratch root file systems: an overlay over the image's files, whose changes are removed after the run. Containers that
//! run once have one, and where SELinux is enabled those whose files need the label of the container: files of a
//! deployment are shared with other containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Context, Result};
use crate::run::selinux;
use crate::system::{files, privacy};

/// Mounts an overlay over `lower` at `target`, with changes kept below `scratch`, and all files with a SELinux label, if
/// there is one.
pub fn make(lower: &Path, scratch: &Path, target: &Path, label: Option<&str>) -> Result<()> {
    let what = || format!("cannot make a scratch root file system of {}", lower.display());
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    // The overlay itself cannot keep users of the host from its setuid programs, which are to work in the container:
    // what is above it does, here and at `target`.
    for directory in [scratch, &upper, &work] {
        privacy::make(directory).context(what)?;
    }
    // The root of the overlay has the mode and owner of the upper directory.
    let metadata = fs::metadata(lower).context(what)?;
    std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid())).context(what)?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(metadata.mode() & 0o7777)).context(what)?;
    privacy::make(target).context(what)?;
    let options = [("lowerdir", lower), ("upperdir", &upper), ("workdir", &work)];
    let options = options.iter().map(|(key, path)| format!("{key}={}", escape(path)));
    let options: Vec<_> = options.chain(label.map(selinux::mount_option)).collect();
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.join(",").as_str()))
        .context(what)
}

/// Unmounts the overlay and removes the changes, if they exist.
pub fn remove(scratch: &Path, target: &Path) -> Result<()> {
    match umount2(target, MntFlags::MNT_DETACH) {
        // Nothing is mounted there, or the directory does not exist.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        result => result.context(|| format!("cannot unmount {}", target.display()))?,
    }
    files::remove_tree(scratch)
}

/// Escapes a path for an overlay option: commas separate options, and colons separate lower directories.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .flat_map(|c| matches!(c, ',' | ':' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}
