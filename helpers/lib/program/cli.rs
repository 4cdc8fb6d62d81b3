//! The frame of every `main`: parse, run, report.

use std::process::ExitCode;

use crate::error::{Error, Kind, Result};
use crate::program::log;
use crate::program::options::{Argument, Request};

pub use crate::program::options::{Completes, Opt, Program};

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With nothing more to tell: 0.
    Success,
    /// What was checked is not as it should be, and what was printed says why: 1.
    Findings,
    /// There is an update, which was only asked about: 5.
    UpdateAvailable,
}

impl From<()> for Outcome {
    fn from((): ()) -> Outcome {
        Outcome::Success
    }
}

/// Parses, runs, reports: 0 is done, 1 is failed, 2 is called wrongly, 3 is not found, 4 is
/// reverted, 5 is that there is an update. The only place that prints an error.
pub fn main<A, O: Into<Outcome>>(
    program: &Program,
    parse: impl FnOnce(Vec<Argument>) -> Result<A, lexopt::Error>,
    run: impl FnOnce(A) -> Result<O>,
) -> ExitCode {
    log::init(program.name);
    let status = match execute(program, parse, run) {
        Ok(outcome) => outcome.status(),
        Err(e) => {
            log::error(&e.to_string());
            status(e.kind())
        }
    };
    // The man page has the same statuses, which tests/programs.rs checks.
    debug_assert!(program.statuses.contains(&status), "{} does not say what {status} means", program.name);
    ExitCode::from(status)
}

fn execute<A, O: Into<Outcome>>(
    program: &Program,
    parse: impl FnOnce(Vec<Argument>) -> Result<A, lexopt::Error>,
    run: impl FnOnce(A) -> Result<O>,
) -> Result<Outcome> {
    let usage = |e| Error::usage(format!("{e}; see '{} --help'", program.name));
    match program.read(lexopt::Parser::from_env()).map_err(usage)? {
        Request::Print(text) => print(&text).map(Into::into),
        Request::Run(arguments) => run(parse(arguments).map_err(usage)?).map(Into::into),
    }
}

impl Outcome {
    fn status(self) -> u8 {
        match self {
            Outcome::Success => 0,
            Outcome::Findings => 1,
            Outcome::UpdateAvailable => 5,
        }
    }
}

fn status(kind: Kind) -> u8 {
    match kind {
        Kind::Failure => 1,
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::Reverted => 4,
    }
}

/// Prints data on stdout.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write;
    // A reader that went away (`--help | head`) is no failure of ours.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}
