//! The host's own repository, on OSTree systems: objects that it has are shared, and images that Atomic pulled into it
//! are found. Nothing is ever written to it.
//!
//! Every user of the host can enter that repository, so it is never the store. Objects are shared one by one:
//! [`crate::store::builder`] asks here before it writes one, and gets a hard link if the host's copy has the right checksum.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostree::gio::Cancellable;
use ostree::{ObjectType, RepoMode};

use super::location::Location;
use super::reference::Reference;
use super::refs;
use crate::error::{Context, Result};
use crate::system::mounts;

/// A directory that libostree would create in a repository when it opens it.
const CACHE: &str = "tmp/cache";
/// Directory of objects in a repository.
const OBJECTS: &str = "objects";
/// As in the store: nothing is cancelled.
const NEVER: Option<&Cancellable> = Cancellable::NONE;

/// The host's own repository.
#[derive(Clone)]
pub struct HostRepository {
    pub(super) repo: ostree::Repo,
    path: PathBuf,
    /// Its directory of objects, and that of the store, by paths between which files can be linked.
    linked: Option<(PathBuf, PathBuf)>,
}

impl HostRepository {
    /// Opens the host's repository; `None` if there is none, or if it cannot be read.
    pub fn open(location: &Location) -> Option<HostRepository> {
        let path = location.host.clone();
        if !path.join("config").exists() || !path.join(CACHE).is_dir() {
            return None;
        }
        let repo = ostree::Repo::new_for_path(&path);
        repo.open(NEVER).ok()?;
        // In other modes, files do not have the owners and modes of the objects.
        let is_bare = repo.mode() == RepoMode::Bare;
        let paths = || mounts::common_paths(&path.join(OBJECTS), &location.path.join(OBJECTS));
        let linked = is_bare.then(paths).flatten();
        Some(HostRepository { repo, path, linked })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes links possible where the mount that has both directories is read-only, as /sysroot is on many hosts. If that
    /// fails, objects are written.
    pub fn allow_links(&self) {
        if let Some((_, to)) = &self.linked {
            let _ = mounts::make_writable(to);
        }
    }

    /// Makes a regular file's object one of the store by a hard link. Returns whether the store has it now; if not, for
    /// whatever reason, the object has to be written.
    ///
    /// The host's object is read and its checksum, which covers content, owner, mode and extended attributes, is
    /// computed again: a damaged one is not taken over. Nor is one that another user can write to, by its path there.
    pub fn link(&self, checksum: &str) -> bool {
        let Some((from, to)) = &self.linked else { return false };
        let (directory, rest) = checksum.split_at(2);
        let file = Path::new(directory).join(format!("{rest}.file"));
        let is_safe = fs::symlink_metadata(from.join(&file)).is_ok_and(|found| is_of_root(&found));
        if !is_safe || self.repo.fsck_object(ObjectType::File, checksum, NEVER).is_err() {
            return false;
        }
        match fs::create_dir(to.join(directory)) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return false,
            _ => {}
        }
        match fs::hard_link(from.join(&file), to.join(&file)) {
            Err(e) => e.kind() == ErrorKind::AlreadyExists,
            Ok(()) => true,
        }
    }

    /// Copies a regular file's or symlink's object to the store, if its checksum is right.
    pub fn copy(&self, checksum: &str, to: &ostree::Repo) -> Result<()> {
        let what = || "its checksum may be wrong".to_string();
        let (stream, length) =
            self.repo.load_object_stream(ObjectType::File, checksum, NEVER).context(what)?;
        to.write_content(Some(checksum), &stream, length, NEVER).context(what)?;
        Ok(())
    }

    /// Whether it has an image of this reference.
    pub fn has_image(&self, image: &str) -> Result<bool> {
        let name = image.parse::<Reference>()?.name()?;
        let reference = refs::image_ref(&name);
        let commit = self.repo.resolve_rev(&reference, true);
        let what = || format!("cannot read ref {reference} in {}", self.path.display());
        Ok(commit.context(what)?.is_some())
    }

    /// Names of all images in it, in order.
    pub fn images(&self) -> Result<Vec<String>> {
        let what = || format!("cannot list the images in {}", self.path.display());
        let refs = self.repo.list_refs(None, NEVER).context(what)?;
        let mut names: Vec<String> = refs.keys().filter_map(|name| refs::image_name(name)).collect();
        names.sort();
        Ok(names)
    }
}

/// Whether a regular file is one that only root can change. A mode without permission for the group covers access
/// control lists, too.
fn is_of_root(found: &fs::Metadata) -> bool {
    found.is_file() && found.uid() == 0 && found.mode() & 0o022 == 0
}
