//! Removes deployments, images and objects that are not used, and what killed programs left behind.

use std::process::ExitCode;
use std::time::Duration;

use syscontainers::error::{Error, Result};
use syscontainers::install::site::Site;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::options::prelude::*;
use syscontainers::program::timespan;
use syscontainers::prune::{self, PruneOptions};
use syscontainers::system::tree;

const PROGRAM: Program = Program {
    name: "syscontainer-prune",
    synopsis: &["[OPTION...] [IMAGE...]"],
    about: "Removes unused deployments and images, what killed programs left behind, and unreferenced objects \
            of the store. With IMAGE, removes only these images, however recent they are, and no deployments.",
    options: &[
        Opt::valued(
            "keep-for",
            "TIME",
            "keep unused images for this long after they were pulled, 7d by default",
        ),
        Opt::flag("dry-run", "remove nothing, but print what would be removed"),
        Opt::flag("explain", "also print why everything else is kept"),
        Opt::flag("json", "print JSON"),
        Opt::root("prune the tree below DIR"),
        Opt::repo("prune the image store in DIR"),
    ],
    operands: Completes::Image,
    statuses: &[0, 1, 2, 3],
};

/// How long unused images are kept: they may be pulled on one day and installed on another.
const KEEP_FOR: Duration = Duration::from_secs(7 * 86_400);

struct Args {
    root: Root,
    options: PruneOptions,
    explain: bool,
    json: bool,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let options = PruneOptions { dry_run: false, keep_for: KEEP_FOR, images: Vec::new(), repo: None };
    let mut args = Args { root: Root::default(), options, explain: false, json: false };
    for argument in arguments {
        match argument {
            Valued("keep-for", value) => args.options.keep_for = value.parse_with(timespan::parse)?,
            Flag("dry-run") => args.options.dry_run = true,
            Flag("explain") => args.explain = true,
            Flag("json") => args.json = true,
            Valued("root", value) => args.root = tree::open(value)?,
            Valued("repo", value) => args.options.repo = Some(value.into()),
            Operand(value) => args.options.images.push(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(args)
}

fn run(args: Args) -> Result<()> {
    let report = prune::prune(&Site::new(&args.root), &args.options)?;
    if args.json {
        cli::print_json(&report)?;
    } else {
        cli::print(&report.to_text(args.explain))?;
    }
    if report.failed.is_empty() {
        Ok(())
    } else {
        Err(Error::new("cannot remove everything that is not used, see the messages above"))
    }
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
