//! Makes the staged deployment of a container current, and goes back if it does not prove itself.

use std::process::ExitCode;
use std::time::Duration;

use syscontainers::container::state::{Purpose, State};
use syscontainers::error::{Context, Error, Result};
use syscontainers::install::site::Site;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::log;
use syscontainers::system::journal::{self, Event, Subject};
use syscontainers::system::lock;
use syscontainers::update::switcher::{Recovery, Switcher};

const PROGRAM: Program = Program {
    name: "syscontainer-switch",
    usage: "\
Usage: syscontainer-switch [OPTION...] NAME

Makes the staged deployment of the container NAME current and restarts its service. If
that does not get ready, or does not stay so, the old deployment is current again and
the exit status is 4. See syscontainer-switch(8).

  --soak=SECONDS      watch the service for so long
  --force             also if the container is held
  --recover           finish or undo a switch that was killed, and nothing else
  --hold              from now on, leave it alone in updates
  --no-hold           from now on, do not
  --keep=NUMBER       from now on, keep so many deployments, 2 at least
  --soak-from-now-on=SECONDS
                      from now on, watch updates for so long
  --root=DIR          work on the tree below DIR
  -h, --help          show this help
  --version           show the version
",
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

/// What holds from now on.
#[derive(Default, PartialEq, Eq)]
struct Settings {
    hold: Option<bool>,
    keep: Option<usize>,
    soak: Option<u64>,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut name, mut root, mut settings) = (None, Root::default(), Settings::default());
    let (mut soak, mut force, mut recover) = (None, false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("soak") => soak = Some(Duration::from_secs(parser.value()?.parse()?)),
            Long("force") => force = true,
            Long("recover") => recover = true,
            Long("hold") => settings.hold = Some(true),
            Long("no-hold") => settings.hold = Some(false),
            Long("keep") => settings.keep = Some(parser.value()?.parse_with(parse_keep)?),
            Long("soak-from-now-on") => settings.soak = Some(parser.value()?.parse()?),
            Long("root") => root = Root::new(parser.value()?),
            Value(value) if name.is_none() => name = Some(value.parse()?),
            _ => return Err(arg.unexpected()),
        }
    }
    let name = name.ok_or("missing NAME")?;
    let switches = soak.is_some() || force;
    let action = match settings == Settings::default() {
        true if recover && switches => return Err("--recover stands alone".into()),
        true if recover => Action::Recover,
        true => Action::Switch { soak, force },
        false if recover || switches => return Err("what holds from now on is set without a switch".into()),
        false => Action::Configure(settings),
    };
    Ok(Command::Run(Args { name, root, action }))
}

fn parse_keep(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 2 => Ok(number),
        _ => Err("expected a number from 2 on: the current deployment, and one to go back to".into()),
    }
}

fn run(args: Args) -> Result<()> {
    let (name, site) = (&args.name, Site::new(&args.root));
    let _lock = lock::container(&args.root, name)?;
    let switcher = Switcher { site: &site, name };
    match args.action {
        Action::Configure(settings) => {
            configure(&site, name, &settings).context(|| format!("cannot set what holds for {name}"))
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
        log::info(&format!("nothing is staged for {name}, {current} stays"));
        return Ok(());
    };
    switcher.switch(&current, staged, Purpose::Update, soak)
}

fn configure(site: &Site, name: &Name, settings: &Settings) -> Result<()> {
    let deployments = &site.deployments;
    let current = deployments.installed(name)?;
    let mut state = State::load(deployments, name)?;
    state.hold = settings.hold.unwrap_or(state.hold);
    state.keep = settings.keep.or(state.keep);
    state.soak = settings.soak.or(state.soak);
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
