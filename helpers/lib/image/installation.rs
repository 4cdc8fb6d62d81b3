//! What the pipeline from an image to a deployment knows about the installation: facts of the host, and choices of the
//! user.

use std::collections::BTreeSet;

use crate::container::info::Values;
use crate::container::readiness::UserNotify;
use crate::container::settings::Settings;
use crate::digest::Digest;
use crate::name::Name;
use crate::paths::{Root, TreePath};

/// One installation of an image. Nothing in it has to exist, so that lint can make one up.
pub struct Installation<'a> {
    /// Name of the container.
    pub name: &'a Name,
    /// Name of the image in the store.
    pub image: &'a str,
    /// Digest of the image's manifest.
    pub digest: &'a Digest,
    /// The tree that is installed to.
    pub root: &'a Root,
    /// Symlink to the current deployment: `DESTDIR` in units, tmpfiles and host files.
    pub link: TreePath,
    /// Directory of the deployment: `DESTDIR` in its configuration.
    pub deployment: TreePath,
    /// Path of the OCI runtime, if the image needs one.
    pub runtime: Option<&'a TreePath>,
    /// ID of the user who installs.
    pub uid: u32,
    /// ID of that user's group.
    pub gid: u32,
    /// UUID of the container, if it has one from an earlier deployment.
    pub uuid: Option<&'a str>,
    /// Values that the user set. Those that no template uses become the environment of an image without a
    /// configuration.
    pub user_values: &'a Values,
    /// Variables whose values are secret, as the user says; the manifest may name others.
    pub user_secrets: &'a BTreeSet<String>,
    /// What the user decided about the container.
    pub settings: &'a Settings,
    /// How the payload notifies systemd, if the user decided that.
    pub user_notify: Option<UserNotify>,
}
