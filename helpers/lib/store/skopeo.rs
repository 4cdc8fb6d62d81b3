//! skopeo's processes: how they are watched while they are waited for, and ended.

use std::cell::OnceCell;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, getpid, getuid, pipe2, read, write};
use walkdir::WalkDir;

use super::failure::{Failure, SKOPEO};
use super::pace::{Pace, Patience};
use super::space::Space;
use crate::error::{Error, Result};

/// How often it is looked at what a process does.
pub const TICK: Duration = Duration::from_millis(50);
/// Maximum size of what a command prints, which are manifests.
const OUTPUT_MAX: u64 = 8 << 20;

/// Watches a process that is waited for. What it writes is how far it is: a process that writes nothing has to end
/// within [`Patience::average`].
pub struct Watch<'a> {
    begin: Instant,
    pace: Pace,
    growth: Option<Growth<'a>>,
}

/// Where a process writes.
pub struct Growth<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// Maximum size of all files in it, in bytes.
    pub limit: u64,
    /// The file system of the directory.
    pub space: &'a Space,
    /// Called with the size of all files.
    pub tell: &'a dyn Fn(u64),
}

impl<'a> Watch<'a> {
    /// Begins now.
    pub fn new(patience: Patience, growth: Option<Growth<'a>>) -> Watch<'a> {
        Watch { begin: Instant::now(), pace: Pace::new(patience), growth }
    }

    /// Fails if the process must not be waited for any longer.
    pub fn check(&mut self) -> Result<()> {
        let mut size = 0;
        if let Some(growth) = &self.growth {
            growth.space.check()?;
            size = size_of(growth.directory);
            if size > growth.limit {
                let limit = growth.limit;
                return Err(Error::new(format!(
                    "there are more bytes than the manifest declares: over {limit}"
                )));
            }
            (growth.tell)(size);
        }
        self.pace.check_average(self.begin.elapsed(), size)
    }
}

/// The size of all files in a directory, some of which may go while it is read.
fn size_of(directory: &Path) -> u64 {
    let entries = WalkDir::new(directory).into_iter().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(|file| file.is_file())
        .map(|file| file.len())
        .sum()
}

/// Prepares a command, so that it ends along with this process, and all that it starts can be ended.
pub fn prepare(command: &mut Command) {
    command.process_group(0).stdin(Stdio::null());
    let set = || set_pdeathsig(Signal::SIGTERM).map_err(Into::into);
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(set);
    }
}

/// Runs skopeo until it ends, and returns what it printed. It is killed as soon as the watch fails.
pub fn output(command: &mut Command, mut watch: Watch<'_>) -> Result<Vec<u8>, Failure> {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| Failure::not_started(format_args!("cannot run {SKOPEO}: {e}")))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let process = Process::of(&child);
    thread::scope(|scope| {
        let (out, err) = (scope.spawn(|| collect(out)), scope.spawn(|| collect(err)));
        let ended = wait(&mut child, &mut watch);
        if ended.is_err() {
            process.kill();
            // It was killed, and so ends.
            let _ = child.wait();
        }
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        if ended?.success() { Ok(out) } else { Err(Failure::from_stderr(&err)) }
    })
}

fn wait(child: &mut Child, watch: &mut Watch<'_>) -> Result<ExitStatus, Failure> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => watch.check().map_err(Failure::given_up)?,
            Err(e) => return Err(Failure::given_up(Error::new(format!("cannot wait for {SKOPEO}: {e}")))),
        }
        thread::sleep(TICK);
    }
}

/// Reads to the end; a process that prints more than it may gets a broken pipe.
fn collect(pipe: Option<impl Read>) -> Vec<u8> {
    let mut content = Vec::new();
    if let Some(pipe) = pipe {
        // What was read until an error is what there is.
        let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut content);
    }
    content
}

/// A process of skopeo with all that it started, which end when this is dropped.
pub struct Process {
    pid: OnceCell<Option<Pid>>,
    /// What a process that the image proxy's client starts writes its ID to.
    report: Option<OwnedFd>,
}

impl Process {
    fn of(child: &Child) -> Process {
        let pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Process { pid: OnceCell::from(pid), report: None }
    }

    /// The process that somebody else will start with this command, once and not before this.
    pub fn started_by(command: &mut Command) -> io::Result<Process> {
        let (report, end) = pipe2(OFlag::O_CLOEXEC)?;
        let tell = move || write(&end, &getpid().as_raw().to_ne_bytes()).map(|_| ()).map_err(Into::into);
        // SAFETY: between fork and exec only getpid(2) and write(2) are called, which are async-signal-safe.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(tell);
        }
        Ok(Process { pid: OnceCell::new(), report: Some(report) })
    }

    /// Kills the process and all that it started, unless it has ended.
    pub fn kill(&self) {
        if let Some(pid) = self.pid().filter(|pid| is_child(*pid)) {
            // Its end is what is wanted.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }

    fn pid(&self) -> Option<Pid> {
        let from_report = || {
            let mut bytes = [0; 4];
            // Without a process, the other end is closed.
            let length = read(self.report.as_ref()?, &mut bytes).ok()?;
            (length == bytes.len()).then(|| Pid::from_raw(i32::from_ne_bytes(bytes)))
        };
        *self.pid.get_or_init(from_report)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether an ID is still that of a child of this process, and not that of another one that got it later.
fn is_child(pid: Pid) -> bool {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.is_some_and(|parent| parent.trim() == getpid().to_string())
}

/// The home directory of this user. Units have no `HOME`: then it is the one in the user database, as for skopeo.
pub fn home() -> Option<PathBuf> {
    let from_database = || User::from_uid(getuid()).ok().flatten().map(|user| user.dir);
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or_else(from_database)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        prepare(&mut command);
        command
    }

    fn run(script: &str, growth: Option<Growth<'_>>) -> Result<Vec<u8>, String> {
        let patience = Patience { idle: Duration::from_millis(300) };
        output(&mut shell(script), Watch::new(patience, growth)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn commands_end_by_themselves_or_are_ended() {
        assert_eq!(run("echo out; echo err >&2", None).unwrap(), b"out\n");
        assert_eq!(run("echo first >&2; echo last >&2; exit 3", None).unwrap_err(), "last");
        assert!(run("sleep 1000", None).unwrap_err().contains("--idle-timeout="));
        // Along with what they started, which has their pipes.
        let begin = Instant::now();
        assert!(run("sleep 1000 & sleep 1000", None).is_err());
        assert!(begin.elapsed() < Duration::from_secs(100));
        assert!(run("yes", None).is_err());
    }

    #[test]
    fn what_they_write_is_bounded_and_is_a_sign_of_life() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), 0);
        let told = std::cell::Cell::new(0);
        let tell = |size| told.set(size);
        let growth = |limit| Growth { directory: dir.path(), limit, space: &space, tell: &tell };
        let file = dir.path().join("file").display().to_string();
        let slowly =
            format!("for n in $(seq 20); do head -c 2000 /dev/zero >>{file}; sleep 0.1; done; echo ok");
        assert_eq!(run(&slowly, Some(growth(100_000))).unwrap(), b"ok\n");
        assert!(told.get() >= 38_000);
        let why = run(&format!("cat /dev/zero >>{file}"), Some(growth(100_000))).unwrap_err();
        assert!(why.contains("more bytes than the manifest declares"), "{why}");
        let full = Space::new(dir.path(), u64::MAX);
        let growth = Growth { directory: dir.path(), limit: u64::MAX, space: &full, tell: &|_| {} };
        assert!(run("sleep 1000", Some(growth)).unwrap_err().contains("stay free"));
    }

    #[test]
    fn processes_that_others_start_end_with_their_owner() {
        let mut command = shell("sleep 1000");
        let process = Process::started_by(&mut command).unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        assert!(is_child(Pid::from_raw(child.id() as i32)));
        drop(process);
        assert!(!child.wait().unwrap().success());
        // One that was never started.
        let mut command = shell("sleep 1000");
        let process = Process::started_by(&mut command).unwrap();
        drop(command);
        process.kill();
    }
}
