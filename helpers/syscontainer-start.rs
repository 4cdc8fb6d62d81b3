//! Starts a prepared container: what `$EXEC_START` expands to.
//!
//! Creates the container, makes its payload the main process of the unit (`MAINPID=`), starts it and exits. If the unit
//! is not up with that, but when the payload is ready or, as a task, gone, this is the main process until then, see
//! [`syscontainers::run::parent`]. Run from a shell, it stays in the foreground instead.
//!
//! If this process were killed between hand-over and start, the unit would be active with nothing running in it. So a
//! second process, `--finish`, reads from a pipe: once it knows that the hand-over began, it starts the payload when
//! the pipe is closed, whatever closed it.

use std::io::{Read, Write};
use std::process::{Child, ExitCode, Stdio};

use syscontainers::container::readiness::Notify;
use syscontainers::container::runtime::RuntimeKind;
use syscontainers::error::{Context, Error, Result};
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::run::bundle::Bundle;
use syscontainers::run::launch::Launch;
use syscontainers::run::{foreground, limits, parent, runtime, starting};
use syscontainers::system::cgroup;
use syscontainers::system::command;
use syscontainers::system::lock;
use syscontainers::system::notify;
use syscontainers::system::notify::proxy::{Proxy, Relay};
use syscontainers::system::notify::sender::Unit;

const PROGRAM: Program = Program {
    name: "syscontainer-start",
    synopsis: &["NAME"],
    about: "Starts the container NAME, which syscontainer-prepare has prepared. Under systemd it exits once \
            the payload is the unit's main process; run from a shell, it waits for the payload and exits with \
            its exit status.",
    options: &[
        Opt::flag("finish", "start the payload once standard input ends").hidden(),
        Opt::flag("parent", "be the parent of the payload").hidden(),
    ],
    operands: Completes::Container,
    statuses: &[0, 1, 2],
};

/// Which of the processes of a start this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    Finisher,
    Parent,
}

struct Args {
    name: Name,
    part: Part,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut name, mut part) = (None, Part::First);
    for argument in arguments {
        match argument {
            Flag("finish") => part = Part::Finisher,
            Flag("parent") => part = Part::Parent,
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Args { name: name.ok_or("missing NAME")?, part })
}

fn run(args: Args) -> Result<()> {
    let name = &args.name;
    let bundle = Bundle::new(&Root::default(), name);
    let what = || format!("cannot start {name}");
    let load = || {
        let launch = bundle.load()?;
        launch.ok_or_else(|| Error::new(format!("it is not prepared; use 'systemctl start {name}'")))
    };
    let launch = load().context(what)?;
    match args.part {
        Part::First => {}
        Part::Finisher => return finish(name, &bundle, &launch),
        Part::Parent => return parent::be(name, &bundle, &launch).context(what),
    }
    // Another one that runs in the foreground has the lock until it ends.
    bundle.check_not_running(name).context(what)?;
    let _lock = lock::start(&bundle.lock()).context(what)?;
    // It may have been started, or have ended, while this waited.
    bundle.check_not_running(name).context(what)?;
    let launch = load().context(what)?;
    let socket = launch.notify_socket.as_ref().map(|path| Root::default().join(path));
    let proxy = socket.map(|path| Proxy::bind(&path)).transpose().context(what)?;
    if notify::is_expected() {
        under_systemd(name, &bundle, &launch, proxy).context(what)
    } else if launch.systemd {
        let why = format!("systemd as a payload needs a cgroup of its own; use 'systemctl start {name}'");
        Err(Error::new(why)).context(what)
    } else {
        let status = foreground::run(name, &bundle, &launch).context(what)?;
        std::process::exit(status)
    }
}

fn under_systemd(name: &Name, bundle: &Bundle, launch: &Launch, proxy: Option<Proxy>) -> Result<()> {
    if launch.systemd || launch.runtime.kind == RuntimeKind::Runc {
        limits::set_cgroup(bundle, &cgroup::make_room()?, launch.systemd)?;
    }
    // What fails here fails before there is a payload, whose unit would wait for it.
    warn_of_watchdog(name, launch);
    let relay = proxy.as_ref().map(|_| Unit::own()).transpose()?.map(Relay::new);
    if launch.is_task || proxy.is_some() {
        return starting::run(name, bundle, launch, proxy.zip(relay), command::again("--parent", name)?);
    }
    // Before the container is created, so that the start does not wait for this process.
    let mut finisher = spawn_finisher(name)?;
    let payload = match bundle.create_payload(name, launch) {
        Ok(payload) => payload,
        Err(e) => {
            end(&mut finisher)?;
            // The rest of it must not look like a container.
            runtime::delete(&launch.runtime, name)?;
            return Err(e);
        }
    };
    let handed_over = hand_over(launch, payload.id(), finisher);
    if let Err(e) = handed_over {
        // This is the main process again, so that the unit fails with its exit status instead of the payload's.
        notify::send(&format!("MAINPID={}", std::process::id()))?;
        runtime::delete(&launch.runtime, name)?;
        return Err(e);
    }
    Ok(())
}

/// systemd sets the variable for a unit with `WatchdogSec=`. That of an image is not in its unit, but that of a drop-in is.
fn warn_of_watchdog(name: &Name, launch: &Launch) {
    if launch.notify != Notify::Socket && std::env::var_os("WATCHDOG_USEC").is_some() {
        log::warning(&format!(
            "a drop-in of {name}.service has WatchdogSec=, but keep-alive messages cannot leave the PID namespace of the payload: systemd will end it; remove that line, or give the payload systemd's own socket with --notify=full"
        ));
    }
}

/// Makes the payload the unit's main process, then lets the second process start it.
fn hand_over(launch: &Launch, pid: i32, mut finisher: Child) -> Result<()> {
    let ready = if launch.notify == Notify::Created { "\nREADY=1" } else { "" };
    let mut pipe = finisher.stdin.take();
    if let Some(pipe) = &mut pipe {
        pipe.write_all(b"1").context(|| "cannot reach the second process".into())?;
    }
    // READY comes before the start, since afterwards it would be too late for a payload that ends at once.
    if let Err(e) = notify::send(&format!("MAINPID={pid}{ready}")) {
        end(&mut finisher)?;
        return Err(e);
    }
    if let Some(pipe) = &mut pipe {
        pipe.write_all(b"2").context(|| "cannot reach the second process".into())?;
    }
    drop(pipe);
    match finisher.wait().context(|| "cannot wait for the second process".into())? {
        status if status.success() => Ok(()),
        _ => Err(Error::new(format!(
            "{} failed to run the payload; see its own messages",
            launch.runtime.path
        ))),
    }
}

fn spawn_finisher(name: &Name) -> Result<Child> {
    let what = || "cannot run a second process".to_string();
    command::again("--finish", name)?.stdin(Stdio::piped()).spawn().context(what)
}

fn end(finisher: &mut Child) -> Result<()> {
    finisher.kill().and_then(|()| finisher.wait()).context(|| "cannot end the second process".into())?;
    Ok(())
}

/// The second process: starts the payload when the first process is done or dead.
fn finish(name: &Name, bundle: &Bundle, launch: &Launch) -> Result<()> {
    let mut told = Vec::new();
    std::io::stdin().read_to_end(&mut told).context(|| "cannot read standard input".into())?;
    if told.is_empty() {
        // There was no hand-over: the unit fails with the first process.
        return Ok(());
    }
    // If systemd was not told, it must not learn of the payload now, as that of a service that never gets ready.
    if let (2.., Some(payload)) = (told.len(), bundle.payload()?) {
        bundle.set_main_process(payload.id())?;
    }
    command::succeed(&mut runtime::start(&launch.runtime, name))
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
