//! Commits, written in such an order that a commit never exists without all of its trees.
//!
//! A transaction of libostree ends with objects being renamed into place one by one, in no particular order. If it is
//! killed meanwhile, it may have moved a commit but not its trees, and `ostree fsck` fails from then on. So trees are
//! written in a transaction, and the commit after it.

use std::fs::File;
use std::path::PathBuf;
use std::ptr;

use ostree::gio::prelude::*;
use ostree::glib::Variant;
use ostree::glib::translate::{ToGlibPtr, from_glib_full};
use ostree::{MutableTree, RepoFile, ffi, glib};

use super::repository::NEVER;
use crate::error::{Context, Error, Result};

/// When commits were made, in seconds since 1970: always then, so that the same image is the same commit, and one that was lost can be
/// made again.
const TIME: u64 = 0;

/// The parts of a commit.
pub struct CommitContent<T> {
    /// The root of the commit's tree, which has been written.
    pub root: RepoFile,
    /// Metadata of the commit, `a{sv}`.
    pub metadata: Variant,
    /// An additional result for the caller of [`publish`].
    pub result: T,
}

/// Commits what `write` writes, and sets the ref. Returns the checksum of the commit.
pub fn publish<T>(
    repo: &ostree::Repo,
    reference: &str,
    write: impl FnOnce() -> Result<CommitContent<T>>,
) -> Result<(String, T)> {
    // A prune between the transaction and the ref would remove the trees, which nothing refers to yet.
    let _lock = SharedLock::take(repo).context(|| "cannot write the commit".into())?;
    let (commit, result) = write_object(repo, write)?;
    let set = repo.set_ref_immediate(None, reference, Some(&commit), NEVER);
    set.context(|| format!("cannot set {reference}"))?;
    Ok((commit, result))
}

/// Commits what `write` writes, and sets no ref.
pub fn write<T>(
    repo: &ostree::Repo,
    write: impl FnOnce() -> Result<CommitContent<T>>,
) -> Result<(String, T)> {
    let _lock = SharedLock::take(repo).context(|| "cannot write the commit".into())?;
    write_object(repo, write)
}

fn write_object<T>(
    repo: &ostree::Repo,
    write: impl FnOnce() -> Result<CommitContent<T>>,
) -> Result<(String, T)> {
    let what = || "cannot write the commit".to_string();
    let transaction = repo.auto_transaction(NEVER).context(what)?;
    let CommitContent { root, metadata, result } = write()?;
    transaction.commit(NEVER).context(what)?;
    // Not in a transaction, which would sync the whole file system and every directory once more for one object. Also,
    // if it were killed, a later transaction would take up the rest of it, when the trees may have been pruned.
    let commit =
        repo.write_commit_with_time(None, None, None, Some(&metadata), &root, TIME, NEVER).context(what)?;
    sync(repo, &commit).context(what)?;
    Ok((commit.to_string(), result))
}

/// Writes a tree, and no commit, and syncs it. Returns the checksums of its content and metadata.
pub fn write_only_tree(
    repo: &ostree::Repo,
    make: impl FnOnce() -> Result<MutableTree>,
) -> Result<(String, String)> {
    let what = || "cannot write the tree".to_string();
    let _lock = SharedLock::take(repo).context(what)?;
    let transaction = repo.auto_transaction(NEVER).context(what)?;
    let root = write_tree(repo, &make()?)?;
    let checksums = (root.tree_get_contents_checksum(), root.tree_get_metadata_checksum());
    transaction.commit(NEVER).context(what)?;
    Ok((checksums.0.unwrap_or_default().into(), checksums.1.unwrap_or_default().into()))
}

/// Writes a tree. A transaction must be open.
pub fn write_tree(repo: &ostree::Repo, tree: &MutableTree) -> Result<RepoFile> {
    let what = || "cannot write the tree".to_string();
    let root = repo.write_mtree(tree, NEVER).context(what)?;
    root.downcast::<RepoFile>().map_err(|_| Error::new("it is not a tree")).context(what)
}

/// Syncs a commit object, and the directories with its name.
fn sync(repo: &ostree::Repo, commit: &str) -> Result<()> {
    let objects = repo.path().path().unwrap_or_default().join("objects");
    let (directory, name) = commit.split_at(2);
    let directory = objects.join(directory);
    for path in [directory.join(format!("{name}.commit")), directory, objects] {
        sync_one(&path).context(|| format!("cannot sync {}", path.display()))?;
    }
    Ok(())
}

fn sync_one(path: &PathBuf) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// libostree's own shared lock of the repository, which transactions hold as well: no other program prunes meanwhile.
struct SharedLock<'a>(&'a ostree::Repo);

impl<'a> SharedLock<'a> {
    #[allow(unsafe_code)]
    fn take(repo: &'a ostree::Repo) -> Result<SharedLock<'a>, glib::Error> {
        let mut error = ptr::null_mut();
        // SAFETY: the repository is borrowed and open, and a null cancellable is allowed; the crate has no safe
        // function for this.
        unsafe {
            ffi::ostree_repo_lock_push(
                repo.to_glib_none().0,
                ffi::OSTREE_REPO_LOCK_SHARED,
                ptr::null_mut(),
                &mut error,
            );
            if error.is_null() { Ok(SharedLock(repo)) } else { Err(from_glib_full(error)) }
        }
    }
}

impl Drop for SharedLock<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: as in take(), which pushed this lock; a null error means that none is returned.
        unsafe {
            ffi::ostree_repo_lock_pop(
                self.0.to_glib_none().0,
                ffi::OSTREE_REPO_LOCK_SHARED,
                ptr::null_mut(),
                ptr::null_mut(),
            );
        }
    }
}
