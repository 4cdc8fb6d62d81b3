//! Locks between our own processes: flock(2), so that none outlives its process.
//!
//! There is one order, that of [`Rank`]: whoever holds a lock takes only later ones. A program that needs an earlier one lets
//! the later one go first. Debug builds, and so all tests, refuse another order.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{RUN, Root};
use crate::program::log;
use crate::system::files;

/// A lock that is held until it is dropped.
pub struct Lock {
    _file: Flock<File>,
    rank: Rank,
}

/// What a lock is of, in the order in which locks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Container,
    Switches,
    HostFiles,
    Store,
}

thread_local! {
    static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
}

impl Lock {
    /// `take` waits; what is in its way is refused before.
    fn take(rank: Rank, take: impl FnOnce() -> Result<Flock<File>>) -> Result<Lock> {
        rank.check();
        Ok(Lock::of(rank, take()?))
    }

    fn of(rank: Rank, file: Flock<File>) -> Lock {
        HELD.with_borrow_mut(|held| held.push(rank));
        Lock { _file: file, rank }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(index) = held.iter().rposition(|rank| *rank == self.rank) {
                held.remove(index);
            }
        });
    }
}

impl Rank {
    fn check(self) {
        let last = HELD.with_borrow(|held| held.iter().max().copied());
        debug_assert!(last < Some(self), "{self:?} is locked after {last:?}");
    }
}

/// How often a bounded wait looks again.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a prune that waits holds newcomers back, and then lets them through.
const TURN: Duration = Duration::from_secs(10);
/// How long it waits in all.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The lock of everything that changes one container; says so when it has to wait.
pub fn container(root: &Root, name: &Name) -> Result<Lock> {
    Lock::take(Rank::Container, || {
        take(root, name.as_str(), &format!("another program to finish with {name}"))
    })
}

/// As [`container`], but `None` if somebody else has it.
pub fn try_container(root: &Root, name: &Name) -> Result<Option<Lock>> {
    let path = directory(root)?.join(name.as_str());
    let what = || format!("cannot lock {}", path.display());
    Rank::Container.check();
    match Flock::lock(open(&path).context(what)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Lock::of(Rank::Container, lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e).context(what),
    }
}

/// The lock of whoever restarts a service to see whether it stays: two that need each other would judge each other's restarts.
pub fn switches(root: &Root) -> Result<Lock> {
    // No container is called so.
    Lock::take(Rank::Switches, || take(root, ".switches", "the switch of another container to finish"))
}

/// The lock of whoever decides on files of the host, which containers may share.
pub fn host_files(root: &Root) -> Result<Lock> {
    // No container is called so.
    Lock::take(Rank::HostFiles, || {
        take(root, ".host-files", "another installation, update or removal to finish")
    })
}

fn directory(root: &Root) -> Result<PathBuf> {
    let directory = root.join(RUN).join(".locks");
    files::make_directory(&directory, 0o700)?;
    Ok(directory)
}

fn take(root: &Root, file: &str, what_for: &str) -> Result<Flock<File>> {
    let path = directory(root)?.join(file);
    let what = || format!("cannot lock {}", path.display());
    acquire(open(&path).context(what)?, FlockArg::LockExclusive, what_for).context(what)
}

/// Waits for a lock, and says so.
fn acquire(file: File, how: FlockArg, what_for: &str) -> Result<Flock<File>, Errno> {
    let at_once = match how {
        FlockArg::LockShared => FlockArg::LockSharedNonblock,
        _ => FlockArg::LockExclusiveNonblock,
    };
    match Flock::lock(file, at_once) {
        Err((file, Errno::EWOULDBLOCK)) => {
            log::info(&format!("waiting for {what_for}"));
            Flock::lock(file, how).map_err(|(_, e)| e)
        }
        result => result.map_err(|(_, e)| e),
    }
}

/// The lock of a repository for whoever relies on what is in it: any number at once, but none beside a prune.
///
/// It is on a directory of the repository, not on a file beside it: that is there whoever made the repository, nobody
/// replaces it, and a full disk has it, too. libostree's own lock would not do: transactions have it, but what a pull found
/// before its first one is to stay, and other programs wait for that lock half a minute only.
pub fn lock_shared(repo: &Path) -> Result<Lock> {
    let what_for = "a prune of the store to finish";
    Lock::take(Rank::Store, || {
        let _turn = at_store(&turn(repo), FlockArg::LockShared, what_for)?;
        at_store(repo, FlockArg::LockShared, what_for)
    })
}

/// The lock of a repository for whoever removes what nothing uses.
///
/// With flock(2) alone it would be had only when by chance nobody else has it. So newcomers are held back for a while, then
/// let through for a while, since a pull may take hours; and after [`PATIENCE`] it is an error.
pub fn lock_exclusive(repo: &Path) -> Result<Lock> {
    Rank::Store.check();
    let deadline = Instant::now() + PATIENCE;
    let mut has_said = false;
    while Instant::now() < deadline {
        let held = at_store(&turn(repo), FlockArg::LockExclusive, "another prune of the store to finish")?;
        if let Some(lock) = poll(repo, &mut has_said)? {
            return Ok(Lock::of(Rank::Store, lock));
        }
        drop(held);
        if let Some(lock) = poll(repo, &mut has_said)? {
            return Ok(Lock::of(Rank::Store, lock));
        }
    }
    let why = "pulls and checkouts have been running for an hour; try again later";
    Err(Error::new(why)).context(|| format!("cannot lock {}", repo.display()))
}

/// Whoever has this is next.
fn turn(repo: &Path) -> PathBuf {
    repo.join("refs")
}

fn at_store(directory: &Path, how: FlockArg, what_for: &str) -> Result<Flock<File>> {
    let what = || format!("cannot lock {}", directory.display());
    acquire(File::open(directory).context(what)?, how, what_for).context(what)
}

/// Tries to have a repository alone for as long as a turn lasts.
fn poll(repo: &Path, has_said: &mut bool) -> Result<Option<Flock<File>>> {
    let what = || format!("cannot lock {}", repo.display());
    let mut file = File::open(repo).context(what)?;
    let deadline = Instant::now() + TURN;
    while Instant::now() < deadline {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, e)) => return Err(e).context(what),
        };
        if !std::mem::replace(has_said, true) {
            log::info("waiting for pulls and checkouts to finish");
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(None)
}

/// The lock file of one start, in its bundle.
pub fn start(path: &Path) -> Result<Flock<File>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let name: Name = "web".parse().unwrap();
        let store = dir.path().join("store");
        std::fs::create_dir_all(store.join("refs")).unwrap();
        let held =
            (container(&root, &name).unwrap(), host_files(&root).unwrap(), lock_shared(&store).unwrap());
        drop(held);
        let _files = host_files(&root).unwrap();
        let refused = |take: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(take)).is_err();
        assert!(refused(&|| drop(container(&root, &name))), "a container after host files");
        assert!(refused(&|| drop(host_files(&root))), "the same lock twice");
        drop(lock_shared(&store).unwrap());
    }
}
