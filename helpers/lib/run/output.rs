//! The output of payloads that can be opened by name: a pipe in the bundle for what would be a socket of the journal.
//!
//! Whether a payload gets one is found out at checkout, by [`crate::install::output`]. `prepare` makes the pipes, `start`
//! gives the payload one of them, and runs the relay, which moves everything on to the socket, line by line, so that whoever
//! goes on with the pipe begins with a line. The relay is in the unit's cgroup, so that lines are the unit's, and may be killed
//! with it; `Execution::kill_mode` says where systemd waits for it instead. In the foreground, `start` copies what the payload
//! prints itself, see [`crate::run::copies`].
//!
//! syscontainer-relay reads it. If it is killed together with the rest of the unit, as after a crash, what is still in the
//! pipe must not be lost, so systemd keeps the pipe open (`FDSTORE=`), and what runs last in the unit reads the rest. This
//! is also why nobody who writes to the pipe gets a SIGPIPE, whatever becomes of the relay.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;
use rustix::fs::{FileType, Stat, fstat};

use crate::container::output::PIPES;
use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths;
use crate::system::{journal, lock, notify};

/// How long the relay may take for what is left in the pipe when the payload is gone. What is left then is read later.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the journal may take for what it was sent before.
const CATCHING_UP: Duration = Duration::from_secs(5);

/// More than fits into a pipe, whatever its size is.
pub const MOST: usize = 16 << 20;

/// What systemd calls the pipes that it keeps.
const KEPT: &str = "syscontainer-output";

/// The pipes of a bundle, whether it has them or not.
pub struct Pipes {
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What the payload's standard output and standard error are; `None` for that of this process.
#[derive(Default)]
pub struct Streams {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Pipes {
    /// The pipes in the directory of a bundle.
    pub fn new(bundle: &Path) -> Pipes {
        Pipes { stdout: bundle.join("stdout"), stderr: bundle.join("stderr") }
    }

    /// Their paths.
    pub fn paths(&self) -> [&Path; PIPES] {
        [&self.stdout, &self.stderr]
    }

    /// Makes them. Only their owner can open them: runtimes make that the payload's user, as for any pipe.
    pub fn make(&self) -> Result<()> {
        if notify::is_expected() {
            // Those of the last start. The runtime would pass them on to the payload.
            notify::send(&format!("FDSTOREREMOVE=1\nFDNAME={KEPT}"))?;
        }
        self.paths().into_iter().try_for_each(|path| {
            nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
                .context(|| format!("cannot create {}", path.display()))
        })
    }

    /// Runs a relay for each stream of this process that is a socket: one for both, if they are the same, so that lines
    /// stay in order. Everything else can be opened by name anyway.
    pub fn connect(&self, name: &Name) -> Result<Streams> {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let what = || "cannot examine standard output".to_string();
        let (out, err) = (fstat(stdout.as_fd()).context(what)?, fstat(stderr.as_fd()).context(what)?);
        let mut streams = Streams::default();
        if is_socket(&out) {
            streams.stdout = Some(relayed(&self.stdout, name, stdout.as_fd())?);
        }
        if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino) {
            let both = streams.stdout.as_ref().map(OwnedFd::try_clone).transpose();
            streams.stderr = both.context(|| "cannot duplicate a pipe".into())?;
        } else if is_socket(&err) {
            streams.stderr = Some(relayed(&self.stderr, name, stderr.as_fd())?);
        }
        Ok(streams)
    }

    /// Waits until the relays have read everything, for some time: another process may still have a pipe open.
    pub fn wait(&self) {
        self.wait_for(PATIENCE);
    }

    fn wait_for(&self, limit: Duration) {
        self.paths().into_iter().for_each(|path| lock::wait(path, limit));
    }

    /// Writes what no relay has read to this process's own streams, when all others are gone.
    pub fn drain(&self) -> Result<()> {
        if !self.stdout.exists() {
            return Ok(());
        }
        let what = |path: &Path| format!("cannot read the rest of {}", path.display());
        let (mut stdout, mut stderr) = (std::io::stdout().lock(), std::io::stderr().lock());
        let writers: [&mut dyn Write; PIPES] = [&mut stdout, &mut stderr];
        for (path, writer) in self.paths().into_iter().zip(writers) {
            let rest = rest(path).context(|| what(path))?;
            if !rest.is_empty() {
                // What the relay moved may still be in another socket.
                journal::synchronize(CATCHING_UP);
                writer.write_all(&rest).and_then(|()| writer.flush()).context(|| what(path))?;
            }
        }
        Ok(())
    }
}

impl Streams {
    /// Two pipes that nobody opens by their place.
    pub fn new(stdout: OwnedFd, stderr: OwnedFd) -> Streams {
        Streams { stdout: Some(stdout), stderr: Some(stderr) }
    }

    /// Has a command use them.
    pub fn set(self, command: &mut Command) {
        if let Some(stdout) = self.stdout {
            command.stdout(stdout);
        }
        if let Some(stderr) = self.stderr {
            command.stderr(stderr);
        }
    }
}

fn is_socket(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Socket
}

/// Runs the relay from a pipe to a socket; returns the end that is written to.
fn relayed(path: &Path, name: &Name, socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let what = || format!("cannot open {}", path.display());
    let reader = || open(path).context(what);
    notify::store(KEPT, reader()?.as_fd())?;
    let writer = OpenOptions::new().write(true).open(path).context(what)?;
    // It ends with the relay, see Pipes::wait.
    let lock = Flock::lock(reader()?, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e);
    let lock = lock.context(|| format!("cannot lock {}", path.display()))?;
    let program = paths::helper("syscontainer-relay");
    let what = || format!("cannot run {program}");
    let mut command = Command::new(&program);
    command.arg0("syscontainer-relay").arg(name.as_str());
    command.stdin(lock.try_clone().context(what)?).stdout(socket.try_clone_to_owned().context(what)?);
    command.env_clear().spawn().context(what)?;
    // Unlocking would do that for all who have it.
    std::mem::forget(lock);
    Ok(writer.into())
}

/// Opens the end that is read from, whether somebody writes or not.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

/// What is in a pipe. Somebody could still write to it, so there is an end.
fn rest(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut rest = Vec::new();
    let mut buffer = [0; 4096];
    while rest.len() < MOST {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => rest.extend_from_slice(&buffer[..read]),
            // Somebody still has it open.
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_what_is_in_the_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let pipes = Pipes::new(dir.path());
        pipes.drain().unwrap();
        pipes.make().unwrap();
        assert!(pipes.make().is_err());
        assert_eq!(rest(&pipes.stdout).unwrap(), b"");
        let _kept = open(&pipes.stdout).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&pipes.stdout).unwrap();
        writer.write_all(&[b'x'; 5000]).unwrap();
        assert_eq!(rest(&pipes.stdout).unwrap().len(), 5000, "while it is open");
        writer.write_all(b"end").unwrap();
        drop(writer);
        assert_eq!(rest(&pipes.stdout).unwrap(), b"end");
    }

    #[test]
    fn a_wait_ends_with_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let pipes = Pipes::new(dir.path());
        pipes.make().unwrap();
        let begin = std::time::Instant::now();
        pipes.wait();
        assert!(begin.elapsed() < PATIENCE, "nobody reads");
        let limit = Duration::from_millis(50);
        let held = Flock::lock(open(&pipes.stdout).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        pipes.wait_for(limit);
        assert!(begin.elapsed() >= limit, "somebody does");
        drop(held);
    }
}
