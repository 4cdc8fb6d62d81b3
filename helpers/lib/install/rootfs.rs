//! Root file systems that are used in place: the directories that `--rootfs=` names.

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::image::check::Checked;
use crate::install::draft;
use crate::oci::mountpoints;

/// The root file system in the directory that `--rootfs=` names: the directory itself, or `rootfs` in it.
pub fn find(directory: &Path) -> Result<PathBuf> {
    let what = || format!("cannot use the root file system {}", directory.display());
    let directory = directory.canonicalize().context(what)?;
    let inner = directory.join("rootfs");
    if inner.is_dir() {
        let resolved = inner.canonicalize().context(what)?;
        if !resolved.starts_with(&directory) {
            let why = format!(
                "rootfs in it is a symlink to {}; name that directory, if it is meant",
                resolved.display()
            );
            return Err(Error::new(why)).context(what);
        }
        return Ok(resolved);
    }
    if directory.join("usr").is_dir() {
        return Ok(directory);
    }
    Err(Error::new("there is neither a directory rootfs nor a directory usr in it")).context(what)
}

/// Checks a root file system that is not ours. Nothing is written to it here; the runtime creates missing mount points,
/// if it can, or makes them in the overlay that is over it.
pub fn check_mount_points(rootfs: &Path, rendered: &Checked, warn: &dyn Fn(&str)) -> Result<()> {
    let Some((_, config)) = &rendered.config else { return Ok(()) };
    let missing = mountpoints::missing(rootfs, config, &draft::mount_files(rendered))?;
    if missing.is_empty() || rendered.has_scratch() {
        return Ok(());
    }
    let list = missing.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let what = format!("the root file system {} lacks the mount points {list}", rootfs.display());
    match nix::unistd::access(rootfs, nix::unistd::AccessFlags::W_OK) {
        Ok(()) => warn(&format!("{what}; the runtime will make them")),
        Err(_) => return Err(Error::new(format!("{what}, and it is read-only; make them there"))),
    }
    Ok(())
}
