//! Scratch root file systems of run-once containers: an overlay over the image's files, whose changes are gone afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Context, Result};
use crate::system::files;

/// Mounts at `target` what is in `lower`, with changes below `scratch`.
pub fn make(lower: &Path, scratch: &Path, target: &Path) -> Result<()> {
    let what = || format!("cannot make a scratch root file system of {}", lower.display());
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for directory in [&upper, &work] {
        files::make_directory(directory, 0o700).context(what)?;
    }
    // The upper directory is what the root is seen as.
    let metadata = fs::metadata(lower).context(what)?;
    std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid())).context(what)?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(metadata.mode() & 0o7777)).context(what)?;
    files::make_directory(target, 0o755).context(what)?;
    let options = [("lowerdir", lower), ("upperdir", &upper), ("workdir", &work)];
    let options: Vec<_> = options.iter().map(|(key, path)| format!("{key}={}", escape(path))).collect();
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.join(",").as_str()))
        .context(what)
}

/// Unmounts it and removes the changes; what is not there is fine.
pub fn remove(scratch: &Path, target: &Path) -> Result<()> {
    match umount2(target, MntFlags::MNT_DETACH) {
        // Nothing is mounted there, or there is nothing.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        result => result.context(|| format!("cannot unmount {}", target.display()))?,
    }
    files::remove_tree(scratch)
}

/// Overlay options separate paths with commas, and lower ones with colons.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .flat_map(|c| matches!(c, ',' | ':' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}
