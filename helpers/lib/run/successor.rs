//! The process that is a unit's main one at the end of its stop, in place of the payload.
//!
//! A stop that somebody asked for is not a failure, whatever status the payload ends with; the same status is one
//! otherwise. systemd has no setting for that. But when the main process of a service ends, it reads `PIDFile=`, and if
//! another process is named there, that one is the main process, and the status of the old one counts for nothing. So
//! the payload's end is watched by a process of its own, which writes its number there and ends with success when systemd has
//! seen the payload end. Without a stop it is the payload that is named there.
//!
//! systemd wants the main process to be its own child, and the command of a stop (`ExecStop=`) not to be it. Hence there
//! are three: the command, a child of it that ends at once, and the child's child, which systemd inherits. The latter
//! does all the work, and does it to the end if the command is killed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::run::bundle::Bundle;
use crate::run::ending::Ending;
use crate::system::process::Process;

/// How long systemd may take to see that the payload ended.
const SEEN: Duration = Duration::from_secs(10);
/// How often that is looked for.
const INTERVAL: Duration = Duration::from_millis(2);

/// What the successor writes when it has done everything.
const DONE: &str = "done";

/// Has a successor end the payload, whose stop began at `begin`. `first` is the command that runs [`leave`]. Returns
/// whether it was done.
pub fn run(mut first: Command, begin: Instant) -> Result<bool> {
    let what = || "cannot run a second process".to_string();
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context(what)?;
    let (begun, done) = (first.stdin.take(), first.stdout.take());
    if !first.wait().context(what)?.success() {
        return Ok(false);
    }
    // Now that its parent is gone, the successor is systemd's child.
    let (Some(mut begun), Some(mut done)) = (begun, done) else { return Ok(false) };
    write!(begun, "{}", begin.elapsed().as_millis()).context(what)?;
    drop(begun);
    let mut said = String::new();
    done.read_to_string(&mut said).context(what)?;
    Ok(said == DONE)
}

/// The process between: starts `second`, the command that runs [`be`], and leaves it to systemd.
pub fn leave(mut second: Command) -> Result<()> {
    second.spawn().map(|_| ()).context(|| "cannot run a third process".into())
}

/// The successor.
pub fn be(name: &Name, bundle: &Bundle, payload: &Process, signal: Option<i32>) -> Result<()> {
    // systemd sends the stop signal to what it takes for the payload.
    SigSet::all().thread_block().context(|| "cannot block signals".into())?;
    let mut waited = String::new();
    std::io::stdin().read_to_string(&mut waited).context(|| "cannot read standard input".into())?;
    let waited = waited.parse().map_err(|_| Error::new("the first process is gone"))?;
    let begin = Instant::now().checked_sub(Duration::from_millis(waited)).unwrap_or_else(Instant::now);
    bundle.set_main_process(nix::unistd::getpid().as_raw())?;
    Ending::begin(name, payload, signal, begin)?.finish()?;
    let gone = Instant::now();
    // A process that is gone itself cannot be the main process.
    while !payload.is_reaped()? && gone.elapsed() < SEEN {
        std::thread::sleep(INTERVAL);
    }
    std::io::stdout().write_all(DONE.as_bytes()).context(|| "cannot write to standard output".into())
}
