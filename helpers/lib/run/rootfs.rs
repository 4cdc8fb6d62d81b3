//! The root file system of one start, where that is not the deployment's own: the overlay, and what the host and the
//! image have a say in before the payload has.

use serde_json::Value;

use crate::container::registration::Registration;
use crate::error::Result;
use crate::paths::Root;
use crate::run::accounts::Payload;
use crate::run::bundle::Bundle;
use crate::run::mount_check::Expected;
use crate::run::names::Names;
use crate::run::sources::Source;
use crate::run::{memory, places, scratch};

/// Makes it, with all files of that SELinux label, and completes the configuration of a plain image with what follows from
/// its files. Returns what is to be mounted in the container, if that is known: who has configured mounts knows what they
/// lead through. `nested` are the sources that the configuration names by their numbers.
pub fn make(
    root: &Root,
    registration: &Registration,
    bundle: &Bundle,
    (config, nested): (&mut Value, &[Source]),
    label: Option<&str>,
) -> Result<Option<Expected>> {
    let execution = &registration.execution;
    if !execution.has_scratch() {
        return Ok(None);
    }
    let (lower, scratch) = (root.join(&registration.rootfs()), root.join(&registration.scratch()));
    let rootfs = bundle.scratch_rootfs();
    let options = scratch::Options { label, size: execution.scratch_size, no_devices: execution.confined };
    scratch::make(&lower, &scratch, &rootfs, options)?;
    if !execution.confined {
        return Ok(None);
    }
    // It has the files of the image only, until names are added.
    places::settle(config, &lower)?;
    memory::settle(config, &rootfs)?;
    Payload::new(config, &rootfs).settle()?;
    // A payload with a label reads nothing of the host that has another.
    let directory = label.is_none().then(|| bundle.directory());
    Names { root, rootfs: &rootfs, directory }.add(config)?;
    places::check(config, nested)?;
    Ok(Some(Expected::of(config, nested)))
}
