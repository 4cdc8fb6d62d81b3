//! What a payload in the foreground prints: it writes to pipes, and this process copies what is in them.
//!
//! Its own standard output and error are those of whoever runs it, often a terminal. A payload that had that could read
//! what is typed there, and change its settings; of a file, it could read and change what is there already.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::pipe2;
use rustix::fs::{OFlags, fcntl_setfl};

use crate::error::{Context, Result};
use crate::run::output::{MOST, Streams};

/// The copying of both streams, each by a thread.
pub struct Copies {
    /// Closed when nobody who is waited for writes any longer.
    writers: OwnedFd,
    /// Closed at the other end when everything is copied.
    done: OwnedFd,
}

impl Copies {
    /// Begins to copy to this process's own streams; returns what the payload has instead. `signals` are for this thread.
    pub fn begin(signals: &SigSet) -> Result<(Copies, Streams)> {
        let what = || "cannot copy the output".to_string();
        let (ended, writers) = pipe2(OFlag::O_CLOEXEC).context(what)?;
        let (done, at_work) = pipe2(OFlag::O_CLOEXEC).context(what)?;
        let shared = Arc::new((ended, at_work));
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).context(what)?;
        let stdout = pipe_to(io::stdout().as_fd(), &shared);
        let stderr = pipe_to(io::stderr().as_fd(), &shared);
        before.thread_set_mask().context(what)?;
        Ok((Copies { writers, done }, Streams::new(stdout.context(what)?, stderr.context(what)?)))
    }

    /// Copies what is in the pipes when the payload is gone, until that is done or `interrupt` can be read. Whoever else
    /// has a pipe open is not waited for.
    pub fn finish(self, interrupt: BorrowedFd<'_>) -> Result<()> {
        drop(self.writers);
        let mut fds =
            [PollFd::new(self.done.as_fd(), PollFlags::POLLIN), PollFd::new(interrupt, PollFlags::POLLIN)];
        wait(&mut fds).context(|| "cannot copy the output".into())
    }
}

/// Makes a pipe that is copied to a file; returns the end that is written to. The thread holds `shared` until it is done,
/// and writers are no longer waited for once the first of them is closed.
fn pipe_to(file: BorrowedFd<'_>, shared: &Arc<(OwnedFd, OwnedFd)>) -> io::Result<OwnedFd> {
    let (from, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // Whoever writes can open the pipe by name and read from it, too, and leave nothing.
    fcntl_setfl(&from, OFlags::NONBLOCK)?;
    let (to, shared) = (File::from(file.try_clone_to_owned()?), Arc::clone(shared));
    let copying = move || {
        // Without anybody who reads, whoever writes learns of it when the pipe is closed.
        let _ = copy(File::from(from), to, shared.0.as_fd());
    };
    std::thread::Builder::new().spawn(copying)?;
    Ok(writer)
}

/// Copies until the end of a pipe, or, once `ended` can be read, what is in it then.
fn copy(mut from: File, mut to: File, ended: BorrowedFd<'_>) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    let mut left = None;
    while left != Some(0) {
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN), PollFd::new(ended, PollFlags::POLLIN)];
        let fds = if left.is_some() { &mut fds[..1] } else { &mut fds[..] };
        let limit = if left.is_some() { PollTimeout::ZERO } else { PollTimeout::NONE };
        let ready = ready(fds, limit)?;
        if left.is_none() && fds[1].any() == Some(true) {
            // What comes later is somebody else's, who could go on forever.
            left = Some(MOST);
            continue;
        }
        if ready == 0 {
            break;
        }
        let most = left.unwrap_or(buffer.len()).min(buffer.len());
        match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(read) => {
                write(&mut to, &buffer[..read])?;
                left = left.map(|left| left - read);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes everything, also where others made the file one that does not wait.
fn write(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                wait(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)])?;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn wait(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    ready(fds, PollTimeout::NONE).map(|_| ())
}

fn ready(fds: &mut [PollFd<'_>], limit: PollTimeout) -> io::Result<i32> {
    loop {
        match poll(fds, limit) {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is copied to a pipe. Somebody else may keep it open after the end, and may write forever.
    fn copied(written: &[u8], keep: bool, flood: bool) -> Vec<u8> {
        let (ended, writers) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (from, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let (result, to) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut writer = File::from(writer);
        let mut kept = keep.then(|| writer.try_clone().unwrap());
        std::thread::scope(|scope| {
            let copying = scope.spawn(move || copy(File::from(from), File::from(to), ended.as_fd()));
            scope.spawn(move || {
                write(&mut writer, written).unwrap();
                drop((writer, writers));
            });
            let kept = scope.spawn(move || {
                while flood && write(kept.as_mut().unwrap(), &[0; 4096]).is_ok() {}
                kept
            });
            let mut found = Vec::new();
            File::from(result).read_to_end(&mut found).unwrap();
            copying.join().unwrap().unwrap();
            kept.join().unwrap();
            found
        })
    }

    #[test]
    fn everything_is_copied_and_nobody_else_is_waited_for() {
        assert_eq!(copied(b"one\n\0\x1b[c", false, false), b"one\n\0\x1b[c");
        let many = b"0123456789".repeat(100_000);
        for keep in [false, true] {
            assert!(copied(&many, keep, false) == many, "{keep}");
        }
        assert!(copied(&many, true, true).len() >= many.len(), "it ends");
    }
}
