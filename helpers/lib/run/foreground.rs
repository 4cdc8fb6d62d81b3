//! Running a container in the foreground, as `syscontainer-start` does when no service manager waits for it.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::run::bundle::Bundle;
use crate::run::copies::Copies;
use crate::run::launch::Launch;
use crate::run::runtime;
use crate::system::command::succeed;
use crate::system::process::Process;

/// Signals that are passed on to the payload.
const PASSED_ON: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1];

/// Runs a prepared container until it ends; returns its exit status, or 128 plus the number of the signal that killed
/// it.
pub fn run(name: &Name, bundle: &Bundle, launch: &Launch) -> Result<i32> {
    // The payload is a child of the runtime, and of this process once the runtime is gone.
    prctl::set_child_subreaper(true).context(|| "cannot become subreaper".into())?;
    let signals: SigSet = PASSED_ON.into_iter().collect();
    let (copies, streams) = Copies::begin(&signals)?;
    let created = bundle.create(name, launch, streams);
    let result = created.and_then(|()| {
        let payload = bundle.record_payload()?;
        launch.mounts.as_ref().map_or(Ok(()), |expected| expected.check(payload.id()))?;
        // Not before, since the runtime and so the payload would inherit the mask.
        succeed(&mut runtime::start(&launch.runtime, name))?;
        wait(&payload, &block(&signals)?)
    });
    // Whoever has had enough of it says so with a signal.
    block(&signals).and_then(|signals| copies.finish(signals.as_fd()))?;
    bundle.remove(name)?;
    result
}

fn block(signals: &SigSet) -> Result<SignalFd> {
    let blocked = signals.thread_block().and_then(|()| SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC));
    blocked.context(|| "cannot block signals".into())
}

fn wait(payload: &Process, signals: &SignalFd) -> Result<i32> {
    let what = || "cannot wait for the payload".to_string();
    loop {
        let mut fds =
            [PollFd::new(payload.fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).context(what)?;
        if fds[0].any() == Some(true) {
            break;
        }
        if let Some(info) = signals.read_signal().context(what)? {
            payload.signal(info.ssi_signo as i32)?;
        }
    }
    match waitpid(Pid::from_raw(payload.id()), None).context(what)? {
        WaitStatus::Exited(_, status) => Ok(status),
        WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as i32),
        status => Err(Error::new(format!("unexpected status {status:?}"))).context(what),
    }
}
