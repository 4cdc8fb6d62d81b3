//! Writes the declarations that do the same as podman's quadlets.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syscontainers::error::{Context, Error, Result};
use syscontainers::program::cli::{self, Completes, Opt, Outcome, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::quadlet::{self, Conversion, Quadlet};
use syscontainers::system::files;

const PROGRAM: Program = Program {
    name: "syscontainer-from-quadlet",
    synopsis: &["[OPTION...] FILE.container..."],
    about: "Converts podman's unit files of containers to declarations of syscontainers, and prints them. \
            Says, with its line, what cannot be carried over.",
    options: &[
        Opt::valued("output", "DIR", "write NAME.conf into DIR, unless something is refused")
            .completes(Completes::Directory),
        Opt::flag("force", "with --output, replace files that are there"),
    ],
    operands: Completes::File,
    statuses: &[0, 1, 2, 3],
};

struct Args {
    files: Vec<PathBuf>,
    output: Option<PathBuf>,
    force: bool,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut files, mut output, mut force) = (Vec::new(), None, false);
    for argument in arguments {
        match argument {
            Valued("output", value) => output = Some(PathBuf::from(value)),
            Flag("force") => force = true,
            Operand(value) => files.push(PathBuf::from(value)),
            other => return Err(other.unexpected()),
        }
    }
    match (files.is_empty(), &output, force) {
        (true, ..) => Err("missing FILE".into()),
        (_, None, true) => Err("--force needs --output".into()),
        _ => Ok(Args { files, output, force }),
    }
}

fn run(args: Args) -> Result<Outcome> {
    let mut is_good = true;
    let mut quadlets = Vec::new();
    for path in &args.files {
        match Quadlet::read(path) {
            Ok(quadlet) => quadlets.push(quadlet),
            // With one file, its error decides the status.
            Err(e) if e.is_usage() || args.files.len() == 1 => return Err(e),
            Err(e) => {
                log::error(&e.to_string());
                is_good = false;
            }
        }
    }
    let conversions = quadlet::convert(&quadlets);
    for (number, conversion) in conversions.iter().enumerate() {
        say(conversion);
        let done = match &args.output {
            Some(directory) => write(conversion, directory, args.force),
            None => print(conversion, number > 0),
        };
        if let Err(e) = done {
            log::error(&e.to_string());
            is_good = false;
        }
        is_good &= !conversion.is_refused();
    }
    say_network(&conversions);
    Ok(if is_good { Outcome::Success } else { Outcome::Findings })
}

fn say(conversion: &Conversion) {
    for remark in &conversion.remarks {
        let log = if remark.matters { log::error } else { log::warning };
        log(&remark.text);
    }
    if let (Some(instance), false) = (&conversion.default_instance, conversion.is_refused()) {
        let name = &conversion.name;
        log::info(&format!(
            "{name}{instance}.conf has to be a link to {name}.conf for that instance to be there"
        ));
    }
}

/// Says once what is different about nearly every quadlet.
fn say_network(conversions: &[Conversion]) {
    let names: Vec<&str> =
        conversions.iter().filter(|c| c.uses_default_network).map(|c| c.name.as_str()).collect();
    if !names.is_empty() {
        log::warning(&format!(
            "without Network=, podman has a private network with NAT; here the host's is used, and everything that listens can be reached: {}",
            names.join(", ")
        ));
    }
}

fn print(conversion: &Conversion, is_next: bool) -> Result<()> {
    let space = if is_next { "\n" } else { "" };
    cli::print(&format!("{space}{}", conversion.text))
}

fn write(conversion: &Conversion, directory: &Path, force: bool) -> Result<()> {
    let path = directory.join(format!("{}.conf", conversion.name));
    if conversion.is_refused() {
        return Err(Error::new(format!(
            "cannot write {}: the container would be another one; remove what was refused from the quadlet",
            path.display()
        )));
    }
    let mut files = BTreeMap::from([(path.clone(), None)]);
    if let Some(instance) = &conversion.default_instance {
        files.insert(directory.join(format!("{}{instance}.conf", conversion.name)), Some(path.clone()));
    }
    let there = files.keys().find(|path| path.symlink_metadata().is_ok());
    if let (Some(path), false) = (there, force) {
        return Err(Error::new(format!(
            "cannot write {}: it exists; replace it with --force",
            path.display()
        )));
    }
    let mode = if conversion.is_private { 0o600 } else { 0o644 };
    files::replace(&path, conversion.text.as_bytes(), mode)?;
    for (link, target) in files {
        if let Some(target) = target {
            let what = || format!("cannot make the link {}", link.display());
            let target = target.file_name().unwrap_or_default().to_owned();
            match symlink(&target, &link) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && force => {
                    files::remove(&link)?;
                    symlink(&target, &link).context(what)?;
                }
                made => made.context(what)?,
            }
        }
    }
    files::sync_directory(directory)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
