//! Pulls an image into the store.
//!
//! Layers that are there already are not fetched again. Killed at any point, the same command again goes on.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use syscontainers::cli::{self, Command, Program};
use syscontainers::error::Result;
use syscontainers::log;
use syscontainers::paths::Root;
use syscontainers::progress::Progress;
use syscontainers::store::Store;
use syscontainers::store::access::Access;
use syscontainers::store::pull::{self, Outcome};
use syscontainers::store::reference::Reference;

const PROGRAM: Program = Program {
    name: "syscontainer-pull",
    usage: "\
Usage: syscontainer-pull [OPTION...] IMAGE

Pulls IMAGE into the image store. IMAGE is docker://REGISTRY/NAME[:TAG|@DIGEST],
where docker:// may be left out, or another of skopeo's image names: docker-daemon:,
containers-storage:, oci:, oci-archive:, docker-archive:, dir:.
Prints the image's name in the store and its digest; see syscontainer-pull(8).

  --arch=ARCH        choose the image for this architecture, not this machine's
  --authfile=FILE    read credentials from FILE
  --policy=FILE      enforce the signature policy in FILE
  --tls-verify=BOOL  whether to check the registry's certificate (true or false)
  --root=DIR         pull into the store of the tree below DIR
  --repo=DIR         pull into the store in DIR
  --json             print the result as JSON
  -q, --quiet        say nothing of layers
  -h, --help         show this help
  --version          show the version
",
};

struct Args {
    image: Reference,
    access: Access,
    root: Root,
    repo: Option<PathBuf>,
    json: bool,
    quiet: bool,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut image, mut access, mut root, mut repo) = (None, Access::default(), Root::default(), None);
    let (mut json, mut quiet) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("arch") => access.arch = Some(parser.value()?.string()?),
            Long("authfile") => access.authfile = Some(parser.value()?.into()),
            Long("policy") => access.policy = Some(parser.value()?.into()),
            Long("tls-verify") => access.tls_verify = Some(parser.value()?.parse()?),
            Long("root") => root = Root::new(parser.value()?),
            Long("repo") => repo = Some(parser.value()?.into()),
            Long("json") => json = true,
            Short('q') | Long("quiet") => quiet = true,
            Value(value) if image.is_none() => image = Some(value.parse()?),
            _ => return Err(arg.unexpected()),
        }
    }
    let image = image.ok_or("missing IMAGE")?;
    Ok(Command::Run(Args { image, access, root, repo, json, quiet }))
}

fn run(args: Args) -> Result<()> {
    let begin = Instant::now();
    let store = Store::open_or_create(&args.root, args.repo.as_deref())?;
    let outcome = pull::pull(&store, &args.image, &args.access, &Progress::new(args.quiet))?;
    let image = &outcome.image;
    if !outcome.changed && !args.quiet {
        log::info(&format!("{} is unchanged", image.name));
    }
    if args.json {
        return cli::print(&format!("{:#}\n", to_json(&outcome, begin.elapsed().as_secs_f64())));
    }
    cli::print(&format!("{} {}\n", image.name, image.digest))
}

/// The result; syscontainer-pull(8) has its schema.
fn to_json(outcome: &Outcome, seconds: f64) -> serde_json::Value {
    json!({
        "image": outcome.image.name,
        "digest": outcome.image.digest,
        "changed": outcome.changed,
        "layers-fetched": outcome.fetched,
        "layers-reused": outcome.reused,
        "bytes": outcome.bytes,
        "seconds": (seconds * 1000.0).round() / 1000.0,
    })
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
