//! Locks between our own processes, with flock(2), so that no lock outlives its process.
//!
//! Locks are taken in the order of [`Rank`]: a program that holds one only takes later ones. If it needs an earlier
//! one, it releases the later one first. Debug builds, and so all tests, enforce this.
//!
//! They are below `/run/syscontainers/.locks`, on the repository of a store, and in the bundle for the last two ranks. The
//! locks of a pipe (`run::output`) and of libostree's transactions (`store::leftovers`) are only tried, so nothing waits for
//! them.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{LOCKS, Root};
use crate::program::log;
use crate::system::files;

/// A lock that is held until it is dropped.
pub struct Lock {
    _file: Flock<File>,
    rank: Rank,
}

/// What a lock protects, in the order in which locks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Container,
    Switches,
    HostFiles,
    Store,
    Projects,
    Written,
    Start,
    Names,
    Forgotten,
}

thread_local! {
    static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
}

impl Lock {
    /// Takes a lock with `take`, which may wait, after checking the order.
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
        debug_assert!(last < Some(self), "{} is locked after {last:?}", self.name());
    }

    /// Its name in ARCHITECTURE.md, which has the order, too.
    fn name(self) -> &'static str {
        match self {
            Rank::Container => "container",
            Rank::Switches => "switches",
            Rank::HostFiles => "host files",
            Rank::Store => "store",
            Rank::Projects => "projects",
            Rank::Written => "record of what payloads got",
            Rank::Start => "start",
            Rank::Names => "copies of names",
            Rank::Forgotten => "what is forgotten",
        }
    }
}

/// How long a wait with a limit pauses between attempts.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a waiting prune holds other programs back, and then lets them pass.
const TURN: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };
/// How long a prune waits in total.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Takes the lock for changes to one container. A wait is reported.
pub fn container(root: &Root, name: &Name) -> Result<Lock> {
    Lock::take(Rank::Container, || {
        take(root, name.as_str(), &format!("another program to finish with {name}"))
    })
}

/// Like [`container`], but `None` if another program holds the lock.
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

/// Takes the lock for switches that are watched: of two services that need each other, each switch would take the
/// other's restarts for failures.
pub fn switches(root: &Root) -> Result<Lock> {
    // Not a valid name of a container.
    Lock::take(Rank::Switches, || take(root, ".switches", "the switch of another container to finish"))
}

/// Takes the lock for decisions about host files, which containers may share.
pub fn host_files(root: &Root) -> Result<Lock> {
    // Not a valid name of a container.
    Lock::take(Rank::HostFiles, || {
        take(root, ".host-files", "another installation, update or removal to finish")
    })
}

/// Takes the lock for choosing a project of quotas, until that has limits and is another start's no more. It is where nobody but
/// root can take it.
pub fn projects(root: &Root) -> Result<Lock> {
    // Not a valid name of a container.
    Lock::take(Rank::Projects, || take(root, ".projects", "another start to choose a project"))
}

/// Takes the lock for changes to the record of what payloads may have written to.
pub fn written(root: &Root) -> Result<Lock> {
    // Not a valid name of a container.
    Lock::take(Rank::Written, || take(root, ".written", "another start to record what is written to"))
}

fn directory(root: &Root) -> Result<PathBuf> {
    let directory = root.join(LOCKS);
    files::make_directory(&directory, 0o700)?;
    // Nobody has a reason to put it elsewhere, where a tree might lead to something of this host.
    if directory.is_symlink() {
        let why = format!("cannot use {}: it is a symlink; remove it", directory.display());
        return Err(Error::new(why));
    }
    Ok(directory)
}

fn take(root: &Root, file: &str, what_for: &str) -> Result<Flock<File>> {
    let path = directory(root)?.join(file);
    let what = || format!("cannot lock {}", path.display());
    acquire(open(&path).context(what)?, FlockArg::LockExclusive, what_for).context(what)
}

/// Takes a lock, and reports if it has to wait.
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

/// Takes the lock of a repository for programs that rely on its content: any number at once, but not during a prune.
///
/// It is on a directory of the repository instead of a separate file: the directory exists whoever made the repository,
/// nobody replaces it, and it needs no space on a full disk. libostree's own lock would not do: only transactions hold
/// it, but what a pull found before its first transaction must not go, and other programs only wait half a minute for
/// it.
pub fn lock_shared(repo: &Path) -> Result<Lock> {
    let what_for = "a prune of the store to finish";
    Lock::take(Rank::Store, || {
        let _turn = at_store(&turn(repo), FlockArg::LockShared, what_for)?;
        at_store(repo, FlockArg::LockShared, what_for)
    })
}

/// Takes the lock of a repository for removing what is not used.
///
/// With flock(2) alone, it would be granted only when by chance no other program holds it. So other programs are held
/// back for a while, then let pass for a while, since a pull may take hours; and after [`PATIENCE`] it is an error.
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

/// The file whose lock decides who may take that of the repository next.
fn turn(repo: &Path) -> PathBuf {
    repo.join("refs")
}

fn at_store(directory: &Path, how: FlockArg, what_for: &str) -> Result<Flock<File>> {
    let what = || format!("cannot lock {}", directory.display());
    acquire(File::open(directory).context(what)?, how, what_for).context(what)
}

/// Tries for one [`TURN`] to get the exclusive lock.
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

/// Takes the lock of one start, which is in its bundle.
pub fn start(path: &Path) -> Result<Lock> {
    let what = || format!("cannot lock {}", path.display());
    Lock::take(Rank::Start, || {
        Flock::lock(open(path).context(what)?, FlockArg::LockExclusive).map_err(|(_, e)| e).context(what)
    })
}

/// Takes the lock of a container's copies of names, which is on their directory; `None` if there is no such directory.
pub fn names(path: &Path) -> Result<Option<Lock>> {
    at(Rank::Names, path)
}

/// Takes the lock of what one payload wrote and nothing needs, which is on its directory; `None` if there is no such directory.
pub fn forgotten(path: &Path) -> Result<Option<Lock>> {
    at(Rank::Forgotten, path)
}

fn at(rank: Rank, path: &Path) -> Result<Option<Lock>> {
    let what = || format!("cannot lock {}", path.display());
    rank.check();
    loop {
        let opened = match File::open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.context(what)?,
        };
        let held = Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, e)| e).context(what)?;
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        let locked = held.metadata().map(id).context(what)?;
        // It may have been removed, and made anew, while this waited.
        if std::fs::metadata(path).is_ok_and(|found| id(found) == locked) {
            return Ok(Some(Lock::of(rank, held)));
        }
    }
}

/// Like [`forgotten`], but also `None` if another program holds the lock.
pub fn try_forgotten(path: &Path) -> Result<Option<Lock>> {
    let what = || format!("cannot lock {}", path.display());
    Rank::Forgotten.check();
    let opened = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.context(what)?,
    };
    match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Lock::of(Rank::Forgotten, lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e).context(what),
    }
}

/// Waits until no program holds the lock at `path`, for at most `limit`; a file that does not exist is not locked.
pub fn wait(path: &Path, limit: Duration) {
    let deadline = Instant::now() + limit;
    // Of a pipe, too, that nobody writes to.
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let Ok(mut file) = opened else { return };
    while let Err((back, Errno::EWOULDBLOCK)) = Flock::lock(file, FlockArg::LockSharedNonblock) {
        if Instant::now() >= deadline {
            return;
        }
        file = back;
        std::thread::sleep(INTERVAL);
    }
}

/// Opens a file for its lock, and makes it if there is none. Nothing else that may be there is opened: that of a device, or
/// of a file that a symlink leads to, may have effects, and that of a pipe may wait.
fn open(path: &Path) -> std::io::Result<File> {
    let is_other = |found: &std::fs::Metadata| !found.is_file();
    let refused = || std::io::Error::other("it is not a regular file; remove it");
    if path.symlink_metadata().is_ok_and(|found| is_other(&found)) {
        return Err(refused());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)?;
    // Another file may have taken its place.
    if is_other(&file.metadata()?) { Err(refused()) } else { Ok(file) }
}

#[cfg(test)]
mod tests;
