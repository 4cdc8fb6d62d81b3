//! Stops a container: what `$EXEC_STOP` expands to.
//!
//! Sends the stop signal and waits for the payload to end; systemd limits the wait with `TimeoutStopSec=`. This always
//! succeeds: whatever happens here, systemd stops what is left of the unit.

use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use syscontainers::error::{Context, Result};
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::run::bundle::Bundle;
use syscontainers::system::lock;

const PROGRAM: Program = Program {
    name: "syscontainer-stop",
    synopsis: &["NAME"],
    about: "Sends the stop signal to the container NAME and waits until it exits. A payload that is the first \
            process of its PID namespace and does not handle the signal is killed at once.",
    options: &[],
    operands: Completes::Container,
    statuses: &[0, 2],
};

/// Longest wait for a start that is under way.
const START: Duration = Duration::from_secs(5);

fn parse(arguments: Vec<Argument>) -> Result<Name, lexopt::Error> {
    let mut name = None;
    for argument in arguments {
        match argument {
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(name.ok_or("missing NAME")?)
}

fn run(name: Name) -> Result<()> {
    if let Err(e) = stop(&name).context(|| format!("cannot stop {name}")) {
        log::warning(&format!("{e}, leaving it to systemd"));
    }
    Bundle::new(&Root::default(), &name).pipes().wait();
    Ok(())
}

fn stop(name: &Name) -> Result<()> {
    let bundle = Bundle::new(&Root::default(), name);
    // A payload that is created but not started yet would miss the signal.
    lock::wait(&bundle.lock(), START);
    let Some(payload) = bundle.payload()? else { return Ok(()) };
    let wanted = bundle.load().ok().flatten().and_then(|launch| launch.stop_signal);
    let signal = wanted.unwrap_or(Signal::SIGTERM as i32);
    if payload.ignores(signal) {
        payload.signal(Signal::SIGKILL as i32)?;
    } else {
        payload.signal(signal)?;
    }
    payload.wait(None).map(|_| ())
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
