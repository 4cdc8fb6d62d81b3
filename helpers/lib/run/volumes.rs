//! Filling volumes: what the image has in one is copied in once, when it is empty.
//!
//! The copy is made in a directory inside the volume, which may be a mount point, and has another name once it is whole:
//! killed at any time, the next start goes on where it was sure.

use std::fs;
use std::path::Path;

use walkdir::WalkDir;

use crate::container::volume::Volume;
use crate::error::{Context, Result};
use crate::paths::Root;
use crate::system::files;

/// Where a copy is until it is whole, and then until all of it is in its place.
const COPYING: &str = ".syscontainers.new";
const COPIED: &str = ".syscontainers.ready";

/// Makes a volume's directory, and copies what is at its place in `rootfs`, unless there is something in it already.
pub fn fill(root: &Root, volume: &Volume, rootfs: &Path) -> Result<()> {
    let directory = root.join(&volume.directory);
    let below = volume.destination.strip_prefix("/").unwrap_or(&volume.destination);
    fill_from(&directory, &rootfs.join(below), volume.owner)
        .context(|| format!("cannot make volume {}", volume.directory))
}

fn fill_from(directory: &Path, source: &Path, owner: (u32, u32)) -> Result<()> {
    let (copying, copied) = (directory.join(COPYING), directory.join(COPIED));
    files::make_directory(directory, 0o700)?;
    let names = files::names(directory)?;
    if !copied.is_dir() {
        if names.iter().any(|name| name != COPYING && name != "lost+found") {
            return Ok(());
        }
        files::remove_tree(&copying)?;
        copy_tree(source, &copying, owner)?;
        files::sync_file_system(&copying)?;
        fs::rename(&copying, &copied).context(|| format!("cannot rename {}", copying.display()))?;
    }
    move_out(&copied, directory)
}

/// Moves the content of a whole copy into the volume that the copy is in.
fn move_out(copied: &Path, directory: &Path) -> Result<()> {
    let what = || format!("cannot move what is in {}", copied.display());
    for name in files::names(copied)? {
        fs::rename(copied.join(&name), directory.join(&name)).context(what)?;
    }
    files::set_owner_like(directory, &fs::symlink_metadata(copied).context(what)?)?;
    fs::remove_dir(copied).context(what)?;
    files::sync_directory(directory)
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
    use crate::paths::TreePath;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn fill_data(directory: &Path, rootfs: &Path) {
        let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let volume = Volume { directory: TreePath::new(directory), destination: "/data".into(), owner };
        fill(&Root::default(), &volume, rootfs).unwrap();
    }

    #[test]
    fn is_filled_once() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, target) = (dir.path().join("rootfs"), dir.path().join("state/data"));
        fs::create_dir_all(rootfs.join("data/sub")).unwrap();
        fs::write(rootfs.join("data/sub/a"), "a").unwrap();
        std::os::unix::fs::symlink("sub/a", rootfs.join("data/link")).unwrap();
        fs::set_permissions(rootfs.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
        fill_data(&target, &rootfs);
        assert_eq!(fs::read_to_string(target.join("link")).unwrap(), "a");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o750);
        let mut names = files::names(&target).unwrap();
        names.sort();
        assert_eq!(names, ["link", "sub"]);
        fs::write(target.join("sub/a"), "changed").unwrap();
        fill_data(&target, &rootfs);
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
        fill_data(&target, &rootfs);
        assert_eq!(files::names(&target).unwrap(), ["a"]);
        // While it was moved.
        fs::create_dir(target.join(COPIED)).unwrap();
        fs::write(target.join(COPIED).join("b"), "b").unwrap();
        fill_data(&target, &rootfs);
        let mut names = files::names(&target).unwrap();
        names.sort();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn is_made_where_the_image_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("state");
        fill_data(&target, &dir.path().join("rootfs"));
        assert_eq!(files::names(&target).unwrap(), Vec::<String>::new());
    }
}
