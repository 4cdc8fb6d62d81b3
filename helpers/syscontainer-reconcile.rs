//! Repairs the units of all containers, once per boot: syscontainers-reconcile.service.
//!
//! Units and registrations are on the root file system and deployments on /var, and the two may be from different
//! points in time: after a rollback of the host, a factory reset or a power failure. Units of containers are ordered
//! after this, and so only start once they are repaired.

use std::collections::BTreeMap;
use std::process::ExitCode;

use syscontainers::container::stale;
use syscontainers::declaration::files::{self, Source};
use syscontainers::error::{Error, Result};
use syscontainers::install::recovery::{self, Found, Recovered};
use syscontainers::install::site::Site;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::system::lock;
use syscontainers::system::systemd::manager::{SystemState, Verb};
use syscontainers::system::tree;
use syscontainers::update::switcher::Switcher;

const PROGRAM: Program = Program {
    name: "syscontainer-reconcile",
    synopsis: &["[--adopt] [--root=DIR]"],
    about: "Repairs the units of all containers that do not match their current deployments, and makes \
            systemd reload them. Runs once per boot.",
    options: &[
        Opt::flag(
            "adopt",
            "take the directory of deployments for the one that containers were installed in, though it is another one",
        ),
        Opt::root("work on the tree below DIR"),
    ],
    operands: Completes::Nothing,
    statuses: &[0, 1, 2],
};

#[derive(Default)]
struct Args {
    adopts: bool,
    root: Root,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let mut args = Args::default();
    for argument in arguments {
        match argument {
            Flag("adopt") => args.adopts = true,
            Valued("root", value) => args.root = tree::open(value)?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(args)
}

fn run(Args { adopts, root }: Args) -> Result<()> {
    let site = Site::new(&root);
    let mut found = recovery::find(&site.deployments)?;
    found.adopts = adopts;
    let declared = files::list(&root).found;
    let (mut has_changed, mut has_new_units) = (false, false);
    let (mut failed, mut unconfirmed) = (false, Vec::new());
    for name in &found.names {
        match recover(&site, name, &found, &mut unconfirmed).and_then(|()| repair(&site, name, &found)) {
            Ok(done) => {
                has_new_units |= done.created || tell_if_gone(&site, name, &declared);
                has_changed |= done.changed;
            }
            Err(e) => {
                log::error(&e.to_string());
                failed = true;
            }
        }
    }
    if has_changed {
        site.manager.reload()?;
    }
    if !unconfirmed.is_empty() {
        site.manager.queue(Verb::Start, &unconfirmed)?;
    }
    let is_booting = || Ok::<_, Error>(site.manager.system_state()? == SystemState::Starting);
    if has_new_units && site.manager.is_running() && is_booting()? {
        // Adds units to the boot that did not exist when it began, and units that require them.
        site.manager.queue(Verb::Start, &["default.target".to_owned()])?;
    }
    if failed { Err(Error::new("cannot repair all containers, see the messages above")) } else { Ok(()) }
}

/// Recovers from an update that was interrupted, by a power failure for example. One that is in progress is left alone.
fn recover(site: &Site, name: &Name, found: &Found, unconfirmed: &mut Vec<String>) -> Result<()> {
    if !found.states.contains(name) || !site.manager.is_running() || found.elsewhere(site, name)?.is_some() {
        return Ok(());
    }
    let Some(_lock) = lock::try_container(site.root(), name)? else { return Ok(()) };
    if (Switcher { site, name }).recover_at_boot()? {
        unconfirmed.push(format!("syscontainer-confirm@{name}.service"));
    }
    Ok(())
}

/// Tells that a container's deployments are gone, or that nothing is known of them. Returns whether a declaration has it
/// installed again: then it is the generator that wants that.
fn tell_if_gone(site: &Site, name: &Name, declared: &BTreeMap<Name, Source>) -> bool {
    let Some(note) = stale::read(site.root(), name) else { return false };
    match declared.get(name).filter(|_| note.gone) {
        Some(source) => {
            log::info(&format!("the deployments of {name} are gone; {} installs it again", source.path))
        }
        None => log::warning(&format!("cannot repair {name}: {}", note.why)),
    }
    note.gone && declared.contains_key(name)
}

fn repair(site: &Site, name: &Name, found: &Found) -> Result<Recovered> {
    let done = recovery::reconcile(site, name, found)?;
    if done.created {
        recovery::enable(site, name)?;
    }
    Ok(done)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
