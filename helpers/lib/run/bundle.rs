//! The runtime bundle of one start: `/run/syscontainers/NAME`.
//!
//! `config.json` is the deployment's configuration, adapted to today's runtimes; `launch.json` is what start and stop
//! need to know. Only prepare writes them, and only root can enter the directory: the configuration may hold secrets. A socket that has to be reached by its path on the host is elsewhere.
//!
//! What this host confines payloads with is looked up at every start ([`crate::run::confinement`]). The root file system of
//! a plain image is an overlay ([`crate::run::scratch`]) with the deployment as its lower part: nothing is ever made in
//! that, neither mount points nor the files for the host's names, which are copies beside the upper part
//! ([`crate::run::names`]). Paths of the host that may lead through what payloads write to ([`crate::run::writers`]) are found
//! and opened without following a symlink ([`crate::system::untrusted`]). What is to be mounted is computed from the image's
//! files, and compared with what the runtime mounted ([`crate::run::mount_check`]). `prepare` itself mounts nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::container::output::Output;
use crate::container::readiness::Notify;
use crate::container::registration::Registration;
use crate::container::runtime::{Runtime, RuntimeKind};
use crate::digest;
use crate::error::{Context, Error, Result};
use crate::name::{Deployment, Name};
use crate::oci::bundle_config::BundleConfig;
use crate::oci::config::Normalised;
use crate::paths::{self, Root, TreePath};
use crate::program::log;
use crate::run::forgotten;
use crate::run::launch::Launch;
use crate::run::names::copies::Copies;
use crate::run::output::{Pipes, Streams};
use crate::run::runtime;
use crate::run::scratch::Overlay;
use crate::run::view::{self, View};
use crate::run::written::Written;
use crate::system::command::succeed;
use crate::system::process::Process;
use crate::system::{cgroup, files, random, record};

/// systemd's notification socket.
pub const SYSTEMD_NOTIFY: &str = "/run/systemd/notify";
/// Where a payload finds its notification socket, as in containers of systemd-nspawn.
pub const PAYLOAD_NOTIFY: &str = "/run/host/notify";

/// Name of the socket in its directory.
pub(super) const SOCKET: &str = "notify";
/// And where the payload of a plain image does: what it can write to is in no way that leads there.
const PLAIN_NOTIFY: &str = "/dev/notify";
/// The variable by which it knows.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The runtime bundle of one container.
pub struct Bundle {
    root: Root,
    directory: PathBuf,
}

impl Bundle {
    /// The bundle of a container, whether it exists or not. Unpacked trees never have one.
    pub fn new(root: &Root, name: &Name) -> Self {
        Bundle { root: root.clone(), directory: root.join(&paths::bundle(name)) }
    }

    /// The directory that runtimes get as `--bundle`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Path of the runtime configuration.
    pub fn config(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// Path of the file that holds a [`Launch`].
    pub fn launch(&self) -> PathBuf {
        self.directory.join("launch.json")
    }

    /// Path of the file that the runtime writes the payload's process ID to, when it creates the container.
    pub fn pid_file(&self) -> PathBuf {
        self.directory.join("pid")
    }

    /// Path of the file that is locked while a start is in progress.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Writes which process is the main one of the unit, or will be when the payload is gone. systemd reads that when
    /// the main process ends, and after `ExecStartPost=` and `ExecReload=`.
    pub fn set_main_process(&self, pid: i32) -> Result<()> {
        let path = self.directory.join(paths::MAIN_PROCESS);
        files::replace_volatile(&path, format!("{pid}\n").as_bytes(), 0o644)
    }

    /// Path of the notification socket for a payload with its own PID namespace. One that sees the host's /run connects
    /// to it there, as any user; for all others, the runtime mounts it. No other user of the host is to find it, who would keep
    /// the payload waiting by what he sends: so nobody can guess the directory, or list the one that it is in.
    fn notify(&self, sees_host_run: bool) -> Result<TreePath> {
        if !sees_host_run {
            return Ok(self.root.inside(&self.directory.join(SOCKET)));
        }
        let secret = digest::hex(&random::bytes::<16>()?);
        Ok(TreePath::from(paths::NOTIFY).join(secret).join(SOCKET))
    }

    /// Makes the directory of that socket.
    pub fn make_socket_directory(&self, socket: &TreePath) -> Result<()> {
        let directory = socket.parent().filter(is_secret);
        directory.map_or(Ok(()), |directory| files::make_directory(&self.root.join(&directory), 0o711))
    }

    fn remove_socket(&self, socket: &TreePath) -> Result<()> {
        files::remove_file(&self.root.join(socket)).context(|| format!("cannot remove {socket}"))?;
        let directory = socket.parent().filter(is_secret);
        directory.map_or(Ok(()), |directory| files::remove_tree(&self.root.join(&directory)))
    }

    /// Where a scratch root file system is mounted.
    pub fn scratch_rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Path of the file with the invocation of the unit that the bundle was prepared for.
    pub fn invocation(&self) -> PathBuf {
        self.directory.join("invocation")
    }

    /// Reads `launch.json`; `None` if no start is prepared.
    pub fn load(&self) -> Result<Option<Launch>> {
        record::load(&self.launch(), "stop the service, and start it again")
    }

    /// The deployment that the bundle was prepared from; `None` if no start is prepared.
    pub fn deployment(&self) -> Result<Option<Deployment>> {
        Ok(self.load()?.map(|launch| launch.deployment))
    }

    /// The pipes for the payload's output.
    pub fn pipes(&self) -> Pipes {
        Pipes::new(&self.directory)
    }

    /// Has the runtime create the container, whose payload prints to `streams`.
    pub fn create(&self, name: &Name, launch: &Launch, streams: Streams) -> Result<()> {
        self.view(launch).with(&self.root, || self.create_here(name, launch, streams))
    }

    fn view<'a>(&self, launch: &'a Launch) -> View<'a> {
        View {
            overlay: launch.overlay.as_ref().map(|overlay| (overlay, self.scratch_rootfs())),
            rootfs: launch.shown_rootfs.as_ref(),
            sources: &launch.sources,
        }
    }

    /// Has the runtime create the container in the mount namespace that this is in.
    fn create_here(&self, name: &Name, launch: &Launch, streams: Streams) -> Result<()> {
        let rootfs = self.scratch_rootfs();
        launch.additions.iter().try_for_each(|addition| addition.make(&rootfs))?;
        let mut create = runtime::create(&launch.runtime, name, &self.directory, &self.pid_file());
        streams.set(&mut create);
        // crun leaves the payload where it was started itself.
        if launch.systemd && launch.runtime.kind == RuntimeKind::Crun {
            cgroup::in_payload(|| succeed(&mut create))
        } else {
            succeed(&mut create)
        }
    }

    /// Has the runtime create the container, and records its payload wherever that is looked for. This process stays in the
    /// mount namespace that the runtime has: the kernel takes its time to end one, which nobody waits for at the end.
    pub fn create_payload(&self, name: &Name, launch: &Launch) -> Result<Process> {
        let streams = match launch.output {
            Output::Journal => Streams::default(),
            Output::Pipe => self.pipes().connect(name)?,
        };
        self.view(launch).enter(&self.root)?;
        self.create_here(name, launch, streams)?;
        let payload = self.record_payload()?;
        launch.mounts.as_ref().map_or(Ok(()), |expected| expected.check(payload.id()))?;
        if let Some(path) = &launch.pid_file {
            files::replace_volatile(&self.root.join(path), format!("{}\n", payload.id()).as_bytes(), 0o644)?;
        }
        Ok(payload)
    }

    /// Opens the process of the payload that the runtime just created, and records it for [`Bundle::payload`].
    pub fn record_payload(&self) -> Result<Process> {
        let path = self.pid_file();
        let what = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(&path).context(what)?;
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| Error::new("it contains no process ID")).context(what)?;
        let process =
            Process::open(pid)?.ok_or_else(|| Error::new(format!("process {pid} is gone already")))?;
        let record = format!("{pid} {}\n", process.start_time()?);
        files::replace_volatile(&self.payload_record(), record.as_bytes(), 0o600)?;
        Ok(process)
    }

    /// The payload's process; `None` if it is gone, even if another process has its ID now.
    pub fn payload(&self) -> Result<Option<Process>> {
        let Ok(record) = fs::read_to_string(self.payload_record()) else { return Ok(None) };
        let Some((pid, start_time)) = record.trim().split_once(' ') else { return Ok(None) };
        let Some(process) = pid.parse().ok().map(Process::open).transpose()?.flatten() else {
            return Ok(None);
        };
        Ok(process.start_time().is_ok_and(|t| t.to_string() == start_time).then_some(process))
    }

    /// Fails while the payload runs: another start would fail as well, and what it clears away then is the running container's.
    pub fn check_not_running(&self, name: &Name) -> Result<()> {
        match self.payload()? {
            Some(payload) => Err(Error::new(format!(
                "it is running already, as process {}; stop it with 'systemctl stop {name}', or end that process",
                payload.id()
            ))),
            None => Ok(()),
        }
    }

    fn payload_record(&self) -> PathBuf {
        self.directory.join("payload")
    }

    /// Removes the bundle and everything else that belongs to the start. What the payload wrote to its root file system, unless
    /// it is little, is removed later, see [`forgotten`].
    pub fn remove(&self, name: &Name) -> Result<()> {
        let mut overlay = None;
        if let Some(launch) = self.load()? {
            runtime::delete(&launch.runtime, name)?;
            if let Some(path) = &launch.pid_file {
                files::remove_file(&self.root.join(path)).context(|| format!("cannot remove {path}"))?;
            }
            launch.notify_socket.as_ref().map_or(Ok(()), |socket| self.remove_socket(socket))?;
            overlay = launch.overlay;
        }
        // Nobody waits for what follows.
        if let Some(overlay) = overlay {
            self.forget(name, &self.root.join(&overlay.scratch))?;
        } else {
            Copies::forget(&self.directory)?;
        }
        files::remove_tree(&self.directory)
    }

    fn forget(&self, name: &Name, scratch: &Path) -> Result<()> {
        // What cannot be looked at is not known to be little.
        let written = Written::find(scratch, &self.directory).ok().flatten();
        if let Some(written) = written.filter(|written| written.bytes > 0) {
            log::info(&format!("{name} wrote {written} to its root file system, which is forgotten"));
        }
        Copies::forget(&self.directory)?;
        Overlay::unmount(&self.scratch_rootfs())?;
        let Some(left) = forgotten::forget(scratch)? else { return Ok(()) };
        if !written.is_some_and(Written::is_little) || !forgotten::try_remove(left)? {
            forgotten::begin_removal(&self.root);
        }
        Ok(())
    }
}

/// Turns the configuration of a deployment into that of a bundle.
pub fn assemble(
    mut config: Normalised,
    registration: &Registration,
    runtime: &Runtime,
    (bundle, notify_socket): (&Bundle, Option<&TreePath>),
) -> Result<BundleConfig> {
    // They are relative to the bundle, which used to be the deployment.
    config.anchor_bind_sources(registration.path().as_path());
    let sees_host_run = sees_host_run(&config);
    let is_shown = config.has_user_namespace();
    let mut config = BundleConfig::from(config);
    let rootfs = rootfs(registration, bundle);
    if is_shown {
        show_sources(&mut config, &rootfs)?;
    }
    let path = if is_shown { Path::new(view::ROOTFS) } else { &rootfs };
    config.set_root(path)?;
    let linux = config.linux_mut()?;
    linux.remove("resources");
    // The payload runs in the unit's cgroup; for runc, `syscontainer-start` sets the path below it.
    linux.remove("cgroupsPath");
    if runtime.kind == RuntimeKind::Runc {
        // runc denies devices that are not listed. The rules of the unit's cgroup, which is above, hold all the same.
        linux.insert("resources".into(), json!({"devices": [{"allow": true, "access": "rwm"}]}));
    }
    let place = if registration.execution.confined { PLAIN_NOTIFY } else { PAYLOAD_NOTIFY };
    let place = (!sees_host_run).then_some(place);
    match (registration.execution.notify, notify_socket) {
        (Notify::Ready, Some(socket)) => add_notify_socket(&mut config, socket.as_path(), place)?,
        (Notify::Socket, _) => add_notify_socket(&mut config, Path::new(SYSTEMD_NOTIFY), place)?,
        _ => config.unset_variable(NOTIFY_SOCKET)?,
    }
    Ok(config)
}

/// The root file system that the runtime gets. runc refuses a symlink; if the directory does not exist, the runtime
/// reports that.
fn rootfs(registration: &Registration, bundle: &Bundle) -> PathBuf {
    let rootfs = if registration.execution.has_scratch() {
        bundle.scratch_rootfs()
    } else {
        bundle.root.join(&registration.rootfs())
    };
    rootfs.canonicalize().unwrap_or(rootfs)
}

/// Bind sources in a root file system that is shown elsewhere are there, too.
fn show_sources(config: &mut BundleConfig, rootfs: &Path) -> Result<()> {
    for source in config.mounts_mut()?.iter_mut().filter_map(|mount| mount.get_mut("source")) {
        let below = source.as_str().and_then(|path| Path::new(path).strip_prefix(rootfs).ok());
        if let Some(below) = below.map(Path::to_path_buf) {
            *source = json!(Path::new(view::ROOTFS).join(below).to_string_lossy());
        }
    }
    Ok(())
}

/// What is to be mounted at [`view::ROOTFS`] while the runtime runs, and the socket that the payload notifies.
pub fn passages(
    config: &Normalised,
    registration: &Registration,
    bundle: &Bundle,
) -> Result<(Option<TreePath>, Option<TreePath>)> {
    let shown = config.has_user_namespace().then(|| bundle.root.inside(&rootfs(registration, bundle)));
    let is_passed_on = registration.execution.notify == Notify::Ready;
    let socket = is_passed_on.then(|| bundle.notify(sees_host_run(config))).transpose()?;
    Ok((shown, socket))
}

/// Whether a directory is one that has nothing but a socket.
fn is_secret(directory: &TreePath) -> bool {
    directory.parent().is_some_and(|above| above == TreePath::from(paths::NOTIFY))
}

/// Whether the payload sees the host's /run at the same path. Then no mount is needed for a socket there, and none may
/// be made, since it could appear on the host.
pub(super) fn sees_host_run(config: &Normalised) -> bool {
    let above = config
        .mounts()
        .filter(|mount| mount.destination().is_some_and(|d| Path::new(PAYLOAD_NOTIFY).starts_with(d)));
    above.last().is_some_and(|mount| {
        let same =
            mount.bind_source().is_some_and(|source| source.components().eq(Path::new("/run").components()));
        same && mount.destination().is_some_and(|d| d == Path::new("/run"))
    })
}

/// Whether the payload needs a mount point for its notification socket.
pub fn mounts_notify_socket(config: &Normalised, notify: Notify) -> bool {
    notify != Notify::Created && !sees_host_run(config)
}

/// Mounts the socket at `place`, unless the payload sees it where it is.
fn add_notify_socket(config: &mut BundleConfig, socket: &Path, place: Option<&str>) -> Result<()> {
    if let Some(place) = place {
        let mount = json!({
            "destination": place, "type": "bind", "source": socket.to_string_lossy(),
            // Who can only read it can connect to it, and not change the host's.
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        });
        config.mounts_mut()?.push(mount);
    }
    let place = place.map_or_else(|| socket.to_string_lossy(), Into::into);
    config.set_variable(NOTIFY_SOCKET, &place)
}

#[cfg(test)]
mod tests;
