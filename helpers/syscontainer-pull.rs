//! Pulls an image into the store.
//!
//! Layers that are there already are not fetched again. Killed at any point, the same command again goes on.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use syscontainers::container::deployment::Deployments;
use syscontainers::error::{Context, Result};
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Done, Program};
use syscontainers::program::log;
use syscontainers::store::Store;
use syscontainers::store::access::Access;
use syscontainers::store::progress::Progress;
use syscontainers::store::pull::{self, Pulled};
use syscontainers::store::reference::Reference;
use syscontainers::system::journal::{self, Event, Subject};
use syscontainers::update::availability::Updates;

const PROGRAM: Program = Program {
    name: "syscontainer-pull",
    usage: "\
Usage: syscontainer-pull [OPTION...] IMAGE
       syscontainer-pull [OPTION...] --container=NAME

Pulls IMAGE into the image store. IMAGE is docker://REGISTRY/NAME[:TAG|@DIGEST],
where docker:// may be left out, or another of skopeo's image names: docker-daemon:,
containers-storage:, oci:, oci-archive:, docker-archive:, dir:.
With --container, pulls the image of an installed container from where it came from.
Prints the image's name in the store and its digest; see syscontainer-pull(8).

  --check            pull nothing, only tell whether there is another image; the exit
                     status is 5 if there is
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
    what: What,
    check: bool,
    access: Access,
    root: Root,
    repo: Option<PathBuf>,
    json: bool,
    quiet: bool,
}

enum What {
    Image(Reference),
    Container(Name),
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut what, mut access, mut root, mut repo) = (None, Access::default(), Root::default(), None);
    let (mut check, mut json, mut quiet) = (false, false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("check") => check = true,
            Long("arch") => access.arch = Some(parser.value()?.string()?),
            Long("authfile") => access.authfile = Some(parser.value()?.into()),
            Long("policy") => access.policy = Some(parser.value()?.into()),
            Long("tls-verify") => access.tls_verify = Some(parser.value()?.parse()?),
            Long("root") => root = Root::new(parser.value()?),
            Long("repo") => repo = Some(parser.value()?.into()),
            Long("json") => json = true,
            Short('q') | Long("quiet") => quiet = true,
            Long("container") if what.is_none() => what = Some(What::Container(parser.value()?.parse()?)),
            Value(value) if what.is_none() => what = Some(What::Image(value.parse()?)),
            _ => return Err(arg.unexpected()),
        }
    }
    let what = what.ok_or("missing IMAGE")?;
    if check && json {
        return Err("--check prints no JSON".into());
    }
    Ok(Command::Run(Args { what, check, access, root, repo, json, quiet }))
}

fn run(args: Args) -> Result<Done> {
    match &args.what {
        What::Image(reference) if args.check => check_image(&args, reference),
        What::Image(reference) => pull(&args, reference),
        What::Container(name) => update(&args, name),
    }
}

fn update(args: &Args, name: &Name) -> Result<Done> {
    let deployments = Deployments::new(&args.root);
    let updates = Updates::of(&deployments, name)?;
    if updates.is_held() && !args.check {
        log::info(&format!("{name} is held, leaving it alone"));
        return Ok(Done::Plainly);
    }
    let store = Store::open(&args.root, args.repo.as_deref())?;
    let reference =
        store.source(&updates.image).context(|| format!("cannot find out where {name} came from"))?;
    if !args.check {
        return pull(args, &reference);
    }
    let digest = pull::peek(&reference, &args.access, &Progress::new(args.quiet))?;
    let prospect = updates.prospect(digest.as_ref());
    cli::print(&format!("{name}: {} has {digest}: {prospect}\n", updates.image))?;
    Ok(if prospect.is_change() { Done::Pending } else { Done::Plainly })
}

fn check_image(args: &Args, reference: &Reference) -> Result<Done> {
    let name = reference.name()?;
    let digest = pull::peek(reference, &args.access, &Progress::new(args.quiet))?;
    let store = Store::open_existing(&args.root, args.repo.as_deref())?;
    let image = store.map(|store| store.lookup(&name)).transpose()?.flatten();
    let is_there = image.is_some_and(|image| image.digest == digest);
    cli::print(&format!("{name} has {digest}: {}\n", if is_there { "up to date" } else { "newer" }))?;
    Ok(if is_there { Done::Plainly } else { Done::Pending })
}

fn pull(args: &Args, reference: &Reference) -> Result<Done> {
    let begin = Instant::now();
    let store = Store::open_or_create(&args.root, args.repo.as_deref())?;
    let outcome = pull::pull(&store, reference, &args.access, &Progress::new(args.quiet))?;
    let image = &outcome.image;
    if outcome.changed {
        // What is printed says so, too.
        let (name, digest) = (image.name.as_str(), image.digest.as_ref());
        let subject = Subject { image: name, digest, ..Subject::default() };
        journal::record(
            &args.root,
            Event::Pulled,
            subject,
            &format!("pulled {}", journal::shown(name, digest)),
        );
    } else if !args.quiet {
        log::info(&format!("{} is unchanged", image.name));
    }
    match args.json {
        true => cli::print(&format!("{:#}\n", to_json(&outcome, begin.elapsed().as_secs_f64())))?,
        false => cli::print(&format!("{} {}\n", image.name, image.digest))?,
    }
    Ok(Done::Plainly)
}

/// The result; syscontainer-pull(8) has its schema.
fn to_json(outcome: &Pulled, seconds: f64) -> serde_json::Value {
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
