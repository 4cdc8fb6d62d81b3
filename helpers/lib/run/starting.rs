//! A service that is starting: what happens to it until the payload says that it is ready, or, if it is a task, until
//! it ends. See [`crate::run::parent`] for who is whose parent and why.

use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::Root;
use crate::run::bundle::Bundle;
use crate::run::ending::Ending;
use crate::run::launch::Launch;
use crate::run::parent::{self, Parent};
use crate::run::runtime;
use crate::system::command;
use crate::system::notify;
use crate::system::notify::proxy::{Proxy, Relay};
use crate::system::process::Process;
use crate::system::systemd::host::Systemd;
use crate::system::systemd::manager::show_one;

/// Signals that systemd or somebody else stops a service with, besides that of the image.
const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// The start of one container.
pub struct Starting<'a> {
    name: &'a Name,
    bundle: &'a Bundle,
    launch: &'a Launch,
    payload: Process,
    signals: SignalFd,
}

/// Why a wait ended.
enum Wake {
    Ended,
    Stopped,
    Ready(String),
}

/// Starts the payload and waits until it is ready or gone. `parent` is the command that runs [`parent::be`].
pub fn run(
    name: &Name,
    bundle: &Bundle,
    launch: &Launch,
    proxy: Option<(Proxy, Relay)>,
    parent: Command,
) -> Result<()> {
    let what = || "cannot listen to signals".to_string();
    SigSet::all().thread_block().context(what)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&SigSet::all(), flags).context(what)?;
    let begun = Parent::run(parent).and_then(|parent| {
        let payload = bundle.payload()?.ok_or_else(|| Error::new("the payload is gone"))?;
        let starting = Starting { name, bundle, launch, payload, signals };
        starting.start().map(|()| (starting, parent))
    });
    match begun {
        Ok((starting, parent)) => starting.attend(parent, proxy),
        Err(e) => {
            // The rest of it must not look like a container.
            runtime::delete(&launch.runtime, name)?;
            Err(e)
        }
    }
}

impl Starting<'_> {
    fn start(&self) -> Result<()> {
        if self.is_stopped()? {
            // It has no handler for any signal yet.
            return self.payload.signal(Signal::SIGKILL as i32);
        }
        command::succeed(&mut runtime::start(&self.launch.runtime, self.name))
    }

    fn attend(&self, parent: Parent, mut proxy: Option<(Proxy, Relay)>) -> Result<()> {
        loop {
            match self.wait(&parent, proxy.as_mut())? {
                Wake::Stopped => return self.stop(parent),
                Wake::Ended => return self.end(parent),
                Wake::Ready(state) if self.launch.is_task => {
                    notify::send(&state)?;
                    proxy = None;
                }
                Wake::Ready(state) => return self.hand_over(parent, &state),
            }
        }
    }

    fn wait(&self, parent: &Parent, mut proxy: Option<&mut (Proxy, Relay)>) -> Result<Wake> {
        loop {
            let is_gone = self.sleep(parent, proxy.as_deref())?;
            // First, since what systemd is told after that is about the stop.
            if self.is_stopped()? {
                return Ok(Wake::Stopped);
            }
            let ready = match &mut proxy {
                Some((proxy, relay)) if relay.pause().is_none() => proxy.pass_on(relay)?,
                _ => None,
            };
            if let Some(state) = ready {
                return Ok(if self.is_stopped()? { Wake::Stopped } else { Wake::Ready(state) });
            }
            if is_gone {
                return Ok(Wake::Ended);
            }
        }
    }

    /// Waits until there is something to do, or the time to listen to a payload again that said too much; returns
    /// whether the payload is gone.
    fn sleep(&self, parent: &Parent, proxy: Option<&(Proxy, Relay)>) -> Result<bool> {
        let pause = proxy.and_then(|(_, relay)| relay.pause());
        let mut fds = vec![
            PollFd::new(parent.fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        if pause.is_none() {
            fds.extend(proxy.iter().map(|(proxy, _)| PollFd::new(proxy.fd(), PollFlags::POLLIN)));
        }
        // Timeouts are whole milliseconds.
        let timeout = pause.map(|pause| pause + Duration::from_millis(1));
        let timeout = timeout.map_or(PollTimeout::NONE, |time| time.try_into().unwrap_or(PollTimeout::MAX));
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => return Ok(false),
            result => result.context(|| "cannot wait for the payload".into())?,
        };
        Ok(fds[0].any() == Some(true))
    }

    /// Makes the payload the unit's main process.
    fn hand_over(&self, parent: Parent, state: &str) -> Result<()> {
        if let Some(status) = parent.leave()? {
            return parent::end_as(status);
        }
        notify::send(&format!("MAINPID={}\n{state}", self.payload.id()))?;
        self.bundle.set_main_process(self.payload.id())?;
        if self.payload.wait(Some(Duration::ZERO))? {
            // If systemd did not take it, this is still the main process.
            return Err(Error::new("the payload ended as soon as it was ready"));
        }
        Ok(())
    }

    fn stop(&self, parent: Parent) -> Result<()> {
        let signal = self.launch.stop_signal;
        Ending::begin(self.name, &self.payload, signal, Instant::now())?.finish()?;
        self.end(parent)
    }

    /// Ends as the payload did, unless that was stopped: a signal may be from somebody else, as with 'systemctl kill'.
    fn end(&self, parent: Parent) -> Result<()> {
        let status = parent.wait()?;
        // If this fails, systemd kills them.
        self.bundle.pipes().wait();
        if status.success() || self.is_stopping() { Ok(()) } else { parent::end_as(status) }
    }

    /// Whether a signal asked for a stop.
    fn is_stopped(&self) -> Result<bool> {
        while let Some(info) = self.signals.read_signal().context(|| "cannot read a signal".into())? {
            let signal = info.ssi_signo as i32;
            if Some(signal) == self.launch.stop_signal || STOPS.iter().any(|stop| *stop as i32 == signal) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether systemd is stopping the unit.
    fn is_stopping(&self) -> bool {
        let status = show_one(&Systemd::new(&Root::default()), &self.name.unit());
        status.is_ok_and(|status| status.is_being_stopped())
    }
}
