//! Rolls a container back to an earlier deployment.

use std::process::ExitCode;
use std::time::Duration;

use syscontainers::container::deployment::Deployments;
use syscontainers::container::standing;
use syscontainers::container::state::{Choices, Purpose, State};
use syscontainers::error::{Context, Error, Result};
use syscontainers::install::acceptance;
use syscontainers::install::site::Site;
use syscontainers::name::{Deployment, Name};
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::program::timespan;
use syscontainers::system::lock;
use syscontainers::system::systemd::manager;
use syscontainers::system::tree;
use syscontainers::update::retention;
use syscontainers::update::switcher::{Recovery, Switcher};

const PROGRAM: Program = Program {
    name: "syscontainer-rollback",
    synopsis: &["[OPTION...] NAME [NUMBER]"],
    about: "Makes the previous deployment of the container NAME current again, or NAME.NUMBER, and restarts \
            its service. Running the command again returns to where it was.",
    options: &[
        Opt::valued("soak", "TIME", "watch the service for this long, in this switch only"),
        Opt::flag(
            "if-failed",
            "roll back only if the service has failed, and never to a deployment that failed itself",
        ),
        Opt::root("work on the tree below DIR"),
    ],
    operands: Completes::Container,
    statuses: &[0, 1, 2, 3, 4],
};

struct Args {
    name: Name,
    number: Option<u32>,
    soak: Option<Duration>,
    if_failed: bool,
    root: Root,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut name, mut number, mut soak, mut if_failed, mut root) =
        (None, None, None, false, Root::default());
    for argument in arguments {
        match argument {
            Valued("soak", value) => soak = Some(value.parse_with(timespan::parse_finite)?),
            Flag("if-failed") => if_failed = true,
            Valued("root", value) => root = tree::open(value)?,
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            Operand(value) if number.is_none() => number = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Args { name: name.ok_or("missing NAME")?, number, soak, if_failed, root })
}

fn run(args: Args) -> Result<()> {
    let what = || format!("cannot roll back {}", args.name);
    let site = Site::new(&args.root);
    let _lock = lock::container(&args.root, &args.name)?;
    roll_back(&args, &site).context(what)
}

fn roll_back(args: &Args, site: &Site) -> Result<()> {
    let name = &args.name;
    standing::check(&site.deployments, name)?;
    let switcher = Switcher { site, name };
    let was_update = State::load(&site.deployments, name)
        .is_ok_and(|state| state.switch.is_some_and(|switch| switch.purpose == Purpose::Update));
    match switcher.recover() {
        Ok(Recovery::Reverted(why)) if was_update && is_target(args, site)? => {
            // This is what the user wants.
            log::info(&why);
            return Ok(());
        }
        Ok(Recovery::Reverted(why)) => log::warning(&why),
        Ok(Recovery::Complete) => {}
        // The rollback may repair what is broken.
        Err(e) => log::warning(&e.to_string()),
    }
    let current = site.deployments.installed(name)?;
    if args.if_failed && !manager::is_failed(site.manager(), name)? {
        log::info(&format!("the service of {name} has not failed, {current} stays current"));
        return Ok(());
    }
    let target = target(args, &site.deployments, &current)?;
    let why = if args.if_failed {
        "its service failed, and it was rolled back"
    } else {
        "it was rolled back by hand"
    };
    switcher.switch(&current, &target, Purpose::Rollback(why.into()), args.soak)
}

fn target(args: &Args, deployments: &Deployments, current: &Deployment) -> Result<Deployment> {
    let all = deployments.with_system(&args.name)?;
    let state = State::load(deployments, &args.name)?;
    let target = match args.number {
        Some(number) => Some(Deployment::new(&args.name, number)).filter(|target| all.contains(target)),
        None => retention::previous(&all, current, &state),
    };
    let others = || {
        let others = all.iter().filter(|other| *other != current).map(Deployment::to_string);
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            return format!("{current} is the only deployment");
        }
        format!("there are {}, and {current}, which is current", others.join(", "))
    };
    let target =
        target.ok_or_else(|| Error::new(format!("there is nothing to roll back to: {}", others())))?;
    if target == *current {
        return Err(Error::new(format!("{target} is current already")));
    }
    let info = deployments.info(&target)?;
    let Some(ours) = info.ours() else {
        return Err(Error::new(format!(
            "{target} was made by Project Atomic's tools, and its unit is gone; remove the container and install image {} again",
            info.image
        )));
    };
    if acceptance::is_overruled(&state, &info) {
        let name = &args.name;
        return Err(Error::new(format!(
            "{target} uses the /exports of its image, which {name} ignores since --plain; accept them with 'syscontainer-checkout --update --accept-exports {name}'"
        )));
    }
    if let (true, Some(failure)) = (args.if_failed, state.failed_before(&ours.digest, &Choices::of(&info))) {
        return Err(Error::new(format!("{target} failed before, too: {}", failure.reason)));
    }
    Ok(target)
}

/// Returns whether the deployment that is current is the one to roll back to, or may be any.
fn is_target(args: &Args, site: &Site) -> Result<bool> {
    let Some(number) = args.number else { return Ok(true) };
    Ok(site.deployments.current(&args.name)?.is_some_and(|current| current.number() == number))
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
