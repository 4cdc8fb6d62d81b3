//! systemd on this host, through its own programs.
//!
//! systemctl works without D-Bus, early in the boot, and on unpacked trees. It is run for actions and single queries.
//! All waits are for the end of a process, whether of a service or of a systemctl that waits for a job: the kernel
//! reports that.

use std::cell::RefCell;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{self, JOURNALCTL, Root, STUBS, SYSTEMCTL, SYSTEMD_TMPFILES};
use crate::system::command::{collect, output, run};
use crate::system::process::Process;
use crate::system::systemd::analyze::{self, Complaint};
use crate::system::systemd::links::LINKS;
use crate::system::systemd::manager::{Enablement, Job, Manager, SystemState, Verb, Wake};
use crate::system::systemd::presets;
use crate::system::systemd::status::{PROPERTIES, UnitStatus};
use crate::system::{files, kill_point};

/// How long systemd may fail to answer, as it does while it reexecutes.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait before systemd is asked again.
const INTERVAL: Duration = Duration::from_millis(100);

/// The service manager of a tree: that of this host, or none.
pub struct Systemd {
    root: Root,
    begin: Instant,
    signals: RefCell<Option<SignalFd>>,
}

impl Systemd {
    /// The service manager of `root`.
    pub fn new(root: &Root) -> Systemd {
        Systemd { root: root.clone(), begin: Instant::now(), signals: RefCell::new(None) }
    }

    fn systemctl(&self) -> Command {
        let mut command = Command::new(SYSTEMCTL);
        if !self.root.is_host() {
            command.arg(format!("--root={}", self.root.path().display()));
        }
        command
    }
}

impl Manager for Systemd {
    /// See sd_booted(3).
    fn is_running(&self) -> bool {
        self.root.is_host() && Path::new("/run/systemd/system").is_dir()
    }

    fn boot_id(&self) -> Result<String> {
        let path = "/proc/sys/kernel/random/boot_id";
        let id = fs::read_to_string(path).context(|| format!("cannot read {path}"))?;
        Ok(id.trim().to_owned())
    }

    fn system_state(&self) -> Result<SystemState> {
        let state = output(Command::new(SYSTEMCTL).args(["show", "--property=SystemState", "--value"]))?;
        Ok(match String::from_utf8_lossy(&state).trim() {
            "initializing" | "starting" => SystemState::Starting,
            "stopping" => SystemState::Stopping,
            _ => SystemState::Running,
        })
    }

    fn reload(&self) -> Result<()> {
        if self.is_running() { run(Command::new(SYSTEMCTL).arg("daemon-reload")) } else { Ok(()) }
    }

    fn show(&self, units: &[String]) -> Result<Vec<UnitStatus>> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let (begin, mut pause) = (Instant::now(), INTERVAL);
        loop {
            let mut command = Command::new(SYSTEMCTL);
            command.args(["show", "--timestamp=unix", "--property", PROPERTIES, "--"]).args(units);
            match output(&mut command) {
                Ok(text) => return Ok(parse(&String::from_utf8_lossy(&text))),
                Err(e) if begin.elapsed() > PATIENCE => return Err(e),
                // It is executing itself again.
                Err(_) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
    }

    fn begin(&self, verb: Verb, unit: &str) -> Result<Box<dyn Job>> {
        let what = || format!("cannot run '{SYSTEMCTL} {} {unit}'", verb.as_str());
        let mut command = Command::new(SYSTEMCTL);
        command
            .args(["--quiet", "--no-ask-password", verb.as_str(), "--", unit])
            .env("PATH", paths::search_path());
        // The status of the unit says as much about failures as systemctl would.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Box::new(Systemctl(command.spawn().context(what)?)))
    }

    fn queue(&self, verb: Verb, units: &[String]) -> Result<()> {
        run(Command::new(SYSTEMCTL).args(["--quiet", "--no-block", verb.as_str(), "--"]).args(units))
    }

    fn reset_failed(&self, unit: &str) -> Result<()> {
        run(Command::new(SYSTEMCTL).args(["reset-failed", "--", unit]))
    }

    /// According to systemd's messages in the journal; without a journal, this is not known.
    fn was_stop_requested(&self, unit: &str, since: SystemTime) -> Result<bool> {
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let _ = output(Command::new(JOURNALCTL).arg("--sync"));
        let mut command = Command::new(JOURNALCTL);
        command.args(["--quiet", "--no-pager", "--output=cat", "_PID=1", "JOB_TYPE=stop"]);
        command.args([format!("--since=@{since:.6}"), format!("UNIT={unit}")]);
        Ok(output(&mut command).is_ok_and(|said| !said.is_empty()))
    }

    fn set_enablement(&self, units: &[String], enablement: Enablement) -> Result<()> {
        let verb = match enablement {
            Enablement::Enable => "enable",
            Enablement::Reenable => "reenable",
            Enablement::Disable => "disable",
            Enablement::Preset => "preset",
        };
        run(self.systemctl().args(["--no-reload", "--quiet", verb, "--"]).args(units))?;
        kill_point::pass();
        match enablement {
            Enablement::Disable => Ok(()),
            _ => {
                let made = [STUBS, LINKS].map(|directory| self.root.join(directory));
                made.iter().find(|made| made.is_dir()).map_or(Ok(()), |made| files::sync_file_system(made))
            }
        }
    }

    fn is_enabled(&self, name: &Name) -> Result<bool> {
        let mut command = self.systemctl();
        let output = collect(command.args(["--quiet", "is-enabled", &name.unit()]));
        Ok(output.context(|| format!("cannot run {SYSTEMCTL}"))?.status.success())
    }

    fn is_preset(&self, name: &Name) -> Result<bool> {
        presets::enables(&self.root, name)
    }

    /// In an unpacked tree, its next boot does this.
    fn create_tmpfiles(&self, name: &Name) -> Result<()> {
        if !self.root.is_host() {
            return Ok(());
        }
        run(Command::new(SYSTEMD_TMPFILES).arg("--create").arg(format!("{name}.conf")))
    }

    fn analyze(&self, unit: &str, name: &Name) -> Result<Option<Vec<Complaint>>> {
        analyze::verify(unit, name)
    }

    fn hold_signals(&self) -> Result<()> {
        let what = || "cannot listen to signals".to_string();
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context(what)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        *self.signals.borrow_mut() = Some(SignalFd::with_flags(&signals, flags).context(what)?);
        Ok(())
    }

    fn wait(&self, processes: &[i32], limit: Duration) -> Result<Wake> {
        let what = || "cannot wait".to_string();
        // A process that is gone needs no wait: the unit's status says so already, or will soon.
        let processes: Vec<Process> = processes.iter().filter_map(|pid| Process::open(*pid).ok()?).collect();
        let signals = self.signals.borrow();
        let mut fds: Vec<PollFd> =
            signals.iter().map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)).collect();
        fds.extend(processes.iter().map(|process| PollFd::new(process.fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => Ok(Wake::Look),
            Err(e) => Err(e).context(what),
            Ok(_) if signals.is_some() && fds[0].any() == Some(true) => Ok(Wake::Interrupted),
            Ok(_) => Ok(Wake::Look),
        }
    }

    fn clock(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// A systemctl that waits for its job. If systemd reexecutes, it ends before the job does; then the unit is polled.
struct Systemctl(Child);

impl Job for Systemctl {
    fn process(&mut self) -> Option<i32> {
        match self.0.try_wait() {
            Ok(None) => i32::try_from(self.0.id()).ok(),
            _ => None,
        }
    }
}

impl Drop for Systemctl {
    fn drop(&mut self) {
        // The job goes on without it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Parses the output of `systemctl show`, in which empty lines separate units.
fn parse(text: &str) -> Vec<UnitStatus> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    let status = |block: &str| {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        UnitStatus::from_properties(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    };
    blocks.map(status).collect()
}
