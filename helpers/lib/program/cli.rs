//! The frame of every `main`: parse, run, report.

use std::borrow::Cow;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use serde::Serialize;

use crate::error::{Context, Error, Kind, Result};
use crate::program::options::{Argument, Request};
use crate::program::{log, text};

pub use crate::program::options::{Completes, Opt, Program};

/// The outcome of a run that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to report: 0.
    Success,
    /// A check found problems, which were printed: 1.
    Findings,
    /// An update is available; the user only asked whether there is one: 5.
    UpdateAvailable,
    /// An update is available, but brings what the user has to accept first: 6.
    UpdateUnaccepted,
    /// Something was changed; the user asked whether: 7.
    Changed,
    /// Something failed, and that was said already.
    Failed(Kind),
}

impl From<()> for Outcome {
    fn from((): ()) -> Outcome {
        Outcome::Success
    }
}

/// Parses arguments, runs the program, reports errors, and returns the exit status: see [`Outcome`] and [`Kind`]. Only
/// this prints errors.
pub fn main<A, O: Into<Outcome>>(
    program: &Program,
    parse: impl FnOnce(Vec<Argument>) -> Result<A, lexopt::Error>,
    run: impl FnOnce(A) -> Result<O>,
) -> ExitCode {
    log::init(program.name);
    // Who may read what is written here is not for the caller to decide, and nobody else may write to it. Runtimes give
    // payloads a umask of their own.
    nix::sys::stat::umask(nix::sys::stat::Mode::S_IWGRP | nix::sys::stat::Mode::S_IWOTH);
    let status = match execute(program, parse, run) {
        Ok(outcome) => outcome.status(),
        Err(e) => {
            log::error(&e.to_string());
            status(e.kind())
        }
    };
    // The man page lists the same statuses, which tests/programs.rs checks.
    debug_assert!(program.statuses.contains(&status), "{} does not say what {status} means", program.name);
    ExitCode::from(status)
}

fn execute<A, O: Into<Outcome>>(
    program: &Program,
    parse: impl FnOnce(Vec<Argument>) -> Result<A, lexopt::Error>,
    run: impl FnOnce(A) -> Result<O>,
) -> Result<Outcome> {
    let usage = |e| usage_error(program, &e);
    match program.read(lexopt::Parser::from_env()).map_err(usage)? {
        Request::Print(text) => print(&text).map(Into::into),
        Request::Run(arguments) => run(parse(arguments).map_err(usage)?).map(Into::into),
    }
}

/// The error about a command line, with where more is said, unless it says that itself.
fn usage_error(program: &Program, error: &lexopt::Error) -> Error {
    match error {
        lexopt::Error::Custom(own) if own.is::<Error>() => Error::usage(own.to_string()),
        error => Error::usage(format!("{error}; see '{} --help'", program.name)),
    }
}

impl Outcome {
    fn status(self) -> u8 {
        match self {
            Outcome::Success => 0,
            Outcome::Findings => 1,
            Outcome::UpdateAvailable => 5,
            Outcome::UpdateUnaccepted => 6,
            Outcome::Changed => 7,
            Outcome::Failed(kind) => status(kind),
        }
    }
}

fn status(kind: Kind) -> u8 {
    match kind {
        Kind::Failure => 1,
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::Reverted => 4,
        Kind::Damaged => 5,
        Kind::Unaccepted => 6,
    }
}

/// Prints data on stdout. Whatever is in it, a terminal shows it.
pub fn print(text: &str) -> Result<()> {
    write(&text::lines(text))
}

/// Prints data on stdout as JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    write(&text::json(value).context(|| "cannot print JSON".into())?)
}

fn write(text: &str) -> Result<()> {
    use std::io::Write;
    let text = if is_journal() { Cow::Owned(shortened_lines(text)) } else { Cow::Borrowed(text) };
    // It is not an error if the reader is gone (`--help | head`).
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}

/// Whether stdout is the journal, which takes a part of a long line for an entry of its own.
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    stdout.is_ok_and(|stdout| stream == format!("{}:{}", stdout.dev(), stdout.ino()))
}

fn shortened_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .flat_map(|line| {
            let content = line.strip_suffix('\n').unwrap_or(line);
            [text::shortened(content), Cow::Borrowed(&line[content.len()..])]
        })
        .collect()
}
