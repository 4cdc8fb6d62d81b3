//! Bind mounts that an installation refuses: what payloads write to must not be what others rely on.

use std::path::{Path, PathBuf};

use crate::container::keys::mounts::{UserMount, UserMountKind};
use crate::error::{Error, Result};
use crate::image::installation::Installation;
use crate::oci::config::Normalised;
use crate::oci::nesting;
use crate::paths::{self, DEPLOYMENTS, PREINSTALLED};

/// Fails for a mount of the user's through which the payload would write to deployments or to the store.
pub fn check_users(config: &Normalised, installation: &Installation) -> Result<()> {
    let written = nesting::writes_to(config.mounts(), &directories(installation));
    let own = installation.settings.mounts();
    let is_own = |source: &Path| own.iter().find(|own| own.kind == UserMountKind::Bind(source.into()));
    match written.into_iter().find_map(|(_, source)| is_own(source)) {
        Some(UserMount { kind: UserMountKind::Bind(source), destination, .. }) => Err(Error::new(format!(
            "cannot mount {} at {}: it is in a deployment or the image store, whose files containers share, and would be writable; add the option ro to that Volume= or Mount=",
            source.display(),
            destination.display()
        ))),
        _ => Ok(()),
    }
}

/// Fails for a mount through which the payload would write to deployments or to the store, and for a PID file where the
/// payload can put a link, if there is to be one.
pub fn check(config: &Normalised, installation: &Installation, pid_file: Option<&str>) -> Result<()> {
    let found = nesting::writes_to(config.mounts(), &directories(installation));
    if let Some((_, source)) = found.first() {
        return Err(Error::new(format!(
            "the bind source {} is in a deployment or the image store, whose files containers share, and it is writable; {REMEDY}",
            source.display()
        )));
    }
    let above = pid_file.and_then(|path| nesting::writable_above(config, path.as_ref()));
    match (pid_file, above) {
        (Some(path), Some(above)) => Err(Error::new(format!(
            "PIDFILE is {path}, which is in {}, where the payload can put anything; set another one with --set PIDFILE=PATH",
            above.display()
        ))),
        _ => Ok(()),
    }
}

/// What to do about a bind source.
pub const REMEDY: &str = "make it read-only (the option \"ro\"), or use a directory below ${STATE_DIRECTORY}";

/// Directories of deployments and of the store.
pub fn directories(installation: &Installation) -> Vec<PathBuf> {
    let own = installation.link.parent().map(|path| path.as_path().to_path_buf());
    let fixed = [DEPLOYMENTS, PREINSTALLED].map(PathBuf::from);
    own.into_iter().chain(fixed).chain(paths::from_env("ATOMIC_OSTREE_REPO")).collect()
}
