//! Makes the staged deployment of a container current, and reverts that if it fails.

use std::process::ExitCode;
use std::time::Duration;

use syscontainers::container::state::{Purpose, State};
use syscontainers::error::{Context, Error, Result};
use syscontainers::install::claim;
use syscontainers::install::site::Site;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::program::timespan;
use syscontainers::system::journal::{self, Event, Subject};
use syscontainers::system::lock;
use syscontainers::system::tree;
use syscontainers::update::switcher::{Recovery, Switcher};

const PROGRAM: Program = Program {
    name: "syscontainer-switch",
    synopsis: &["[OPTION...] NAME"],
    about: "Makes the staged deployment of the container NAME current and restarts its service. If it does \
            not become ready, or does not stay active, the switch is reverted: the previous deployment is made \
            current again, and the exit status is 4.",
    options: &[
        Opt::valued("soak", "TIME", "watch the service for this long, in this switch only"),
        Opt::flag("force", "switch even if the container is held"),
        Opt::flag("recover", "confirm or revert a switch that was interrupted, and do nothing else"),
        Opt::flag("hold", "switch nothing; exclude the container from updates from now on"),
        Opt::flag("no-hold", "switch nothing; include it in updates again"),
        Opt::valued("keep", "NUMBER", "switch nothing; keep this many deployments from now on, at least 2"),
        Opt::valued("set-soak", "TIME", "switch nothing; watch updates for this long from now on"),
        Opt::root("work on the tree below DIR"),
    ],
    operands: Completes::Container,
    statuses: &[0, 1, 2, 3, 4],
};

struct Args {
    name: Name,
    root: Root,
    action: Action,
}

enum Action {
    Switch { soak: Option<Duration>, force: bool },
    Recover,
    Configure(Settings),
}

/// Settings that are changed; `None` leaves one as it is.
#[derive(Default, PartialEq, Eq)]
struct Settings {
    hold: Option<bool>,
    keep: Option<usize>,
    soak: Option<Duration>,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut name, mut root, mut settings) = (None, Root::default(), Settings::default());
    let (mut soak, mut force, mut recover) = (None, false, false);
    for argument in arguments {
        match argument {
            Valued("soak", value) => soak = Some(value.parse_with(timespan::parse_finite)?),
            Flag("force") => force = true,
            Flag("recover") => recover = true,
            Flag("hold") => settings.hold = Some(true),
            Flag("no-hold") => settings.hold = Some(false),
            Valued("keep", value) => settings.keep = Some(value.parse_with(parse_keep)?),
            Valued("set-soak", value) => settings.soak = Some(value.parse_with(timespan::parse_finite)?),
            Valued("root", value) => root = tree::open(value)?,
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    let name = name.ok_or("missing NAME")?;
    let switches = soak.is_some() || force;
    let action = if settings != Settings::default() {
        if recover || switches {
            return Err("--hold, --no-hold, --keep and --set-soak cannot be combined with a switch".into());
        }
        Action::Configure(settings)
    } else if recover {
        if switches {
            return Err("--recover cannot be combined with --soak or --force".into());
        }
        Action::Recover
    } else {
        Action::Switch { soak, force }
    };
    Ok(Args { name, root, action })
}

fn parse_keep(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 2 => Ok(number),
        _ => Err("expected a number of at least 2: the current deployment, and one to roll back to".into()),
    }
}

fn run(args: Args) -> Result<()> {
    let (name, site) = (&args.name, Site::new(&args.root));
    let _lock = lock::container(&args.root, name)?;
    let switcher = Switcher { site: &site, name };
    match args.action {
        Action::Configure(settings) => {
            configure(&site, name, &settings).context(|| format!("cannot configure {name}"))
        }
        Action::Recover => match switcher.recover().context(|| format!("cannot recover {name}"))? {
            Recovery::Complete => Ok(()),
            Recovery::Reverted(why) => Err(Error::reverted(why)),
        },
        Action::Switch { soak, force } => {
            switch(&switcher, soak, force).context(|| format!("cannot switch {name}"))
        }
    }
}

fn switch(switcher: &Switcher, soak: Option<Duration>, force: bool) -> Result<()> {
    let (name, deployments) = (switcher.name, &switcher.site.deployments);
    if let Recovery::Reverted(why) = switcher.recover()? {
        log::warning(&why);
    }
    let current = deployments.installed(name)?;
    let state = State::load(deployments, name)?;
    if state.hold && !force {
        log::info(&format!("{name} is held, leaving it alone"));
        return Ok(());
    }
    let Some(staged) = state.staged(deployments) else {
        log::info(&format!("nothing is staged for {name}, {current} stays current"));
        return Ok(());
    };
    if claim::is_masked(switcher.site.root(), name) {
        log::info(&format!("{name} is masked, leaving {staged} staged until 'systemctl unmask {name}'"));
        return Ok(());
    }
    switcher.switch(&current, staged, Purpose::Update, soak)
}

fn configure(site: &Site, name: &Name, settings: &Settings) -> Result<()> {
    let deployments = &site.deployments;
    let current = deployments.installed(name)?;
    let mut state = State::load(deployments, name)?;
    state.hold = settings.hold.unwrap_or(state.hold);
    state.keep = settings.keep.or(state.keep);
    // The state has whole seconds.
    let soak = settings.soak.map(|soak| soak.as_secs().saturating_add(u64::from(soak.subsec_nanos() > 0)));
    state.soak = soak.or(state.soak);
    state.save(deployments, name)?;
    let hold = if state.hold { "is held" } else { "is not held" };
    let message = format!(
        "{name} {hold}, keeps {} deployments, watches updates for {} s",
        state.keep(),
        state.soak().as_secs()
    );
    journal::tell(site.root(), Event::Configured, &Subject::of(&current, None), &message);
    Ok(())
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
