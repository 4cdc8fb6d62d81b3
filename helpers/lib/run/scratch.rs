//! Scratch root file systems: an overlay over the image's files, whose changes are removed after the run. Images without
//! a configuration have one, and containers that run once: files of a deployment are shared with other containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::paths::{Root, TreePath};
use crate::run::{forgotten, selinux};
use crate::system::{files, lock, privacy, privileges, quota};

/// The part of a scratch directory that has what was changed.
pub(super) const UPPER: &str = "upper";
/// The part that has the copies of names, see [`crate::run::names`].
pub(super) const NAMES: &str = "names";
/// The part that is the kernel's.
const WORK: &str = "work";

/// A scratch root file system; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Overlay {
    /// The image's files.
    pub lower: TreePath,
    /// The directory that changes are kept in.
    pub scratch: TreePath,
    /// The SELinux label of all files.
    #[serde(default)]
    pub label: Option<String>,
    /// Whether device nodes among the files are to be none.
    pub no_devices: bool,
}

impl Overlay {
    /// Makes it, and `target` for it to be mounted at. Everything goes that was left there by a power failure. No more than
    /// `size` bytes may be written to it.
    pub fn make(&self, root: &Root, target: &Path, size: Option<u64>) -> Result<()> {
        let (lower, scratch) = (root.join(&self.lower), root.join(&self.scratch));
        let what = || self.failure();
        if forgotten::forget(&scratch)?.is_some() {
            forgotten::begin_removal(root);
        }
        let upper = scratch.join(UPPER);
        // The overlay itself cannot keep users of the host from its setuid programs, which are to work in the container:
        // what is above it does, here and at `target`.
        privacy::make(&scratch).context(what)?;
        if let Some(size) = size {
            // What is made in it from here on counts.
            let _lock = lock::projects(root).context(what)?;
            quota::limit(&scratch, size).context(what)?;
        }
        privacy::make(&upper).context(what)?;
        // The root of the overlay has the mode and owner of the upper directory.
        let metadata = fs::metadata(lower).context(what)?;
        std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid())).context(what)?;
        fs::set_permissions(&upper, fs::Permissions::from_mode(metadata.mode() & 0o7777)).context(what)?;
        privacy::make(target).context(what)
    }

    /// Mounts it at `target`, in the mount namespace that this thread is in.
    pub(super) fn mount(&self, root: &Root, target: &Path) -> Result<()> {
        let (lower, scratch) = (root.join(&self.lower), root.join(&self.scratch));
        let (what, work) = (|| self.failure(), scratch.join(WORK));
        // An overlay whose changes are not synced leaves a note in it, for which it cannot be mounted again.
        files::remove_tree(&work).context(what)?;
        privacy::make(&work).context(what)?;
        let layers = [("lowerdir", lower), ("upperdir", scratch.join(UPPER)), ("workdir", work)];
        let layers = layers.iter().map(|(key, path)| format!("{key}={}", escape(path)));
        let data: Vec<_> = layers.chain(self.label.as_deref().map(selinux::mount_option)).collect();
        let flags = if self.no_devices { MsFlags::MS_NODEV } else { MsFlags::empty() };
        let mount_with = |more: &str| {
            let data = data.join(",") + more;
            privileges::without_resource(|| {
                mount(Some("overlay"), target, Some("overlay"), flags, Some(data.as_str()))
            })
        };
        // What is forgotten is not synced, neither for a payload nor when it is unmounted. Linux has that since 5.10. Equal
        // files of an image are names of one inode, and a payload that writes to one changes no other, as with podman, unless
        // the host's default is to keep an index of them.
        let mounted = match mount_with(",index=off,volatile") {
            Err(Errno::EINVAL) => mount_with(",index=off"),
            mounted => mounted,
        };
        mounted
            .context(|| format!("the file system of {} may not support overlays", scratch.display()))
            .context(what)
    }

    /// Unmounts it, if an earlier version mounted it for the whole host.
    pub fn unmount(target: &Path) -> Result<()> {
        match umount2(target, MntFlags::MNT_DETACH) {
            // Nothing is mounted there, or the directory does not exist.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            result => result.context(|| format!("cannot unmount {}", target.display())),
        }
    }

    fn failure(&self) -> String {
        format!("cannot create a scratch root file system of {}", self.lower)
    }
}

/// Escapes a path for an overlay option: commas separate options, and colons separate lower directories.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .flat_map(|c| matches!(c, ',' | ':' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}
