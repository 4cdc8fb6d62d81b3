//! What killed pulls left behind in the repository's directory for temporary files, and among its objects. libostree
//! removes its own leftovers after a day, or after a boot; a full disk cannot wait for that.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::outcome::Outcome;
use super::repository::Store;
use super::staging;
use crate::error::{Context, Result};
use crate::system::files;
use crate::system::mounts;

/// Prefix of the names of transactions' directories. Next to each is its lock, whose name has the suffix [`LOCK`].
const TRANSACTION: &str = "staging-";
/// Suffix of the names of locks.
const LOCK: &str = "-lock";
/// Prefix of the names of objects that are being written.
const TEMPORARY: &str = "tmp.";
/// The age after which libostree removes temporary files itself.
const EXPIRY: Duration = Duration::from_secs(86_400);
/// Why the directory of a transaction was left behind.
const INTERRUPTED: &str = "a pull was killed or failed while it wrote objects";

/// Removes what no program uses. The caller has locked the store, so no pull is running. `tell` receives the path and
/// the outcome of each leftover.
pub fn prune(store: &Store, dry_run: bool, tell: &mut dyn FnMut(&Path, Outcome)) {
    temporary_files(store, dry_run, tell);
    objects(store, dry_run, tell);
}

/// Removes a file or directory that is not needed, unless anything is mounted in it.
pub fn remove(path: &Path, reason: &str, dry_run: bool) -> Outcome {
    if let Err(e) = mounts::refuse(path) {
        return Outcome::Kept(e.to_string());
    }
    let bytes = files::own_size(path);
    if !dry_run {
        if let Err(e) = files::remove_tree(path) {
            return Outcome::Failed(e);
        }
    }
    Outcome::Removed { reason: reason.into(), bytes }
}

fn temporary_files(store: &Store, dry_run: bool, tell: &mut dyn FnMut(&Path, Outcome)) {
    let directory = store.temporary_directory();
    let names = match files::names(&directory) {
        Ok(names) => names,
        Err(e) => return tell(&directory, Outcome::Failed(e)),
    };
    for name in names {
        let path = directory.join(&name);
        if name.starts_with(staging::PREFIX) {
            tell(&path, remove(&path, "a pull was killed while it copied an image", dry_run));
        } else if name.starts_with(TRANSACTION) && !name.ends_with(LOCK) {
            tell(&path, transaction(&path, dry_run).unwrap_or_else(Outcome::Failed));
        }
    }
}

/// Removes objects that were not completed. Other programs may be about to complete new ones.
fn objects(store: &Store, dry_run: bool, tell: &mut dyn FnMut(&Path, Outcome)) {
    let objects = store.path.join("objects");
    for directory in files::names(&objects).unwrap_or_default() {
        let directory = objects.join(directory);
        for name in files::names(&directory).unwrap_or_default() {
            let path = directory.join(&name);
            if name.starts_with(TEMPORARY) && files::is_older(&path, EXPIRY) {
                tell(&path, remove(&path, "a program was killed while it wrote an object", dry_run));
            }
        }
    }
}

/// Removes the directory of a transaction, unless its lock is held: other programs may be using a shared repository.
fn transaction(path: &Path, dry_run: bool) -> Result<Outcome> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(LOCK);
    let lock = Path::new(&lock);
    if dry_run && !lock.exists() {
        return Ok(remove(path, INTERRUPTED, dry_run));
    }
    let held = try_lock(lock).context(|| format!("cannot lock {}", lock.display()))?;
    let Some(_held) = held else {
        return Ok(Outcome::Kept("another program is using it".into()));
    };
    let outcome = remove(path, INTERRUPTED, dry_run);
    if !dry_run {
        // A lock without its directory means nothing, so it does not matter if this fails.
        let _ = files::remove_file(lock);
    }
    Ok(outcome)
}

/// Takes a lock as libostree does, which belongs to the open file, see fcntl(2); `None` if another program holds it.
fn try_lock(path: &Path) -> Result<Option<File>> {
    let what = || "cannot open it".to_string();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.context(what)?;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)) {
        // The program that held it has removed the file, and another one may have made a new one.
        Ok(_) if !is_same(&file, path) => Ok(None),
        Ok(_) => Ok(Some(file)),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
        Err(e) => Err(e).context(|| "cannot take the lock".into()),
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    let (open, named) = (file.metadata(), fs::metadata(path));
    open.is_ok_and(|open| named.is_ok_and(|named| named.ino() == open.ino()))
}
