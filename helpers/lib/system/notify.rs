//! Notifications (sd_notify(3)) to systemd, and from payloads.

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

use crate::error::{Context, Error, Result};
use crate::system::files;

/// How long a service manager that does not answer can delay a start.
const BARRIER: Duration = Duration::from_secs(5);
/// Maximum size in bytes of a payload's notification.
const DATAGRAM: usize = 4096;

/// Whether a service manager waits for notifications.
pub fn is_expected() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Sends one notification, and returns once systemd has processed it.
///
/// systemd looks up the sender's unit when it reads the message, and cannot if the sender is gone by then. So a second
/// datagram carries a file descriptor, which systemd closes when it gets to it.
pub fn send(state: &str) -> Result<()> {
    let what = || "cannot notify systemd".to_string();
    let path = std::env::var("NOTIFY_SOCKET").context(what)?;
    let address = match path.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(path.as_str()),
    };
    let address = address.context(what)?;
    let socket =
        socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context(what)?;
    send_to(&socket, &address, state, &[]).context(what)?;
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(what)?;
    send_to(&socket, &address, "BARRIER=1", &[write.as_fd()]).context(what)?;
    drop(write);
    wait_closed(&read, BARRIER).context(what)
}

fn send_to(socket: &OwnedFd, address: &UnixAddr, state: &str, fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[_] = if fds.is_empty() { &[] } else { &rights };
    let message = [IoSlice::new(state.as_bytes())];
    sendmsg(socket.as_raw_fd(), &message, control, MsgFlags::MSG_NOSIGNAL, Some(address)).map(|_| ())
}

fn wait_closed(read: &OwnedFd, limit: Duration) -> nix::Result<()> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(read.as_fd(), PollFlags::empty())], timeout) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Err(Errno::ETIMEDOUT),
            result => return result.map(|_| ()),
        }
    }
}

/// The socket that a payload with its own PID namespace notifies.
///
/// It gets this socket instead of systemd's, through which root in the payload could name any process of the host as
/// the main process of the unit, for systemd to kill.
pub struct Proxy {
    socket: UnixDatagram,
}

impl Proxy {
    /// Creates the socket; payloads of any user may write to it.
    pub fn bind(path: &Path) -> Result<Proxy> {
        let what = || format!("cannot make notification socket {}", path.display());
        files::remove_file(path).context(what)?;
        let socket = UnixDatagram::bind(path).context(what)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).context(what)?;
        socket.set_nonblocking(true).context(what)?;
        Ok(Proxy { socket })
    }

    /// Passes on the payload's notifications about its start, until it is ready or its process, the pidfd `payload`, is
    /// gone.
    pub fn run(&self, payload: BorrowedFd<'_>) -> Result<()> {
        let what = || "cannot pass on the payload's notifications".to_string();
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(payload, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result.context(what)?,
            };
            let gone = fds[1].any() == Some(true);
            if self.drain()? || gone {
                return Ok(());
            }
        }
    }

    /// Passes on pending notifications. Returns whether the payload is ready.
    fn drain(&self) -> Result<bool> {
        let mut buffer = [0; DATAGRAM];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let state = passed_on(&buffer[..length]);
                    if !state.is_empty() {
                        send(&state)?;
                    }
                    if state.lines().any(|line| line == "READY=1") {
                        return Ok(true);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(Error::new(e.to_string())).context(|| "cannot read a notification".into());
                }
            }
        }
    }
}

/// The lines of a payload's notification that concern nothing but its own start.
fn passed_on(message: &[u8]) -> String {
    let message = String::from_utf8_lossy(message);
    let harmless = |line: &&str| {
        *line == "READY=1" || line.starts_with("STATUS=") || line.starts_with("EXTEND_TIMEOUT_USEC=")
    };
    message.lines().filter(harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_speak_of_their_start_only() {
        let message = b"MAINPID=1\nREADY=1\nSTATUS=up\nFDSTORE=1\nBARRIER=1\nEXTEND_TIMEOUT_USEC=5\nSTOPPING=1\nWATCHDOG=1";
        assert_eq!(passed_on(message), "READY=1\nSTATUS=up\nEXTEND_TIMEOUT_USEC=5");
        assert_eq!(passed_on(b"\xff\nREADY=10"), "");
    }
}
