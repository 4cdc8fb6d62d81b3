//! Prepares the start of a container: `ExecStartPre=` of every generated unit.
//!
//! Makes the runtime bundle in /run/syscontainers/NAME from the deployment, and removes what a crash left behind. With
//! `--cleanup`, in `ExecStopPost=`, it only does the latter; what was written to a root file system is removed with
//! `--forgotten`, in syscontainers-forgotten.service, if it is much. With `--names`, in syscontainers-names.service, it
//! updates the host's names in the bundles that are in use. It may be killed and run again at any time.

use std::ffi::OsStr;
use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use syscontainers::container::deployment::Deployments;
use syscontainers::container::info::Info;
use syscontainers::container::registration::{self, Registration};
use syscontainers::container::{standing, units};
use syscontainers::error::{Context, Error, Result};
use syscontainers::name::Name;
use syscontainers::oci::bundle_config::BundleConfig;
use syscontainers::oci::config;
use syscontainers::paths::{NOTIFY, RUN, Root};
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::run::bundle::{self, Bundle};
use syscontainers::run::confinement::Confinement;
use syscontainers::run::launch::Launch;
use syscontainers::run::sources::{self, Sources};
use syscontainers::run::support::Host;
use syscontainers::run::{
    forgotten, keys, names, rootfs, runtime, selinux, systemd, unit_user, view, volumes, writers,
};
use syscontainers::system::{cgroup, files, notify, privacy, record};

const PROGRAM: Program = Program {
    name: "syscontainer-prepare",
    synopsis: &["[--cleanup] NAME", "--names", "--forgotten"],
    about: "Makes the runtime bundle of the container NAME in /run/syscontainers/NAME. The container's unit \
            runs this before every start.",
    options: &[
        Opt::flag("cleanup", "remove the bundle and the runtime's state instead"),
        Opt::flag("forgotten", "remove what payloads that have ended wrote to their root file systems"),
        Opt::flag(
            "names",
            "update the /etc/hosts and /etc/resolv.conf of running containers that have copies of this host's",
        ),
    ],
    operands: Completes::Container,
    statuses: &[0, 1, 2],
};

/// By how much longer systemd waits for a start each time, while much is copied or removed, and how often it is asked to.
const LONGER: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(300);

enum Args {
    Prepare(Name),
    CleanUp(Name),
    Names,
    Forgotten,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut name, mut cleanup, mut for_all) = (None, false, None);
    for argument in arguments {
        match argument {
            Flag("cleanup") => cleanup = true,
            Flag("names") if for_all.is_none() => for_all = Some(("--names", Args::Names)),
            Flag("forgotten") if for_all.is_none() => for_all = Some(("--forgotten", Args::Forgotten)),
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    match (name, cleanup, for_all) {
        (Some(name), false, None) => Ok(Args::Prepare(name)),
        (Some(name), true, None) => Ok(Args::CleanUp(name)),
        (None, false, Some((_, args))) => Ok(args),
        (None, _, None) => Err("missing NAME".into()),
        (_, _, Some((option, _))) => {
            Err(format!("{option} is for all containers, and takes neither NAME nor --cleanup").into())
        }
    }
}

fn run(args: Args) -> Result<()> {
    let root = Root::default();
    match &args {
        Args::Names => names::update::run(&root),
        Args::Forgotten => forgotten::remove_all(&root),
        Args::Prepare(name) => {
            prepare(name, &Bundle::new(&root, name)).context(|| format!("cannot prepare {name}"))
        }
        Args::CleanUp(name) => {
            let bundle = Bundle::new(&root, name);
            if let Err(e) = bundle.pipes().drain() {
                log::warning(&format!("some output of {name} may be missing: {e}"));
            }
            bundle.remove(name).context(|| format!("cannot clean up after {name}"))
        }
    }
}

/// Has what a crash or a shutdown left be removed. Where a container has a limit, no more than that much is left of its
/// earlier runs when the next one begins.
fn remove_forgotten(root: &Root, registration: &Registration) -> Result<()> {
    let scratch = root.join(&registration.scratch());
    let left = scratch.parent().map(forgotten::found).transpose()?.unwrap_or_default();
    if left.is_empty() {
        return Ok(());
    }
    forgotten::begin_removal(root);
    if registration.execution.scratch_size.is_none() {
        return Ok(());
    }
    let own = left.iter().filter(|(name, _)| *name == registration.name);
    // That of the last run, so that nobody waits for it at an update.
    let too_many: Vec<_> = own.map(|(_, path)| path).skip(1).collect();
    if too_many.is_empty() {
        Ok(())
    } else {
        patiently(|| too_many.into_iter().try_for_each(|path| forgotten::remove(path)))
    }
}

/// Has systemd wait longer for this start.
fn extend_timeout() {
    if notify::is_expected() {
        // Only this much is at stake if systemd does not answer.
        let _ = notify::send(&format!("EXTEND_TIMEOUT_USEC={}", LONGER.as_micros()));
    }
}

/// Makes volumes. Copying what the image has may take longer than a start, and a start that is ended begins anew the next
/// time; how much there may be is limited.
fn make_volumes(root: &Root, registration: &Registration) -> Result<()> {
    let (name, all) = (&registration.name, registration.execution.volumes.as_slice());
    if all.is_empty() {
        return Ok(());
    }
    let make = || volumes::make(root, name, all, &root.join(&registration.rootfs()));
    // What is wrong there is said by who makes them.
    let made = volumes::made(root, name).unwrap_or_default();
    if all.iter().all(|volume| made.contains(OsStr::new(&volume.file_name()))) {
        return make();
    }
    patiently(make)
}

/// Does what may take longer than a start, for which systemd waits.
fn patiently<T>(work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        // Closed at the end, whatever that is.
        let (_running, end) = mpsc::channel::<()>();
        scope.spawn(move || {
            extend_timeout();
            while end.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {
                extend_timeout();
            }
        });
        work()
    })
}

/// Whether this start is prepared already: the image's unit calls this, too.
fn is_prepared(name: &Name, bundle: &Bundle, invocation: &str) -> bool {
    if !invocation.is_empty() && fs::read_to_string(bundle.invocation()).is_ok_and(|i| i == invocation) {
        return true;
    }
    // The unit's first command, which ran as root, did it, and another user cannot look.
    !nix::unistd::geteuid().is_root() && cgroup::is_in(&name.unit())
}

/// Only the unit itself knows that what is left of its last run has to go.
fn check_not_running(name: &Name, bundle: &Bundle) -> Result<()> {
    if cgroup::is_in(&name.unit()) { Ok(()) } else { bundle.check_not_running(name) }
}

fn prepare(name: &Name, bundle: &Bundle) -> Result<()> {
    let invocation = std::env::var("INVOCATION_ID").unwrap_or_default();
    if is_prepared(name, bundle, &invocation) {
        return Ok(());
    }
    check_not_running(name, bundle)?;
    let root = Root::default();
    let (_, registration) = registration::find(&root, name)?.ok_or_else(|| {
        Error::new("it is not installed here; install an image with 'syscontainer-checkout'")
    })?;
    check(&root, &registration)?;
    make_deployments(&root, &registration)?;
    bundle.remove(name)?;
    remove_forgotten(&root, &registration)?;
    let Some(runtime) = &registration.execution.runtime else { return Ok(()) };
    // A crash may have left state of a runtime that no bundle names.
    runtime::delete(runtime, name)?;
    let path = root.join(&registration.path().join("config.json"));
    let text = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let mut config = config::parse(&text, &path.display().to_string(), registration.execution.has_scratch())?;
    let stop_signal = registration.execution.stop_signal.or(config.stop_signal());
    sources::check(&root, &registration, &config)?;
    let is_trusted = !registration.execution.confined;
    let info = (!is_trusted).then(|| Info::read(&root.join(&registration.path()))).transpose()?;
    let ours = info.as_ref().and_then(Info::ours);
    let untrusted = writers::find(&root, &registration, &config, ours.map(|ours| &ours.settings))?;
    let sources = Sources::of(&root, &config, &untrusted, is_trusted)?;
    writers::record(&root, &registration, &config, &untrusted)?;
    sources.redirect(&mut config);
    let (shown_rootfs, notify_socket) = bundle::passages(&config, &registration, bundle)?;
    let mut config = bundle::assemble(config, &registration, runtime, (bundle, notify_socket.as_ref()))?;
    let label = confine(&root, &registration, &mut config)?;
    ours.map(|ours| keys::apply(&root, ours, &untrusted, &mut config)).transpose()?;
    make_volumes(&root, &registration)?;
    sources.make(&root)?;
    let mut launch = Launch {
        runtime: runtime.clone(),
        deployment: registration.deployment.clone(),
        notify: registration.execution.notify,
        is_task: units::is_task(&registration),
        systemd: registration.execution.systemd,
        pid_file: registration.execution.pid_file.clone(),
        stop_signal,
        overlay: rootfs::overlay(&registration, label.as_deref()),
        shown_rootfs,
        sources: sources.into_nested(),
        notify_socket,
        mounts: None,
        additions: Vec::new(),
        output: registration.execution.output,
    };
    label.as_ref().map_or(Ok(()), |label| label_volumes(&root, &registration, label))?;
    make_directories(&root, bundle)?;
    make_pipes(&root, &launch, bundle, label.as_deref())?;
    // Whatever becomes of this process, the next one knows what there is to remove.
    record::save_volatile(&bundle.launch(), &launch)?;
    let mounts = (&mut config, launch.sources.as_slice());
    launch.notify_socket.as_ref().map_or(Ok(()), |socket| bundle.make_socket_directory(socket))?;
    let made = rootfs::make(&root, &registration, bundle, mounts, launch.overlay.as_ref())?;
    (launch.mounts, launch.additions) = (made.mounts, made.additions);
    record::save_volatile(&bundle.launch(), &launch)?;
    record::save_volatile(&bundle.config(), &config)?;
    files::replace_volatile(&bundle.invocation(), invocation.as_bytes(), 0o600)
}

/// Makes the directory that changes to files of a preinstalled container are kept in: where /var is empty, nothing else has.
fn make_deployments(root: &Root, registration: &Registration) -> Result<()> {
    if registration.is_preinstalled() { Deployments::new(root).create() } else { Ok(()) }
}

/// Makes the pipes for the payload's output, if that is to be one.
fn make_pipes(root: &Root, launch: &Launch, bundle: &Bundle, label: Option<&str>) -> Result<()> {
    if launch.output.is_journal() {
        return Ok(());
    }
    let pipes = bundle.pipes();
    pipes.make()?;
    let mut paths = label.iter().flat_map(|label| pipes.paths().map(|path| (path, *label)));
    paths.try_for_each(|(path, label)| selinux::label(root, path, label))
}

fn label_volumes(root: &Root, registration: &Registration, label: &str) -> Result<()> {
    let volumes = registration.execution.volumes.iter();
    let mut directories = volumes.map(|volume| root.join(&volume.directory(&registration.name)));
    directories.try_for_each(|directory| selinux::label(root, &directory, label))
}

/// Makes the directory of the bundle, and those that others may enter, since nothing of a container but a socket is in
/// them.
fn make_directories(root: &Root, bundle: &Bundle) -> Result<()> {
    files::make_directory(&root.join(RUN), 0o711)?;
    files::make_directory(&root.join(NOTIFY), 0o711)?;
    files::make_directory(&root.join(view::ROOTFS), 0o755)?;
    files::make_directory(&root.join(sources::SOURCES), 0o755)?;
    privacy::make(bundle.directory())
}

/// Adapts a configuration to the host: adds what confines the payload, if the host is to say so, and the ID that systemd has
/// here, and removes what is not supported. Returns the SELinux label that the payload's files need, if any.
fn confine(root: &Root, registration: &Registration, config: &mut BundleConfig) -> Result<Option<String>> {
    let (host, name) = (Host::look(root)?, &registration.name);
    let mut label = None;
    if registration.execution.confined {
        let execution = &registration.execution;
        let which = (name, execution.categories, execution.systemd);
        let confinement = Confinement::look(root, &host, which, config)?;
        confinement.apply(config)?;
        label = confinement.file_label().map(str::to_owned);
    }
    if registration.execution.systemd {
        systemd::identify(root, name, config)?;
    }
    for dropped in host.adapt(config)? {
        log::warning(&format!("this host does not support {dropped}, starting {name} without it"));
    }
    Ok(label)
}

fn check(root: &Root, registration: &Registration) -> Result<()> {
    check_deployment(root, registration)?;
    standing::check_identity(root, registration)?;
    registration.execution.runtime.as_ref().map_or(Ok(()), |_| unit_user::check(registration))
}

/// systemd runs the registered deployment, so the link must lead to the same one.
fn check_deployment(root: &Root, registration: &Registration) -> Result<()> {
    let mut link = root.join(&registration.link());
    let own = Deployments::new(root).link(&registration.name);
    if registration.is_preinstalled() && own.is_symlink() {
        // An update of it is current.
        link = own;
    }
    let target = fs::read_link(&link).context(|| format!("cannot read {}", link.display()))?;
    if target.file_name().is_some_and(|current| current == registration.deployment.to_string().as_str()) {
        return Ok(());
    }
    Err(Error::new(format!(
        "its unit belongs to deployment {}, but {} is current; repair the unit with 'systemctl restart syscontainers-reconcile.service'",
        registration.deployment,
        target.display()
    )))
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
