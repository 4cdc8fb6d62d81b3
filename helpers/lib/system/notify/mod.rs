//! Notifications (sd_notify(3)) to systemd, and from payloads.

pub mod message;
mod pace;
pub mod proxy;
pub mod sender;

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

use crate::error::{Context, Result};

/// How long a service manager that does not answer can delay a start.
const BARRIER: Duration = Duration::from_secs(5);

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
    let (socket, address) = connect().context(what)?;
    send_to(&socket, &address, state, &[]).context(what)?;
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(what)?;
    send_to(&socket, &address, "BARRIER=1", &[write.as_fd()]).context(what)?;
    drop(write);
    wait_closed(&read, BARRIER).context(what)
}

/// Has systemd keep a descriptor for the unit, by that name. This is for a sender that stays until
/// it has sent something else.
pub fn store(name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot have systemd keep a descriptor".to_string();
    let (socket, address) = connect().context(what)?;
    let state = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
    send_to(&socket, &address, &state, &[fd]).context(what)
}

fn connect() -> Result<(OwnedFd, UnixAddr)> {
    let what = || "cannot open its socket".to_string();
    let path = std::env::var("NOTIFY_SOCKET").context(what)?;
    let address = match path.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(path.as_str()),
    };
    let address = address.context(what)?;
    let socket =
        socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context(what)?;
    Ok((socket, address))
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
