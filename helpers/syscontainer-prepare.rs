//! Prepares a system container to be started: `ExecStartPre=` of every generated unit.
//!
//! Makes the runtime bundle in /run/syscontainers/NAME from the deployment, and removes what a crash left behind. With
//! `--cleanup`, `ExecStopPost=`, only the latter. It may be killed and run again at any time.

use std::fs;
use std::process::ExitCode;

use syscontainers::container::registration::{self, Registration};
use syscontainers::error::{Context, Error, Result};
use syscontainers::name::Name;
use syscontainers::oci::config;
use syscontainers::paths::{RUN, Root};
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::log;
use syscontainers::run::bundle::{self, Bundle, Launch};
use syscontainers::run::scratch;
use syscontainers::run::support::Host;
use syscontainers::system::files;

const PROGRAM: Program = Program {
    name: "syscontainer-prepare",
    usage: "\
Usage: syscontainer-prepare [--cleanup] NAME

Makes the runtime bundle of the container NAME in /run/syscontainers/NAME.
Units call it before every start; see syscontainer-prepare(8).

  --cleanup      remove the bundle and the runtime's state instead
  -h, --help     show this help
  --version      show the version
",
};

struct Args {
    name: Name,
    cleanup: bool,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut name, mut cleanup) = (None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("cleanup") => cleanup = true,
            Value(value) if name.is_none() => name = Some(value.parse()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Run(Args { name: name.ok_or("missing NAME")?, cleanup }))
}

fn run(args: Args) -> Result<()> {
    let name = &args.name;
    let bundle = Bundle::new(name);
    if args.cleanup {
        return bundle.remove(name).context(|| format!("cannot clean up after {name}"));
    }
    prepare(name, &bundle).context(|| format!("cannot prepare {name}"))
}

fn prepare(name: &Name, bundle: &Bundle) -> Result<()> {
    let invocation = std::env::var("INVOCATION_ID").unwrap_or_default();
    if !invocation.is_empty() && fs::read_to_string(bundle.invocation()).is_ok_and(|i| i == invocation) {
        // The template calls it too, perhaps as another user; this start is prepared already.
        return Ok(());
    }
    let found = registration::find(&Root::default(), name)?;
    let (_, registration) = found.ok_or_else(|| {
        Error::new("it is not installed here; install an image with 'syscontainer-checkout'")
    })?;
    check_deployment(&registration)?;
    bundle.remove(name)?;
    let Some(runtime) = &registration.runtime else { return Ok(()) };
    // A crash may have left another kind of state than the bundle tells of.
    runtime.delete(name)?;
    let path = registration.path().join("config.json");
    let text = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let config = config::parse(&text, &path.display().to_string(), registration.run_once)?;
    let stop_signal = config.stop_signal();
    let mut config = bundle::assemble(config, &registration, runtime, bundle)?;
    for dropped in Host::look()?.adapt(&mut config) {
        log::warning(&format!("this host cannot give {name} {dropped}, starting it without"));
    }
    let launch = Launch {
        runtime: runtime.clone(),
        deployment: registration.deployment.clone(),
        notify: registration.notify,
        pid_file: registration.pid_file.clone(),
        stop_signal,
        scratch: registration.run_once.then(|| registration.scratch()),
    };
    for volume in &registration.volumes {
        volume.fill(&registration.rootfs())?;
    }
    files::make_directory(RUN.as_ref(), 0o711)?;
    files::make_directory(bundle.directory(), 0o711)?;
    write(&bundle.config(), &config)?;
    write(&bundle.launch(), &launch)?;
    if let Some(scratch) = &launch.scratch {
        // What a power cut left.
        files::remove_tree(scratch)?;
        scratch::make(&registration.rootfs(), scratch, &bundle.scratch_rootfs())?;
    }
    files::replace_volatile(&bundle.invocation(), invocation.as_bytes(), 0o644)
}

/// systemd runs what the registration says, so both must be of one deployment.
fn check_deployment(registration: &Registration) -> Result<()> {
    let link = registration.link();
    let target = fs::read_link(&link).context(|| format!("cannot read {}", link.display()))?;
    if target.file_name().is_some_and(|current| current == registration.deployment.as_str()) {
        return Ok(());
    }
    Err(Error::new(format!(
        "its unit is of deployment {}, but {} is current; mend the unit with 'systemctl restart syscontainers-reconcile.service'",
        registration.deployment,
        target.display()
    )))
}

fn write(path: &std::path::Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).context(|| format!("cannot write {}", path.display()))?;
    files::replace_volatile(path, &text, 0o600)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
