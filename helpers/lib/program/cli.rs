//! The frame of every `main`: parse, run, report.

use std::process::ExitCode;

use crate::error::{Error, Kind, Result};
use crate::program::log;

/// What a program says about itself.
pub struct Program {
    /// File name, man page and log identifier.
    pub name: &'static str,
    /// Text of `--help`: a `Usage:` line, what it does, every option.
    pub usage: &'static str,
}

/// What the command line asked for.
pub enum Command<A> {
    /// Do the program's job.
    Run(A),
    /// Print the usage on stdout.
    Help,
    /// Print name and version on stdout.
    Version,
}

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// With nothing more to tell: 0.
    Plainly,
    /// There is something to do, which was not asked for: 5.
    Pending,
}

impl From<()> for Done {
    fn from((): ()) -> Done {
        Done::Plainly
    }
}

/// Parses, runs, reports: 0 is done, 1 is failed, 2 is called wrongly, 3 is not found, 4 is
/// reverted, 5 is that there is something to do. The only place that prints an error.
pub fn main<A, D: Into<Done>>(
    program: &Program,
    parse: impl FnOnce(&mut lexopt::Parser) -> Result<Command<A>, lexopt::Error>,
    run: impl FnOnce(A) -> Result<D>,
) -> ExitCode {
    log::init(program.name);
    let mut parser = lexopt::Parser::from_env();
    let result = match parse(&mut parser) {
        Ok(Command::Run(args)) => run(args).map(Into::into),
        Ok(Command::Help) => print(program.usage).map(Into::into),
        Ok(Command::Version) => {
            print(&format!("{} {}\n", program.name, env!("CARGO_PKG_VERSION"))).map(Into::into)
        }
        Err(e) => Err(Error::usage(format!("{e}; see '{} --help'", program.name))),
    };
    match result {
        Ok(Done::Plainly) => ExitCode::SUCCESS,
        Ok(Done::Pending) => ExitCode::from(5),
        Err(e) => {
            log::error(&e.to_string());
            ExitCode::from(match e.kind() {
                Kind::Failure => 1,
                Kind::Usage => 2,
                Kind::NotFound => 3,
                Kind::Reverted => 4,
            })
        }
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
