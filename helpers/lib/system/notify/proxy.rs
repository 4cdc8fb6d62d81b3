//! The socket that a payload with its own PID namespace notifies.
//!
//! It gets this socket instead of systemd's, through which root in the payload could name any process of the host as
//! the main process of the unit, for systemd to kill.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{PassCred, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};

use crate::error::{Context, Result};
use crate::program::log;
use crate::system::files;
use crate::system::notify::message::Message;
use crate::system::notify::pace::{self, Pace};
use crate::system::notify::send;
use crate::system::notify::sender::{Sender, Unit};

/// Maximum size in bytes of a payload's notification.
const DATAGRAM: usize = 4096;
/// Room for who sent it, when, and the most descriptors that can come with a datagram.
const CONTROL: usize = 2048;
/// How long after its beginning a payload may say that a start takes longer, whatever it says and however often.
const LONGEST: Duration = Duration::from_secs(3600);

/// The socket of one start.
pub struct Proxy {
    socket: UnixDatagram,
}

/// One datagram.
struct Received {
    sender: Option<Sender>,
    /// Whether it was longer than any notification.
    is_cut: bool,
    length: usize,
}

impl Proxy {
    /// Creates the socket; payloads of any user may write to it.
    pub fn bind(path: &Path) -> Result<Proxy> {
        let what = || format!("cannot create notification socket {}", path.display());
        files::remove_file(path).context(what)?;
        // /proc/net/unix has the path that it is bound to, and shows it to everybody.
        let above = path.parent().unwrap_or(Path::new("/"));
        let directory = File::open(above).context(what)?;
        let hidden = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let socket = UnixDatagram::bind(hidden.join(path.file_name().unwrap_or_default())).context(what)?;
        setsockopt(&socket, PassCred, &true).context(what)?;
        setsockopt(&socket, ReceiveTimestampns, &true).context(what)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).context(what)?;
        socket.set_nonblocking(true).context(what)?;
        Ok(Proxy { socket })
    }

    /// The descriptor, readable when there are notifications.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads one notification, if there is one, and passes on what a process of the unit says about its start, except
    /// that it is ready: that message is returned.
    ///
    /// It is one since the caller has to look at its signals before the next: there may always be another one.
    pub fn pass_on(&self, relay: &mut Relay) -> Result<Option<String>> {
        let mut buffer = [0; DATAGRAM];
        let received = match self.receive(&mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(e) => return Err(e).context(|| "cannot read a notification".into()),
        };
        let Some(message) = relay.judge(&received, &buffer[..received.length]) else { return Ok(None) };
        match message.to_state() {
            Some(state) if message.is_ready => return Ok(Some(state)),
            Some(state) => send(&state)?,
            None => {}
        }
        Ok(None)
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<Received> {
        let mut control = [0; CONTROL];
        let mut message = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut message, Some(&mut control), flags)?;
        let (mut pid, mut sent) = (None, None);
        for control in received.cmsgs()? {
            match control {
                ControlMessageOwned::ScmCredentials(credentials) => pid = Some(credentials.pid()),
                ControlMessageOwned::ScmTimestampns(time) => sent = Some(Duration::from(time)),
                // Nobody wants them, and a sender may wait for their end (BARRIER=1).
                ControlMessageOwned::ScmRights(descriptors) => {
                    descriptors.into_iter().for_each(|descriptor| {
                        let _ = nix::unistd::close(descriptor);
                    });
                }
                _ => {}
            }
        }
        Ok(Received {
            sender: pid.zip(sent).map(|(pid, sent)| Sender { pid, sent }),
            is_cut: received.flags.contains(MsgFlags::MSG_TRUNC),
            length: received.bytes,
        })
    }
}

/// Decides what is passed on.
pub struct Relay {
    unit: Unit,
    /// The paces of what the unit says, and of what others do: neither uses up that of the other.
    own: Pace,
    strange: Pace,
    /// From when on no timeout is extended.
    end: Instant,
    /// Whether a warning was logged, which is done once: anybody who reaches the socket could fill the journal.
    warned: bool,
}

impl Relay {
    /// Nothing but what processes of `unit` say is passed on.
    pub fn new(unit: Unit) -> Relay {
        let now = Instant::now();
        let (own, strange) = (Pace::new(pace::OWN, now), Pace::new(pace::STRANGE, now));
        Relay { unit, own, strange, end: now + LONGEST, warned: false }
    }

    /// How long nothing is to be read, since there was too much; `None` if the next notification may be.
    pub fn pause(&self) -> Option<Duration> {
        let now = Instant::now();
        self.own.pause(now).max(self.strange.pause(now))
    }

    /// Returns the message if it is one of the unit's processes that speaks.
    fn judge(&mut self, received: &Received, datagram: &[u8]) -> Option<Message> {
        let now = Instant::now();
        let is_own = received.sender.map(|sender| (sender, self.unit.has(sender)));
        // Those that are ignored are work as well.
        match is_own {
            Some((_, Some(true))) => self.own.count(now),
            _ => self.strange.count(now),
        }
        let why = match is_own {
            Some((_, Some(true))) if !received.is_cut => {
                let mut message = Message::parse(datagram);
                message.limit(self.end.saturating_duration_since(now));
                return Some(message);
            }
            Some((_, Some(true))) => format!("it is longer than {DATAGRAM} bytes"),
            Some((sender, Some(false))) => format!("process {} is not one of this unit", sender.pid),
            Some((sender, None)) => {
                format!("its sender, process {}, was gone before it was read", sender.pid)
            }
            None => "its sender is not known".to_owned(),
        };
        if !std::mem::replace(&mut self.warned, true) {
            log::warning(&format!("ignoring a notification, and further ones like it: {why}"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_who_sends_and_descriptors_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let proxy = Proxy::bind(&path).unwrap();
        let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
        assert!(!sockets.contains(&*dir.path().to_string_lossy()), "everybody can see where it is");
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"READY=1", &path).unwrap();
        let mut buffer = [0; DATAGRAM];
        let received = proxy.receive(&mut buffer).unwrap();
        assert_eq!((received.length, received.is_cut), (7, false));
        assert_eq!(received.sender.unwrap().pid, std::process::id() as i32);

        let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        super::super::send_to(&client.into(), &address, "BARRIER=1", &[write.as_fd()]).unwrap();
        drop(write);
        assert!(proxy.receive(&mut buffer).unwrap().sender.is_some());
        // Nobody has the other end any longer.
        assert_eq!(nix::unistd::read(&read, &mut [0]).unwrap(), 0);
        assert_eq!(proxy.receive(&mut buffer).err(), Some(Errno::EAGAIN));
    }

    #[test]
    fn others_are_not_believed_and_the_journal_is_not_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let proxy = Proxy::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        let mut buffer = [0; DATAGRAM];
        let mut judge = |relay: &mut Relay, message: &[u8]| {
            client.send_to(message, &path).unwrap();
            let received = proxy.receive(&mut buffer).unwrap();
            relay.judge(&received, &buffer[..received.length]).and_then(|message| message.to_state())
        };
        let mut relay = Relay::new(Unit::of_test(true));
        assert_eq!(judge(&mut relay, b"READY=1").as_deref(), Some("READY=1"));
        assert!(!relay.warned);
        assert_eq!(judge(&mut relay, format!("READY=1\n{}", "x".repeat(DATAGRAM)).as_bytes()), None);
        let mut other = Relay::new(Unit::of_test(false));
        assert_eq!(judge(&mut other, b"READY=1\nSTATUS=x\nEXTEND_TIMEOUT_USEC=1"), None);
        assert!(other.warned);
        let unknown = Received { sender: None, is_cut: false, length: 7 };
        assert!(relay.judge(&unknown, b"READY=1").is_none());
    }

    #[test]
    fn a_flood_is_read_one_by_one_and_then_slowly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let proxy = Proxy::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        for is_own in [true, false] {
            let mut relay = Relay::new(Unit::of_test(is_own));
            // Nothing that is passed on: there is no systemd here.
            client.send_to(b"WATCHDOG=1", &path).unwrap();
            client.send_to(b"READY=1", &path).unwrap();
            assert_eq!(proxy.pass_on(&mut relay).unwrap(), None);
            assert_eq!(proxy.pass_on(&mut relay).unwrap(), is_own.then(|| "READY=1".to_owned()));
            assert_eq!(proxy.pass_on(&mut relay).unwrap(), None);
            let mut read = 2;
            // Those of strangers are read faster than some machines send them.
            while relay.pause().is_none() && read < 5000 {
                client.send_to(b"x", &path).unwrap();
                assert_eq!(proxy.pass_on(&mut relay).unwrap(), None);
                read += 1;
            }
            assert!(read >= 256 && (read < 5000 || !is_own), "{read}");
        }
    }

    #[test]
    fn strangers_do_not_use_up_the_pace_of_the_unit() {
        let own = Sender { pid: std::process::id() as i32, sent: now() };
        let received = |sender| Received { sender, is_cut: false, length: 0 };
        let mut relay = Relay::new(Unit::of_test(false));
        for _ in 0..1000 {
            assert!(relay.judge(&received(Some(own)), b"READY=1").is_none());
            assert!(relay.judge(&received(None), b"READY=1").is_none());
        }
        relay.unit = Unit::of_test(true);
        // What a thousand of them send is read in a moment.
        assert!(relay.pause().is_none_or(|pause| pause < Duration::from_millis(300)), "{:?}", relay.pause());
        (0..1000).for_each(|_| drop(relay.judge(&received(Some(own)), b"STATUS=x")));
        assert!(relay.pause().unwrap() > Duration::from_secs(10));
    }

    #[test]
    fn a_start_is_extended_for_an_hour_in_all() {
        let mut relay = Relay::new(Unit::of_test(true));
        let sender = Sender { pid: std::process::id() as i32, sent: now() };
        let received = Received { sender: Some(sender), is_cut: false, length: 0 };
        let extension = |relay: &mut Relay| {
            let state = relay.judge(&received, b"EXTEND_TIMEOUT_USEC=9000000000").unwrap().to_state();
            state.map(|state| state.trim_start_matches("EXTEND_TIMEOUT_USEC=").parse::<u64>().unwrap())
        };
        let first = extension(&mut relay).unwrap();
        assert!((3_500_000_000..=3_600_000_000).contains(&first), "{first}");
        assert!(extension(&mut relay).unwrap() < first);
        relay.end = Instant::now();
        assert_eq!(extension(&mut relay), None);
    }

    fn now() -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
    }
}
