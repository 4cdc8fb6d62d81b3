//! Updating the host's names in running containers.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{RUN, Root};
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::run::names::content::HostFiles;
use crate::run::names::copies::Copies;
use crate::system::{files, limited};

/// What writes to one file often writes to the other one, too, and systemd does not look while this runs: so it looks again
/// after so long, until nothing has changed, this often at most.
const PAUSE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 100;
/// How long containers have to take them. Who writes to a file keeps others waiting who do, and a payload that has no time to
/// end that does so for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings them to all containers. Fails if one cannot have them, and the others do.
pub fn run(root: &Root) -> Result<()> {
    let (mut host, mut failed) = (Arc::new(HostFiles::read(root)?), false);
    for _ in 0..ROUNDS {
        let brought = bring(root, &host)?;
        failed = !brought.is_good;
        std::thread::sleep(PAUSE);
        let now = HostFiles::read(root)?;
        // What goes on with one that is late would be in the way.
        if now == *host || brought.is_late {
            break;
        }
        host = Arc::new(now);
    }
    if failed {
        return Err(Error::new("cannot update the names of all containers, see the messages above"));
    }
    Ok(())
}

/// What became of it.
struct Brought {
    /// Whether all containers have them.
    is_good: bool,
    /// Whether something still goes on.
    is_late: bool,
}

fn bring(root: &Root, host: &Arc<HostFiles>) -> Result<Brought> {
    let names = files::names(&root.join(RUN))?;
    let names: Vec<Name> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let work = |name: &Name| {
        let (root, host, name) = (root.clone(), host.clone(), name.clone());
        move || bring_to(&root, &host, &name)
    };
    let results = limited::each_within(PATIENCE, names.iter().map(work));
    let mut brought = Brought { is_good: true, is_late: false };
    for (name, result) in names.iter().zip(results) {
        brought.is_late |= result.is_none();
        let late = || Err(Error::new("its payload keeps what writes to its copies waiting"));
        if let Err(e) = result.unwrap_or_else(late).context(|| format!("cannot update the names of {name}")) {
            log::error(&e.to_string());
            brought.is_good = false;
        }
    }
    Ok(brought)
}

fn bring_to(root: &Root, host: &HostFiles, name: &Name) -> Result<()> {
    let bundle = Bundle::new(root, name);
    let Some(_lock) = Copies::lock(bundle.directory())? else { return Ok(()) };
    let Some(overlay) = bundle.load()?.and_then(|launch| launch.overlay) else { return Ok(()) };
    Copies::of(&root.join(&overlay.scratch), bundle.directory()).update(host)
}
