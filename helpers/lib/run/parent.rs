//! The parent of a payload whose unit is not up yet: it can tell how the payload ended.
//!
//! systemd runs no stop command for a service that is still starting. It sends the stop signal to the main process, and
//! takes its exit status for the result. So as long as a payload starts, `syscontainer-start` is the main process: it
//! stops the payload as `syscontainer-stop` does, and otherwise ends as the payload did. Only the parent of a process
//! learns how that ended, and systemd wants to be the parent of what becomes a main process. Hence this one, a child of
//! `syscontainer-start`: as soon as it ends, the payload is systemd's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::run::bundle::Bundle;
use crate::run::launch::Launch;
use crate::system::process::Process;

/// The parent, as `syscontainer-start` sees it.
pub struct Parent {
    child: Child,
    channel: UnixStream,
    /// Readable once the parent is gone.
    process: Process,
}

impl Parent {
    /// Has `command`, which runs [`be`], create the container.
    pub fn run(mut command: Command) -> Result<Parent> {
        let what = || "cannot run a second process".to_string();
        let (mut channel, theirs) = UnixStream::pair().context(what)?;
        let mut child = command.stdin(OwnedFd::from(theirs)).spawn().context(what)?;
        drop(command);
        let process = i32::try_from(child.id()).ok().map(Process::open).transpose()?.flatten();
        let mut created = [0];
        if channel.read_exact(&mut created).is_err() {
            let status = child.wait().context(what)?;
            return Err(Error::new(format!(
                "the container was not created ({status}); see the other messages of this start"
            )));
        }
        let process = process.ok_or_else(|| Error::new("it is gone already")).context(what)?;
        Ok(Parent { child, channel, process })
    }

    /// Readable once the parent is gone, since the payload is.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.process.fd()
    }

    /// Waits for the payload's end; returns how it ended.
    pub fn wait(mut self) -> Result<ExitStatus> {
        self.child.wait().context(|| "cannot wait for the payload".into())
    }

    /// Has systemd inherit the payload; returns how the payload ended, if it did.
    pub fn leave(mut self) -> Result<Option<ExitStatus>> {
        let what = || "cannot wait for the second process".to_string();
        self.channel.shutdown(Shutdown::Write).context(what)?;
        let mut said = Vec::new();
        self.channel.read_to_end(&mut said).context(what)?;
        let status = self.child.wait().context(what)?;
        Ok(said.is_empty().then_some(status))
    }
}

/// The parent: creates the container, and stays until the payload is gone or the channel is closed.
pub fn be(name: &Name, bundle: &Bundle, launch: &Launch) -> Result<()> {
    let what = || "cannot wait for the payload".to_string();
    // The payload inherits the mask.
    SigSet::all().thread_unblock().context(what)?;
    let mut channel = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().context(what)?);
    prctl::set_child_subreaper(true).context(what)?;
    let payload = bundle.create_payload(name, launch)?;
    SigSet::all().thread_block().context(what)?;
    channel.write_all(b"1").context(what)?;
    let mut fds =
        [PollFd::new(payload.fd(), PollFlags::POLLIN), PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    while let Err(e) = poll(&mut fds, PollTimeout::NONE) {
        if e != Errno::EINTR {
            return Err(e).context(what);
        }
    }
    match waitpid(Pid::from_raw(payload.id()), Some(WaitPidFlag::WNOHANG)).context(what)? {
        WaitStatus::Exited(_, status) => std::process::exit(status),
        WaitStatus::Signaled(_, signal, _) => end_by(signal),
        _ => channel.write_all(b"1").context(what),
    }
}

/// Ends this process as the payload ended.
pub fn end_as(status: ExitStatus) -> Result<()> {
    match (status.code(), status.signal().and_then(|signal| Signal::try_from(signal).ok())) {
        (None, Some(signal)) => end_by(signal),
        (code, _) => std::process::exit(code.unwrap_or(1)),
    }
}

fn end_by(signal: Signal) -> Result<()> {
    if signal == Signal::SIGTERM {
        // This counts as a success in the unit.
        std::process::exit(128 + signal as i32);
    }
    // It is not this program that is to be debugged.
    prctl::set_dumpable(false).context(|| "cannot disable core dumps".into())?;
    let _ = SigSet::all().thread_unblock();
    let _ = raise(signal);
    // This program ignores the signal.
    std::process::exit(128 + signal as i32)
}
