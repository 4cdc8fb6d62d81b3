//! Pulls an image into the store.
//!
//! Layers that are there already are not fetched again. Killed at any point, the same command again goes on.

use std::path::PathBuf;
use std::process::ExitCode;

use syscontainers::cli::{self, Command, Program};
use syscontainers::error::Result;
use syscontainers::log;
use syscontainers::paths::Root;
use syscontainers::store::Store;
use syscontainers::store::pull::{self, Event};
use syscontainers::store::reference::Reference;

const PROGRAM: Program = Program {
    name: "syscontainer-pull",
    usage: "\
Usage: syscontainer-pull [OPTION...] IMAGE

Pulls IMAGE into the image store. IMAGE is docker://REGISTRY/NAME[:TAG|@DIGEST],
where docker:// may be left out, oci:DIRECTORY[:TAG] or docker-archive:FILE[:NAME].
Prints the image's name in the store and its digest; see syscontainer-pull(8).

  --root=DIR     pull into the store of the tree below DIR
  --repo=DIR     pull into the store in DIR
  -q, --quiet    say nothing of layers
  -h, --help     show this help
  --version      show the version
",
};

struct Args {
    image: Reference,
    root: Root,
    repo: Option<PathBuf>,
    quiet: bool,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut image, mut root, mut repo, mut quiet) = (None, Root::default(), None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("root") => root = Root::new(parser.value()?),
            Long("repo") => repo = Some(parser.value()?.into()),
            Short('q') | Long("quiet") => quiet = true,
            Value(value) if image.is_none() => image = Some(value.parse()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Run(Args { image: image.ok_or("missing IMAGE")?, root, repo, quiet }))
}

fn run(args: Args) -> Result<()> {
    let store = Store::open_or_create(&args.root, args.repo.as_deref())?;
    let (image, unchanged) = pull::pull(&store, &args.image, &mut |event| report(&event, args.quiet))?;
    if unchanged && !args.quiet {
        log::info(&format!("{} is unchanged", image.name));
    }
    cli::print(&format!("{} {}\n", image.name, image.digest))
}

fn report(event: &Event, quiet: bool) {
    match event {
        Event::LeftOut(layer, count) => {
            log::warning(&format!("left {count} devices, fifos or sockets of layer {} out", layer.digest()));
        }
        _ if quiet => {}
        Event::Fetching(layer) => {
            log::info(&format!("fetching layer {} ({} bytes)", layer.digest(), layer.size()))
        }
        Event::Present(layer) => log::info(&format!("layer {} is there already", layer.digest())),
    }
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
