//! Mends the units of all containers, once per boot: syscontainers-reconcile.service.
//!
//! Units and registrations are on the root file system, deployments on /var, and each may be from another time: after a
//! rollback of the host, a factory reset, a power cut. Units of containers are ordered after this, and so are started as
//! they are mended.

use std::process::ExitCode;

use syscontainers::container::stale;
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
use syscontainers::update::switcher::Switcher;

const PROGRAM: Program = Program {
    name: "syscontainer-reconcile",
    synopsis: &["[--root=DIR]"],
    about: "Makes the units of all containers those of their current deployments, and has systemd reload \
            them if any was another. Runs once per boot.",
    options: &[Opt::root("work on the tree below DIR")],
    operands: Completes::Nothing,
    statuses: &[0, 1, 2],
};

fn parse(arguments: Vec<Argument>) -> Result<Root, lexopt::Error> {
    let mut root = Root::default();
    for argument in arguments {
        match argument {
            Valued("root", value) => root = Root::new(value),
            other => return Err(other.unexpected()),
        }
    }
    Ok(root)
}

fn run(root: Root) -> Result<()> {
    let site = Site::new(&root);
    let found = recovery::find(&site.deployments)?;
    let (mut total, mut failed, mut unconfirmed) = (Recovered::default(), false, Vec::new());
    for name in &found.names {
        match recover(&site, name, &found, &mut unconfirmed).and_then(|()| mend(&site, name, &found)) {
            Ok(done) => {
                total.changed |= done.changed;
                total.created |= done.created;
            }
            Err(e) => {
                log::error(&e.to_string());
                failed = true;
            }
        }
    }
    if total.changed {
        site.manager.reload()?;
    }
    if !unconfirmed.is_empty() {
        site.manager.queue(Verb::Start, &unconfirmed)?;
    }
    let is_booting = || Ok::<_, Error>(site.manager.system_state()? == SystemState::Starting);
    if total.created && site.manager.is_running() && is_booting()? {
        // The boot goes on with units that were not there when it began, and with what requires them.
        site.manager.queue(Verb::Start, &["default.target".to_owned()])?;
    }
    if failed { Err(Error::new("cannot mend all containers, see the messages above")) } else { Ok(()) }
}

/// What an update that power cut short left behind. Where the update is under way, it is nobody else's affair.
fn recover(site: &Site, name: &Name, found: &Found, unconfirmed: &mut Vec<String>) -> Result<()> {
    if !found.states.contains(name) || !site.manager.is_running() {
        return Ok(());
    }
    let Some(_lock) = lock::try_container(site.root(), name)? else { return Ok(()) };
    if (Switcher { site, name }).recover_at_boot()? {
        unconfirmed.push(format!("syscontainer-confirm@{name}.service"));
    }
    Ok(())
}

fn mend(site: &Site, name: &Name, found: &Found) -> Result<Recovered> {
    let done = recovery::reconcile(site, name, found)?;
    if let Some(why) = stale::reason(site.root(), name) {
        log::warning(&format!("cannot mend {name}: {why}"));
    }
    if done.created {
        recovery::enable(site, name)?;
    }
    Ok(done)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
