//! Updating the host's names in running containers.

use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{RUN, Root};
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::run::names::content::HostFiles;
use crate::run::names::copies::Copies;
use crate::system::files;

/// What writes to one file often writes to the other one, too, and systemd does not look while this runs: so it looks again
/// after so long, until nothing has changed, this often at most.
const PAUSE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 100;

/// Brings them to all containers. Fails if one cannot have them, and the others do.
pub fn run(root: &Root) -> Result<()> {
    let (mut host, mut failed) = (HostFiles::read(root)?, false);
    for _ in 0..ROUNDS {
        failed = !bring(root, &host)?;
        std::thread::sleep(PAUSE);
        let now = HostFiles::read(root)?;
        if now == host {
            break;
        }
        host = now;
    }
    if failed {
        return Err(Error::new("cannot update the names of all containers, see the messages above"));
    }
    Ok(())
}

/// Returns whether all containers have them.
fn bring(root: &Root, host: &HostFiles) -> Result<bool> {
    let mut is_good = true;
    let names = files::names(&root.join(RUN))?;
    for name in names.iter().filter_map(|name| name.parse::<Name>().ok()) {
        if let Err(e) = bring_to(root, host, &name).context(|| format!("cannot update the names of {name}")) {
            log::error(&e.to_string());
            is_good = false;
        }
    }
    Ok(is_good)
}

fn bring_to(root: &Root, host: &HostFiles, name: &Name) -> Result<()> {
    let bundle = Bundle::new(root, name);
    let Some(_lock) = Copies::lock(bundle.directory())? else { return Ok(()) };
    let Some(overlay) = bundle.load()?.and_then(|launch| launch.overlay) else { return Ok(()) };
    Copies::of(&root.join(&overlay.scratch), bundle.directory()).update(host)
}
