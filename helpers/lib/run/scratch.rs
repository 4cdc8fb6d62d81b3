//! Scratch root file systems: an overlay over the image's files, whose changes are removed after the run. Plain images
//! have one, and containers that run once: files of a deployment are shared with other containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Context, Result};
use crate::run::selinux;
use crate::system::{files, privacy, privileges, quota};

/// The part of a scratch directory that has what was changed.
pub(super) const UPPER: &str = "upper";

/// How a scratch root file system is mounted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The SELinux label of all files.
    pub label: Option<&'a str>,
    /// How many bytes may be written.
    pub size: Option<u64>,
    /// Whether device nodes among the files are to be none.
    pub no_devices: bool,
}

/// Mounts an overlay over `lower` at `target`, with changes kept below `scratch`, from which everything goes that was
/// left there by a power failure.
pub fn make(lower: &Path, scratch: &Path, target: &Path, options: Options) -> Result<()> {
    let what = || format!("cannot make a scratch root file system of {}", lower.display());
    remove_files(scratch)?;
    let (upper, work) = (scratch.join(UPPER), scratch.join("work"));
    // The overlay itself cannot keep users of the host from its setuid programs, which are to work in the container:
    // what is above it does, here and at `target`.
    privacy::make(scratch).context(what)?;
    if let Some(size) = options.size {
        // What is made in it from here on counts.
        quota::limit(scratch, size).context(what)?;
    }
    privacy::make(&upper).context(what)?;
    privacy::make(&work).context(what)?;
    // The root of the overlay has the mode and owner of the upper directory.
    let metadata = fs::metadata(lower).context(what)?;
    std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid())).context(what)?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(metadata.mode() & 0o7777)).context(what)?;
    privacy::make(target).context(what)?;
    let layers = [("lowerdir", lower), ("upperdir", &upper), ("workdir", &work)];
    let layers = layers.iter().map(|(key, path)| format!("{key}={}", escape(path)));
    let data: Vec<_> = layers.chain(options.label.map(selinux::mount_option)).collect();
    let flags = if options.no_devices { MsFlags::MS_NODEV } else { MsFlags::empty() };
    let mount_with = |more: &str| {
        let data = data.join(",") + more;
        privileges::without_resource(|| {
            mount(Some("overlay"), target, Some("overlay"), flags, Some(data.as_str()))
        })
    };
    // What is forgotten is not synced, neither for a payload nor when it is unmounted. Linux has that since 5.10.
    let mounted = match mount_with(",volatile") {
        Err(Errno::EINVAL) => mount_with(""),
        mounted => mounted,
    };
    mounted
        .context(|| format!("the file system of {} may not be one for that", scratch.display()))
        .context(what)
}

/// Unmounts the overlay and removes the changes, if they exist.
pub fn remove(scratch: &Path, target: &Path) -> Result<()> {
    match umount2(target, MntFlags::MNT_DETACH) {
        // Nothing is mounted there, or the directory does not exist.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        result => result.context(|| format!("cannot unmount {}", target.display()))?,
    }
    remove_files(scratch)
}

fn remove_files(scratch: &Path) -> Result<()> {
    quota::lift(scratch);
    files::remove_tree(scratch)
}

/// Escapes a path for an overlay option: commas separate options, and colons separate lower directories.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .flat_map(|c| matches!(c, ',' | ':' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}
