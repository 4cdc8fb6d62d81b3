//! What killed pulls left in the repository's directory for temporary files. libostree removes its own after a day, or after
//! a boot; a full disk cannot wait for that.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::{Store, location, staging};
use crate::error::{Context, Error};
use crate::prune::{Report, leftover};
use crate::system::files;

/// What libostree calls the directories of its transactions; beside each is a lock of that name and `-lock`.
const TRANSACTION: &str = "staging-";
const LOCK: &str = "-lock";

/// What objects are called that are written anew, until they are whole.
const TEMPORARY: &str = "tmp.";
/// After that libostree takes temporary files for nobody's.
const EXPIRY: Duration = Duration::from_secs(86_400);

/// Removes what nobody holds; the caller has kept pulls away.
pub fn prune(store: &Store, report: &mut Report) {
    temporary_files(store, report);
    objects(store, report);
}

fn temporary_files(store: &Store, report: &mut Report) {
    let directory = store.path.join("tmp");
    let names = match files::names(&directory) {
        Ok(names) => names,
        Err(e) => return report.failed("leftover", directory.display().to_string(), &e),
    };
    for name in names {
        let path = directory.join(&name);
        if name.starts_with(staging::PREFIX) {
            leftover(&path, "a pull was killed while it copied an image", report);
        } else if location::is_old_probe(&path) {
            leftover(&path, "a program was killed while it looked for the store", report);
        } else if name.starts_with(TRANSACTION) && !name.ends_with(LOCK) {
            transaction(&path, report);
        }
    }
}

/// Among objects. Other programs may be about to give one its name.
fn objects(store: &Store, report: &mut Report) {
    let objects = store.path.join("objects");
    for directory in files::names(&objects).unwrap_or_default() {
        let directory = objects.join(directory);
        for name in files::names(&directory).unwrap_or_default() {
            let path = directory.join(&name);
            if name.starts_with(TEMPORARY) && files::is_older(&path, EXPIRY) {
                leftover(&path, "a program was killed while it wrote an object", report);
            }
        }
    }
}

/// Other programs may be at work in a repository that is shared.
fn transaction(path: &Path, report: &mut Report) {
    let shown = path.display().to_string();
    let mut lock = path.as_os_str().to_owned();
    lock.push(LOCK);
    let lock = Path::new(&lock);
    if report.dry_run && !lock.exists() {
        return leftover(path, "a pull was killed or failed while it wrote objects", report);
    }
    match hold(lock).context(|| format!("cannot lock {}", lock.display())) {
        Ok(Some(_held)) => {
            leftover(path, "a pull was killed or failed while it wrote objects", report);
            if !report.dry_run {
                // With the directory gone, whoever finds one of this name takes it for what it is.
                let _ = files::remove_file(lock);
            }
        }
        Ok(None) => report.kept("leftover", shown, "another program is at work in it"),
        Err(e) => report.failed("leftover", shown, &e),
    }
}

/// Takes a lock of libostree's, which is one of the open file, see fcntl(2); `None` if somebody has it.
fn hold(path: &Path) -> Result<Option<File>, Error> {
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
        // Whoever had it before has removed the file, and somebody else may have made another.
        Ok(_) if !is_same(&file, path) => Ok(None),
        Ok(_) => Ok(Some(file)),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
        Err(e) => Err(e).context(|| "cannot take it".into()),
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    let (open, named) = (file.metadata(), fs::metadata(path));
    open.is_ok_and(|open| named.is_ok_and(|named| named.ino() == open.ino()))
}
