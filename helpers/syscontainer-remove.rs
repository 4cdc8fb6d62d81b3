//! Removes installed containers.

use std::process::ExitCode;

use syscontainers::error::{Context, Result};
use syscontainers::install::remover::{self, Options};
use syscontainers::install::site::Site;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::log;
use syscontainers::system::lock;

const PROGRAM: Program = Program {
    name: "syscontainer-remove",
    usage: "\
Usage: syscontainer-remove [OPTION...] NAME

Stops the container NAME and removes its unit, deployments and host files. What it
wrote stays, and so does what was changed on the host; see syscontainer-remove(8).

  --purge        remove what it wrote, too
  --force        remove it even if active units need it
  --root=DIR     remove it from the tree below DIR
  -h, --help     show this help
  --version      show the version
",
};

struct Args {
    name: Name,
    root: Root,
    options: Options,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut name, mut root, mut options) = (None, Root::default(), Options::default());
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("purge") => options.purge = true,
            Long("force") => options.force = true,
            Long("root") => root = Root::new(parser.value()?),
            Value(value) if name.is_none() => name = Some(value.parse()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Run(Args { name: name.ok_or("missing NAME")?, root, options }))
}

fn run(args: Args) -> Result<()> {
    let name = &args.name;
    let what = || format!("cannot remove {name}");
    let _lock = lock::container(&args.root, name).context(what)?;
    let _host_files = lock::host_files(&args.root).context(what)?;
    let left = remover::remove(&Site::new(&args.root), name, args.options).context(what)?;
    left.iter().for_each(|what| log::info(&format!("left {what}")));
    Ok(())
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
