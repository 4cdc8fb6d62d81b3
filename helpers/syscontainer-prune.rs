//! Removes deployments, images and objects that nothing uses, and what killed programs left.

use std::process::ExitCode;
use std::time::Duration;

use syscontainers::container::deployment::Deployments;
use syscontainers::error::{Context, Error, Result};
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::timespan;
use syscontainers::prune::{self, PruneOptions};

const PROGRAM: Program = Program {
    name: "syscontainer-prune",
    usage: "\
Usage: syscontainer-prune [OPTION...] [IMAGE...]

Removes deployments and images that nothing uses, what killed programs left, and
objects of the store that are no part of anything. With IMAGE, no images but these go,
however new they are, and no deployments. See syscontainer-prune(8).

  --keep-for=TIME  keep images that nothing uses for as long as this after they were
                   pulled, 7d by default
  --dry-run        remove nothing, say what would be removed
  --explain        say of everything else why it is kept
  --json           print JSON
  --root=DIR       prune the tree below DIR
  --repo=DIR       prune the image store in DIR
  -h, --help       show this help
  --version        show the version
",
};

/// How long images are kept that nothing uses: pulled on one day, they may be installed on another.
const KEEP_FOR: Duration = Duration::from_secs(7 * 86_400);

struct Args {
    root: Root,
    options: PruneOptions,
    explain: bool,
    json: bool,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let options = PruneOptions { dry_run: false, keep_for: KEEP_FOR, images: Vec::new(), repo: None };
    let mut args = Args { root: Root::default(), options, explain: false, json: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("keep-for") => args.options.keep_for = parser.value()?.parse_with(timespan::parse)?,
            Long("dry-run") => args.options.dry_run = true,
            Long("explain") => args.explain = true,
            Long("json") => args.json = true,
            Long("root") => args.root = Root::new(parser.value()?),
            Long("repo") => args.options.repo = Some(parser.value()?.into()),
            Value(value) => args.options.images.push(value.string()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

fn run(args: Args) -> Result<()> {
    let report = prune::prune(&Deployments::new(&args.root), &args.options)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report).context(|| "cannot print JSON".into())?;
        cli::print(&format!("{text}\n"))?;
    } else {
        cli::print(&report.to_text(args.explain))?;
    }
    match report.failed.is_empty() {
        true => Ok(()),
        false => Err(Error::new("cannot remove everything that nothing uses, see the messages above")),
    }
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
