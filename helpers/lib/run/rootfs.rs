//! The root file system of one start, where that is not the deployment's own: the overlay, and what the host and the
//! image have a say in before the payload has.

use crate::container::registration::Registration;
use crate::error::Result;
use crate::oci::bundle_config::BundleConfig;
use crate::paths::Root;
use crate::run::accounts::Payload;
use crate::run::additions::Addition;
use crate::run::bundle::Bundle;
use crate::run::mount_check::Expected;
use crate::run::names::Names;
use crate::run::names::copies::Copies;
use crate::run::scratch::Overlay;
use crate::run::sources::Source;
use crate::run::{memory, places};

/// The overlay of one start, with all files of that SELinux label; `None` if the root file system is the deployment's.
pub fn overlay(registration: &Registration, label: Option<&str>) -> Option<Overlay> {
    registration.execution.has_scratch().then(|| Overlay {
        lower: registration.rootfs(),
        scratch: registration.scratch(),
        label: label.map(str::to_owned),
        no_devices: registration.execution.confined,
    })
}

/// What the runtime, and who starts it, have to know of a root file system.
#[derive(Default)]
pub struct Made {
    /// What is to be mounted in the container, if that is known: who has configured mounts knows what they lead through.
    pub mounts: Option<Expected>,
    /// What has to be made in it.
    pub additions: Vec<Addition>,
}

/// Makes it, and completes the configuration of a plain image with what follows from its files. `nested` are the sources that
/// the configuration names by their numbers.
pub fn make(
    root: &Root,
    registration: &Registration,
    bundle: &Bundle,
    (config, nested): (&mut BundleConfig, &[Source]),
    overlay: Option<&Overlay>,
) -> Result<Made> {
    let (Some(overlay), execution) = (overlay, &registration.execution) else { return Ok(Made::default()) };
    overlay.make(root, &bundle.scratch_rootfs(), execution.scratch_size)?;
    if !execution.confined {
        return Ok(Made::default());
    }
    // It has the files of the image only, until it is mounted.
    let image = root.join(&overlay.lower);
    places::settle(config, &image)?;
    memory::settle(config, &image)?;
    let mut additions = Payload::new(config, &image).lacks()?;
    let copies = Copies::of(&root.join(&overlay.scratch), bundle.directory());
    let names = Names { root, image: &image, copies: &copies, label: overlay.label.as_deref(), nested };
    additions.extend(names.add(config)?);
    places::check(config, nested)?;
    Ok(Made { mounts: Some(Expected::of(config, nested)), additions })
}
