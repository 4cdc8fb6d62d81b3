//! Commits, made so that none is ever there without all of its trees.
//!
//! A transaction of libostree ends with objects being renamed into place one by one, in no order. Killed meanwhile, it may
//! have moved a commit and not what that is of, and then `ostree fsck` fails for good. So trees have a transaction, and the
//! commit is written after it.

use std::fs::File;
use std::path::PathBuf;
use std::ptr;

use ostree::gio::prelude::*;
use ostree::glib::Variant;
use ostree::glib::translate::{ToGlibPtr, from_glib_full};
use ostree::{MutableTree, RepoFile, ffi, glib};

use super::NEVER;
use crate::error::{Context, Error, Result};

/// What a commit is made of.
pub struct Content<T> {
    /// Its tree, written.
    pub root: RepoFile,
    /// Its metadata.
    pub metadata: Variant,
    /// What else is known of it.
    pub more: T,
}

/// Commits what `write` writes, and has `reference` name it.
pub fn publish<T>(
    repo: &ostree::Repo,
    reference: &str,
    write: impl FnOnce() -> Result<Content<T>>,
) -> Result<(String, T)> {
    let what = || "cannot write the commit".to_string();
    // Between the transaction and the ref, nothing leads to the trees.
    let _lock = Shared::take(repo).context(what)?;
    let transaction = repo.auto_transaction(NEVER).context(what)?;
    let Content { root, metadata, more } = write()?;
    transaction.commit(NEVER).context(what)?;
    // Outside of a transaction, since that would sync all of the file system and every directory once more for one object;
    // and what it leaves when it is killed would be taken up by a later one, when the trees may be pruned.
    let commit = repo.write_commit(None, None, None, Some(&metadata), &root, NEVER).context(what)?;
    sync(repo, &commit).context(what)?;
    repo.set_ref_immediate(None, reference, Some(&commit), NEVER).context(what)?;
    Ok((commit.to_string(), more))
}

/// Writes a tree; within a transaction.
pub fn write_tree(repo: &ostree::Repo, tree: &MutableTree) -> Result<RepoFile> {
    let what = || "cannot write the tree".to_string();
    let root = repo.write_mtree(tree, NEVER).context(what)?;
    root.downcast::<RepoFile>().map_err(|_| Error::new("it is no tree")).context(what)
}

/// Makes a commit object last, with the names that lead to it.
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

/// libostree's own lock of the repository, as transactions hold it: nobody's prune runs meanwhile.
struct Shared<'a>(&'a ostree::Repo);

impl<'a> Shared<'a> {
    #[allow(unsafe_code)]
    fn take(repo: &'a ostree::Repo) -> Result<Shared<'a>, glib::Error> {
        let mut error = ptr::null_mut();
        // SAFETY: the repository is borrowed and open, and a null cancellable is none; the crate has no safe name for this.
        unsafe {
            ffi::ostree_repo_lock_push(
                repo.to_glib_none().0,
                ffi::OSTREE_REPO_LOCK_SHARED,
                ptr::null_mut(),
                &mut error,
            );
            if error.is_null() { Ok(Shared(repo)) } else { Err(from_glib_full(error)) }
        }
    }
}

impl Drop for Shared<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: as in take(), which pushed this lock; without a place for an error none is returned.
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
