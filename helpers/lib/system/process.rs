//! Processes of payloads: waiting for them, and signalling them.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Context, Error, Result};

/// A process, held by a pidfd: its ID may be reused, but this never refers to another process.
pub struct Process {
    pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// Opens a process; `None` if there is none with that ID.
    pub fn open(pid: i32) -> Result<Option<Process>> {
        // SAFETY: pidfd_open(2) takes two integers and touches no memory.
        #[allow(unsafe_code)]
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match Errno::result(result) {
            Ok(fd) => {
                // SAFETY: the kernel just returned this descriptor, and nobody else has it.
                #[allow(unsafe_code)]
                let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
                Ok(Some(Process { pid, fd }))
            }
            Err(Errno::ESRCH) => Ok(None),
            Err(e) => Err(e).context(|| format!("cannot open process {pid}")),
        }
    }

    /// The process ID.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// When the process started, in clock ticks since boot; together with the ID, this identifies it.
    pub fn start_time(&self) -> Result<u64> {
        start_time(self.pid)
    }

    /// The descriptor, readable once the process is gone.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends a signal, unless the process is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        match self.send(signal) {
            Err(Errno::ESRCH) => Ok(()),
            result => result.context(|| format!("cannot send signal {signal} to process {}", self.pid)),
        }
    }

    /// Waits until the process is gone, or for `limit`. Returns whether it is gone.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool> {
        let timeout =
            limit.map_or(PollTimeout::NONE, |l| PollTimeout::try_from(l).unwrap_or(PollTimeout::MAX));
        loop {
            match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                result => {
                    return result.map(|n| n > 0).context(|| format!("cannot wait for process {}", self.pid));
                }
            }
        }
    }

    /// Whether its parent has fetched its exit status, after which nothing of it is left.
    pub fn is_reaped(&self) -> Result<bool> {
        match self.send(0) {
            Err(Errno::ESRCH) => Ok(true),
            result => result.map(|()| false).context(|| format!("cannot look for process {}", self.pid)),
        }
    }

    fn send(&self, signal: i32) -> nix::Result<()> {
        use std::os::fd::AsRawFd;
        let fd = self.fd.as_raw_fd();
        // SAFETY: pidfd_send_signal(2) reads no memory when its third argument is null.
        #[allow(unsafe_code)]
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0, 0) };
        Errno::result(result).map(|_| ())
    }
}

/// When the process that has an ID now started, in clock ticks since boot.
pub fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let what = || format!("cannot read {path}");
    let text = fs::read_to_string(&path).context(what)?;
    // The name, in parentheses, may contain anything; the 22nd field is the 20th after it.
    let field = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    field.and_then(|f| f.parse().ok()).ok_or_else(|| Error::new("it contains no start time")).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_an_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id() as i32).unwrap().unwrap();
        assert!(!process.wait(Some(Duration::ZERO)).unwrap());
        assert!(process.start_time().unwrap() > 0);
        process.signal(libc::SIGKILL).unwrap();
        assert!(process.wait(None).unwrap());
        assert!(!process.is_reaped().unwrap());
        child.wait().unwrap();
        assert!(process.is_reaped().unwrap());
        process.signal(libc::SIGTERM).unwrap();
    }
}
