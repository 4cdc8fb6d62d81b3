//! Volumes: directories of an image that its payload writes to and that outlive deployments. What the image has in one is copied
//! in once, when it is empty.
//!
//! The copy is made in a directory inside the volume, which may be a mount point, and has another name once it is whole: killed at any
//! time, the next start goes on where it was sure.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::error::{Context, Result};
use crate::system::files;

/// Where a copy is until it is whole, and then until all of it is in its place.
const COPYING: &str = ".syscontainers.new";
const COPIED: &str = ".syscontainers.ready";

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The directory on the host.
    pub directory: PathBuf,
    /// Its place in the container.
    pub destination: PathBuf,
    /// Owner and group where the image has no such directory.
    pub owner: (u32, u32),
}

impl Volume {
    /// Makes the directory, and copies what is at its place in `rootfs`, unless there is something in it already.
    pub fn fill(&self, rootfs: &Path) -> Result<()> {
        let what = || format!("cannot make volume {}", self.directory.display());
        let below = self.destination.strip_prefix("/").unwrap_or(&self.destination);
        self.fill_from(&rootfs.join(below)).context(what)
    }

    fn fill_from(&self, source: &Path) -> Result<()> {
        let (copying, copied) = (self.directory.join(COPYING), self.directory.join(COPIED));
        files::make_directory(&self.directory, 0o700)?;
        let names = files::names(&self.directory)?;
        if !copied.is_dir() {
            if names.iter().any(|name| name != COPYING && name != "lost+found") {
                return Ok(());
            }
            files::remove_tree(&copying)?;
            copy_tree(source, &copying, self.owner)?;
            files::sync_file_system(&copying)?;
            fs::rename(&copying, &copied).context(|| format!("cannot rename {}", copying.display()))?;
        }
        self.settle(&copied)
    }

    fn settle(&self, copied: &Path) -> Result<()> {
        let what = || format!("cannot move what is in {}", copied.display());
        for name in files::names(copied)? {
            fs::rename(copied.join(&name), self.directory.join(&name)).context(what)?;
        }
        files::set_owner_like(&self.directory, &fs::symlink_metadata(copied).context(what)?)?;
        fs::remove_dir(copied).context(what)?;
        files::sync_directory(&self.directory)
    }
}

/// Copies a directory with modes, owners and symlinks; where there is none, makes an empty one.
fn copy_tree(source: &Path, target: &Path, owner: (u32, u32)) -> Result<()> {
    let what = || format!("cannot copy {}", source.display());
    if !source.is_dir() || source.is_symlink() {
        fs::create_dir(target).context(what)?;
        return files::set_owner(target, owner.0, owner.1, 0o755).context(what);
    }
    for entry in WalkDir::new(source) {
        let entry = entry.context(what)?;
        let to = target.join(entry.path().strip_prefix(source).unwrap_or(entry.path()));
        let kind = entry.file_type();
        if kind.is_dir() {
            fs::create_dir(&to).context(what)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).context(what)?;
            std::os::unix::fs::symlink(link, &to).context(what)?;
        } else {
            fs::copy(entry.path(), &to).context(what)?;
        }
        files::set_owner_like(&to, &entry.metadata().context(what)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn volume(directory: &Path) -> Volume {
        let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        Volume { directory: directory.to_owned(), destination: "/data".into(), owner }
    }

    #[test]
    fn is_filled_once() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, target) = (dir.path().join("rootfs"), dir.path().join("state/data"));
        fs::create_dir_all(rootfs.join("data/sub")).unwrap();
        fs::write(rootfs.join("data/sub/a"), "a").unwrap();
        std::os::unix::fs::symlink("sub/a", rootfs.join("data/link")).unwrap();
        fs::set_permissions(rootfs.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
        volume(&target).fill(&rootfs).unwrap();
        assert_eq!(fs::read_to_string(target.join("link")).unwrap(), "a");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o750);
        let mut names = files::names(&target).unwrap();
        names.sort();
        assert_eq!(names, ["link", "sub"]);
        fs::write(target.join("sub/a"), "changed").unwrap();
        volume(&target).fill(&rootfs).unwrap();
        assert_eq!(fs::read_to_string(target.join("sub/a")).unwrap(), "changed");
    }

    #[test]
    fn goes_on_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, target) = (dir.path().join("rootfs"), dir.path().join("data"));
        fs::create_dir_all(rootfs.join("data")).unwrap();
        fs::write(rootfs.join("data/a"), "a").unwrap();
        // While it was copied.
        fs::create_dir_all(target.join(COPYING)).unwrap();
        fs::write(target.join(COPYING).join("half"), "").unwrap();
        volume(&target).fill(&rootfs).unwrap();
        assert_eq!(files::names(&target).unwrap(), ["a"]);
        // While it was moved.
        fs::create_dir(target.join(COPIED)).unwrap();
        fs::write(target.join(COPIED).join("b"), "b").unwrap();
        volume(&target).fill(&rootfs).unwrap();
        let mut names = files::names(&target).unwrap();
        names.sort();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn is_made_where_the_image_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("state");
        volume(&target).fill(&dir.path().join("rootfs")).unwrap();
        assert_eq!(files::names(&target).unwrap(), Vec::<String>::new());
    }
}
