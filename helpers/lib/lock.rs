//! Locks between our own processes: flock(2), so that none outlives its process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Result};
use crate::files;
use crate::log;
use crate::name::Name;
use crate::paths::{RUN, Root};

/// A lock that is held until it is dropped.
pub type Lock = Flock<File>;

/// How often a bounded wait looks again.
const INTERVAL: Duration = Duration::from_millis(10);

/// The lock of everything that changes one container; says so when it has to wait.
pub fn container(root: &Root, name: &Name) -> Result<Lock> {
    take(root, name.as_str(), &format!("another program to finish with {name}"))
}

/// As [`container`], but `None` if somebody else has it.
pub fn try_container(root: &Root, name: &Name) -> Result<Option<Lock>> {
    let path = directory(root)?.join(name.as_str());
    let what = || format!("cannot lock {}", path.display());
    match Flock::lock(open(&path).context(what)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e).context(what),
    }
}

/// The lock of whoever decides on files of the host, which containers may share. To be taken after that of the container.
pub fn host_files(root: &Root) -> Result<Lock> {
    // No container is called so.
    take(root, ".host-files", "another installation, update or removal to finish")
}

fn directory(root: &Root) -> Result<PathBuf> {
    let directory = root.join(RUN).join(".locks");
    files::make_directory(&directory, 0o700)?;
    Ok(directory)
}

fn take(root: &Root, file: &str, what_for: &str) -> Result<Lock> {
    let path = directory(root)?.join(file);
    let what = || format!("cannot lock {}", path.display());
    match Flock::lock(open(&path).context(what)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, Errno::EWOULDBLOCK)) => {
            log::info(&format!("waiting for {what_for}"));
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).context(what)
        }
        Err((_, e)) => Err(e).context(what),
    }
}

/// The lock file of one start, in its bundle.
pub fn start(path: &Path) -> Result<Lock> {
    let what = || format!("cannot lock {}", path.display());
    Flock::lock(open(path).context(what)?, FlockArg::LockExclusive).map_err(|(_, e)| e).context(what)
}

/// Waits until nobody holds the lock at `path`, `limit` at most; a file that is not there is not held.
pub fn wait(path: &Path, limit: Duration) {
    let deadline = Instant::now() + limit;
    let Ok(mut file) = File::open(path) else { return };
    while let Err((back, Errno::EWOULDBLOCK)) = Flock::lock(file, FlockArg::LockSharedNonblock) {
        if Instant::now() >= deadline {
            return;
        }
        file = back;
        std::thread::sleep(INTERVAL);
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
