//! Relays the output of a payload from a pipe, which can be opened by name, to the journal's socket, which cannot.
//!
//! It runs as long as the payload does, and so is as small as a process can be, see `run::relay`.

use std::process::ExitCode;

use syscontainers::error::Result;
use syscontainers::name::Name;
use syscontainers::program::cli::{self, Completes, Program};
use syscontainers::program::options::prelude::*;
use syscontainers::run::relay;

const PROGRAM: Program = Program {
    name: "syscontainer-relay",
    synopsis: &["NAME"],
    about: "Relays what the container NAME writes to the pipe at standard input to the journal's socket at \
            standard output, until every process has closed the pipe. syscontainer-start runs it for \
            containers that need it.",
    options: &[],
    operands: Completes::Container,
    statuses: &[0, 1, 2],
};

/// The name is only shown, by ps(1).
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

fn run(_name: Name) -> Result<()> {
    relay::run()
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
