//! Stops a container: what `$EXEC_STOP` expands to.
//!
//! Sends the stop signal, waits for the payload to end, and kills it when the time that its unit gives it is over. This
//! always succeeds: whatever happens here, systemd stops what is left of the unit.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use syscontainers::error::{Context, Result};
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::run::bundle::Bundle;
use syscontainers::run::ending::Ending;
use syscontainers::run::successor;
use syscontainers::system::command;
use syscontainers::system::lock;
use syscontainers::system::notify;
use syscontainers::system::process::Process;

const PROGRAM: Program = Program {
    name: "syscontainer-stop",
    synopsis: &["NAME"],
    about: "Sends the stop signal to the container NAME and waits until it exits. What is still running when \
            TimeoutStopSec= of its unit has passed is killed.",
    options: &[
        Opt::flag("leave", "start the process that ends the payload, and leave it").hidden(),
        Opt::flag("end", "end the payload in its place").hidden(),
    ],
    operands: Completes::Container,
    statuses: &[0, 2],
};

/// Longest wait for a start that is in progress.
const START: Duration = Duration::from_secs(5);

/// Which of the processes of [`successor`] this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Command,
    Between,
    Successor,
}

struct Args {
    name: Name,
    part: Part,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut name, mut part) = (None, Part::Command);
    for argument in arguments {
        match argument {
            Flag("leave") => part = Part::Between,
            Flag("end") => part = Part::Successor,
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Args { name: name.ok_or("missing NAME")?, part })
}

fn run(args: Args) -> Result<()> {
    let name = &args.name;
    let bundle = Bundle::new(&Root::default(), name);
    let result = match args.part {
        Part::Command => stop(name, &bundle),
        Part::Between => command::again("--end", name).and_then(successor::leave),
        Part::Successor => succeed(name, &bundle),
    };
    if let Err(e) = result.context(|| format!("cannot stop {name}")) {
        log::warning(&format!("{e}, leaving it to systemd"));
    }
    if args.part == Part::Command {
        // systemd ends the relays as soon as this command ends.
        bundle.pipes().wait();
    }
    Ok(())
}

fn stop(name: &Name, bundle: &Bundle) -> Result<()> {
    let begin = Instant::now();
    // A payload that is created but not started yet would miss the signal.
    lock::wait(&bundle.lock(), START);
    let Some(payload) = payload(bundle)? else { return Ok(()) };
    if main_process() == Some(payload.id()) && successor::run(command::again("--leave", name)?, begin)? {
        return Ok(());
    }
    Ending::begin(name, &payload, signal(bundle), begin)?.finish()
}

fn succeed(name: &Name, bundle: &Bundle) -> Result<()> {
    match payload(bundle)? {
        Some(payload) => successor::be(name, bundle, &payload, signal(bundle)),
        None => Ok(()),
    }
}

/// The process that is to end: the payload, or the one that it made the main process of its unit.
fn payload(bundle: &Bundle) -> Result<Option<Process>> {
    match (bundle.payload()?, main_process()) {
        (None, Some(pid)) if bundle.load()?.is_some() => Process::open(pid),
        (payload, _) => Ok(payload),
    }
}

/// The main process of the unit that this is the stop command of. There is none if it ended by itself, after which
/// systemd runs that command, too.
fn main_process() -> Option<i32> {
    std::env::var("MAINPID").ok().filter(|_| notify::is_expected())?.parse().ok()
}

fn signal(bundle: &Bundle) -> Option<i32> {
    bundle.load().ok().flatten().and_then(|launch| launch.stop_signal)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
