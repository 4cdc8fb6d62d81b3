//! Directories of ours that nobody but their owner may enter or replace, since files of images in them have the owners
//! and modes that they have in containers, setuid programs included.
//!
//! These are the directory of deployments, the store and the bundles. Nothing relies on the modes of files in them. Where
//! somebody else needs to get at something, it is brought to them: root file systems are shown to runtimes in user namespaces
//! (`run::view`), and a socket that payloads find by its path on the host is in a directory of its own. At the end of each
//! story, a sweep as another user looks for what it should not find (`tests/stories/lib/host_users.sh`).

use std::fmt;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::paths::{Root, TreePath};
use crate::program::log;
use crate::system::acl::Acl;
use crate::system::files;

/// Mode of a directory that only its owner enters.
pub const PRIVATE: u32 = 0o700;
/// What others, and groups, may not have.
const OTHERS: u32 = 0o077;
/// Permission to make, remove and rename entries.
const WRITE: u32 = 0o022;
/// In directories with this bit, entries of others cannot be renamed.
const STICKY: u32 = 0o1000;

/// Creates a directory that only this user can enter, with its parents. One that exists is closed to others.
pub fn make(path: &Path) -> Result<()> {
    let what = || format!("cannot create directory {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context(what)?;
    }
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => close(path),
        Err(e) => Err(e).context(what),
    }
}

/// Closes a directory that is ours by its name to everybody else, if it exists.
pub fn close(path: &Path) -> Result<()> {
    let what = || format!("cannot keep other users out of {}", path.display());
    let metadata = match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.context(what)?,
    };
    check_owner(path, &metadata).context(what)?;
    if metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(PRIVATE)).context(what)?;
    let mode = metadata.mode() & 0o7777;
    log::warning(&format!(
        "other users could enter {} until now (mode {mode:04o}); closed it",
        path.display()
    ));
    Ok(())
}

/// Refuses a directory that another user owns, may enter, or could replace.
pub fn check(path: &Path) -> Result<()> {
    let what = || format!("cannot examine {}", path.display());
    let metadata = fs::metadata(path).context(what)?;
    check_owner(path, &metadata)?;
    if metadata.mode() & OTHERS != 0 {
        return Err(Error::new(format!(
            "other users may enter it (mode {:04o}), and would find setuid programs of images in it; close it with 'chmod 0700 {}'",
            metadata.mode() & 0o7777,
            path.display()
        )));
    }
    check_parents(path)
}

/// Refuses a path that another user could make lead elsewhere: each directory above it, and above what symlinks in it
/// lead to, has to be one that only root, or this user, changes.
pub fn check_parents(path: &Path) -> Result<()> {
    let what = || format!("cannot examine {}", path.display());
    let absolute = std::path::absolute(path).context(what)?;
    let mut above: Vec<PathBuf> = absolute.ancestors().skip(1).map(Path::to_path_buf).collect();
    if let Ok(resolved) = absolute.canonicalize() {
        above.extend(resolved.ancestors().skip(1).map(Path::to_path_buf));
    }
    for directory in above {
        // What does not exist is made by this user.
        let Ok(metadata) = fs::metadata(&directory) else { continue };
        if is_changed_by_others(&directory, &metadata)? {
            return Err(Error::new(format!(
                "other users could replace it, since they may write to {} (owner {}, mode {:04o})",
                directory.display(),
                metadata.uid(),
                metadata.mode() & 0o7777
            )));
        }
    }
    Ok(())
}

/// Refuses a path that others could make lead elsewhere now or later: it, each directory on the way, and what symlinks on
/// the way lead to, are root's or this user's, and nobody else may write to them. A sticky bit makes no difference.
pub fn check_path(path: &Path) -> Result<()> {
    let what = || format!("cannot examine {}", path.display());
    check_inside(&Root::default(), &std::path::absolute(path).context(what)?)
}

/// The same for a path in a tree, in which its links are followed. Who can change what is above the tree is for whoever
/// chose the tree.
pub fn check_inside(root: &Root, path: &Path) -> Result<()> {
    let what = || format!("cannot examine {}", path.display());
    let trace = files::trace(root.path(), path, &|_| false)?;
    let above = trace.links.iter().filter_map(|link| link.parent());
    for end in above.chain([trace.place.as_path()]) {
        // What is at the top decides on everything below.
        for at in end.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let at = root.join(&TreePath::new(at));
            match fs::symlink_metadata(&at) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                found => {
                    let found = found.context(what)?;
                    check_fixed(&at.display(), found.uid(), found.mode())?;
                }
            }
        }
    }
    Ok(())
}

/// Refuses a file with this owner and mode, unless only root and this user may write to it.
pub fn check_fixed(shown: &dyn fmt::Display, owner: u32, mode: u32) -> Result<()> {
    if mode & WRITE == 0 && (owner == 0 || owner == nix::unistd::geteuid().as_raw()) {
        return Ok(());
    }
    let mode = mode & 0o7777;
    Err(Error::new(format!("other users may change {shown} (owner {owner}, mode {mode:04o})")))
}

fn is_changed_by_others(path: &Path, metadata: &Metadata) -> Result<bool> {
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let is_own = |id: u32, own: u32| id == 0 || id == own;
    let (by_group, by_others) = (metadata.mode() & WRITE & 0o020 != 0, metadata.mode() & WRITE & 0o002 != 0);
    let writable = by_others
        || match Acl::of(path)?.filter(|_| by_group) {
            None => by_group && !is_own(metadata.gid(), group),
            // The bits of the group are the mask of the list.
            Some(acl) => {
                acl.group_writes && !is_own(metadata.gid(), group)
                    || acl.users.iter().any(|id| !is_own(*id, user))
                    || acl.groups.iter().any(|id| !is_own(*id, group))
            }
        };
    let is_open = writable && metadata.mode() & STICKY == 0;
    Ok(is_open || !is_own(metadata.uid(), user))
}

/// Whoever owns a directory can open it to others, and change what is in it.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<()> {
    let (owner, user) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    Err(Error::new(format!(
        "it belongs to user {owner}, and this is user {user}; give it away with 'chown -R {user} {}', if what is in it can be trusted",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_of_ours_is_closed_whatever_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        for before in [0o777, 0o755, 0o711, 0o750, 0o1701] {
            set(&path, before);
            make(&path).unwrap();
            assert_eq!(mode(&path), 0o700, "{before:o}");
        }
        // Its owner's business.
        set(&path, 0o500);
        close(&path).unwrap();
        assert_eq!(mode(&path), 0o500);
        close(&dir.path().join("none")).unwrap();
    }

    #[test]
    fn what_others_may_enter_or_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parent/store");
        fs::create_dir_all(&path).unwrap();
        let why = |path: &Path| check(path).err().map(|e| e.to_string()).unwrap_or_default();
        for open in [0o755, 0o711, 0o750, 0o704, 0o701] {
            set(&path, open);
            let said = format!("(mode 0{open:o})");
            assert!(why(&path).contains(&said) && why(&path).contains("chmod 0700"), "{}", why(&path));
        }
        set(&path, 0o700);
        assert_eq!(why(&path), "");
        let parent = path.parent().unwrap();
        set(parent, 0o777);
        assert!(why(&path).contains("may write to") && why(&path).contains("/parent"), "{}", why(&path));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(why(&link).contains("/parent"), "{}", why(&link));
        set(parent, 0o1777);
        assert_eq!(why(&path) + &why(&link), "");
    }

    #[test]
    fn what_others_may_change_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for path in ["a/b", "c", "d"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink("/a/b/file", dir.path().join("c/link")).unwrap();
        let why = |path: &str| check_inside(&root, path.as_ref()).err().map(|e| e.to_string());
        for path in ["/c/link", "/d/../c/link", "/none/x"] {
            assert_eq!(why(path), None, "{path}");
        }
        for open in ["a", "a/b", "a/b/file", "c", ""] {
            let before = mode(&dir.path().join(open));
            set(&dir.path().join(open), 0o1777);
            let said = why("/c/link").unwrap_or_default();
            assert!(said.contains("other users may change") && said.contains("mode 1777"), "{open}: {said}");
            assert_eq!(why("/d").is_some(), open.is_empty(), "{open}");
            set(&dir.path().join(open), before);
        }
    }

    #[test]
    fn whoever_an_access_control_list_lets_write_is_another_user() {
        let dir = tempfile::tempdir().unwrap();
        let (parent, path) = (dir.path().join("parent"), dir.path().join("parent/store"));
        make(&path).unwrap();
        // The owner, a user or a group that is named, the group of the file, the mask, and all others.
        let list = |(tag, id): (u16, u32), mask: u16| {
            let own = u32::MAX;
            let entries = [(1u16, 7u16, own), (tag, 7, id), (4, 5, own), (0x10, mask, own), (0x20, 5, own)];
            let mut entries = entries.to_vec();
            entries.sort();
            let mut value = vec![2, 0, 0, 0];
            for (tag, permissions, id) in entries {
                value.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
                value.extend(id.to_le_bytes());
            }
            value
        };
        let set_list = |value: &[u8]| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&parent, "system.posix_acl_access", value, flags)
        };
        if set_list(&list((2, 1777), 7)).is_err() {
            eprintln!("skipped: this file system has no access control lists");
            return;
        }
        for ((named, mask), refused) in
            [(((2, 1777), 7), true), (((8, 50), 7), true), (((2, 1777), 5), false), (((2, 0), 7), false)]
        {
            set_list(&list(named, mask)).unwrap();
            assert_eq!(check(&path).is_err(), refused, "{named:?} {mask}");
        }
    }

    #[test]
    fn what_belongs_to_others_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (parent, path) = (dir.path().join("parent"), dir.path().join("parent/store"));
        make(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(1000), None).unwrap();
        for refused in [check(&path), close(&path), make(&path)] {
            let why = refused.unwrap_err().to_string();
            assert!(why.contains("it belongs to user 1000") && why.contains("chown -R 0"), "{why}");
        }
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        std::os::unix::fs::chown(&parent, Some(1000), None).unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("(owner 1000"));
    }
}
