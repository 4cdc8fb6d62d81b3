//! Pulls an image into the store.
//!
//! Layers that are in the store already are not fetched again. If this is killed at any point, the same command
//! continues.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use syscontainers::container::deployment::Deployments;
use syscontainers::digest::Digest;
use syscontainers::error::Result;
use syscontainers::list::prospect;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::program::transports::{self, Transport};
use syscontainers::store::Store;
use syscontainers::store::access::Access;
use syscontainers::store::pace::Patience;
use syscontainers::store::progress::Progress;
use syscontainers::store::pull::{self, Pulled};
use syscontainers::store::reference::Reference;
use syscontainers::store::source_files;
use syscontainers::system::journal::{self, Event, Subject};
use syscontainers::system::tree;
use syscontainers::update::availability::{Prospect, Updates};

const PROGRAM: Program = Program {
    name: "syscontainer-pull",
    synopsis: &["[OPTION...] IMAGE", "[OPTION...] --container=NAME"],
    about: "Pulls IMAGE into the image store. IMAGE is docker://REGISTRY/NAME[:TAG][@DIGEST], where docker:// \
            may be left out, or another of skopeo's image names: docker-daemon:, containers-storage:, oci:, \
            oci-archive:, docker-archive:, dir:.\n\n\
            With --container, pulls the image of an installed container from where it was pulled before. \
            Prints the name of the image in the store and its digest.",
    options: &[
        Opt::valued("container", "NAME", "pull the image of the container NAME")
            .completes(Completes::Container)
            .operands(Completes::Nothing),
        Opt::flag(
            "check",
            "pull nothing, only print whether there is a different image; the exit status is 5 if so, and 6 if \
             it has to be accepted",
        ),
        Access::ARCH,
        Access::AUTHFILE,
        Access::IDLE_TIMEOUT,
        Access::POLICY,
        Access::TLS_VERIFY,
        Opt::root("pull into the store of the tree below DIR"),
        Opt::repo("pull into the image store in DIR"),
        Opt::flag("json", "print the result as JSON"),
        Opt::flag("quiet", "show no progress").short('q'),
    ],
    operands: Completes::Listed(|| transports::ALL.map(Transport::prefix).to_vec()),
    statuses: &[0, 1, 2, 3, 5, 6],
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

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut what, mut access, mut root, mut repo) = (None, Access::default(), Root::default(), None);
    let (mut check, mut json, mut quiet) = (false, false, false);
    for argument in arguments {
        match argument {
            Flag("check") => check = true,
            Valued("arch", value) => access.arch = Some(value.string()?),
            Valued("authfile", value) => access.authfile = Some(value.into()),
            Valued("idle-timeout", value) => access.patience = value.parse_with(Patience::parse)?,
            Valued("policy", value) => access.policy = Some(value.into()),
            Valued("tls-verify", value) => access.tls_verify = Some(value.parse()?),
            Valued("root", value) => root = tree::open(value)?,
            Valued("repo", value) => repo = Some(value.into()),
            Flag("json") => json = true,
            Flag("quiet") => quiet = true,
            Valued("container", value) if what.is_none() => what = Some(What::Container(value.parse()?)),
            Operand(value) if what.is_none() => what = Some(What::Image(value.parse()?)),
            other => return Err(other.unexpected()),
        }
    }
    let what = what.ok_or("missing IMAGE")?;
    if access.arch.is_some() && matches!(what, What::Container(_)) {
        return Err("--arch cannot be combined with --container, which pulls for the architecture that was chosen before".into());
    }
    Ok(Args { what, check, access, root, repo, json, quiet })
}

fn run(args: Args) -> Result<cli::Outcome> {
    match &args.what {
        What::Image(reference) if args.check => check_image(&args, reference),
        What::Image(reference) => {
            if let Err(why) = source_files::check_owner(&Root::default(), reference) {
                log::warning(&format!("{why}, so containers are not updated from there"));
            }
            pull(&args, reference, &args.access)
        }
        What::Container(name) => update(&args, name),
    }
}

fn update(args: &Args, name: &Name) -> Result<cli::Outcome> {
    let deployments = Deployments::new(&args.root);
    let updates = Updates::of(&deployments, name)?;
    if updates.is_held() && !args.check {
        log::info(&format!("{name} is held, leaving it alone"));
        return Ok(cli::Outcome::Success);
    }
    if let (Some(source), false) = (prospect::lost_source(&updates), args.check) {
        log::warning(&format!(
            "{name} came from {source}, which no longer exists; nothing was pulled; to update it from another source, use 'syscontainer-checkout --update --rebase=IMAGE {name}'"
        ));
        return Ok(cli::Outcome::Success);
    }
    let (reference, access) = prospect::source(name, &updates, &args.access)?;
    if !args.check {
        return pull(args, &reference, &access);
    }
    let store = || Store::open_or_create(&args.root, args.repo.as_deref());
    let observer = Progress::new(args.quiet);
    let found = prospect::find((&args.root, name), &updates, (&reference, &access), store, &observer);
    let (digest, prospect) = found?;
    let image = &updates.image;
    print_prospect(args, image, &digest, &prospect, &format!("{name}: {image} has {digest}: {prospect}\n"))?;
    Ok(match prospect {
        Prospect::Unaccepted(_) => cli::Outcome::UpdateUnaccepted,
        other if other.is_change() => cli::Outcome::UpdateAvailable,
        _ => cli::Outcome::Success,
    })
}

fn print_prospect(args: &Args, image: &str, digest: &Digest, prospect: &Prospect, text: &str) -> Result<()> {
    if !args.json {
        return cli::print(text);
    }
    cli::print(&format!("{:#}\n", prospect::to_json(image, digest, prospect)))
}

fn check_image(args: &Args, reference: &Reference) -> Result<cli::Outcome> {
    let name = reference.name()?;
    let digest = pull::peek(reference, &args.access, &Progress::new(args.quiet))?;
    let store = Store::open_existing(&args.root, args.repo.as_deref())?;
    let image = store.map(|store| store.lookup(&name)).transpose()?.flatten();
    let is_there = image.is_some_and(|image| image.digest == digest);
    let prospect = if is_there { Prospect::Current } else { Prospect::Newer };
    print_prospect(args, &name, &digest, &prospect, &format!("{name} has {digest}: {prospect}\n"))?;
    Ok(if is_there { cli::Outcome::Success } else { cli::Outcome::UpdateAvailable })
}

fn pull(args: &Args, reference: &Reference, access: &Access) -> Result<cli::Outcome> {
    let begin = Instant::now();
    let store = Store::open_or_create(&args.root, args.repo.as_deref())?;
    let outcome = pull::pull(&store, reference, access, &Progress::new(args.quiet))?;
    let image = &outcome.image;
    if outcome.changed {
        // Not on stderr, since the printed result says the same.
        let subject = Subject::of_image(&image.name, &image.digest);
        let message = format!("pulled {}", journal::shown(&image.name, &image.digest));
        journal::record(&args.root, Event::Pulled, &subject, &message);
    } else if !args.quiet {
        log::info(&format!("{} is unchanged", image.name));
    }
    if args.json {
        cli::print_json(&to_json(&outcome, begin.elapsed().as_secs_f64()))?;
    } else {
        cli::print(&format!("{} {}\n", image.name, image.digest))?;
    }
    Ok(cli::Outcome::Success)
}

/// The result as JSON, see syscontainer-pull(8).
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
