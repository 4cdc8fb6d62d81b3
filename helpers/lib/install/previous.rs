//! A container as it is before an update, and what the user decided about it.

use std::collections::BTreeSet;

use crate::container::info::{Info, Values};
use crate::container::state::State;
use crate::error::{Error, Result};
use crate::image::manifest;
use crate::image::tree::{Directory, Tree};
use crate::install::acceptance::Granted;
use crate::install::site::Site;
use crate::install::{atomic, register};
use crate::name::Deployment;
use crate::provenance::Provenance;

/// A container as it is before an update.
pub struct Previous {
    /// The current deployment.
    pub deployment: Deployment,
    /// The `info` of the current deployment.
    pub info: Info,
    /// Whether its unit was enabled when it was installed or, if Atomic installed it, whether it is enabled now.
    pub enabled: bool,
    /// The `info` with the user's latest choices: that of the staged deployment, or else of the current one.
    pub(super) wanted: Info,
    /// What the image was allowed to bring, according to that.
    pub(super) granted: Granted,
    /// The values that the user set.
    pub(super) user_values: Values,
    /// The variables that the user marked as secret.
    pub(super) user_secrets: BTreeSet<String>,
    /// The variables that their image marked as secret when the user had set them.
    pub(super) image_secrets: BTreeSet<String>,
}

impl Previous {
    /// Reads the current deployment. Atomic did not record which values the user set, so its values are compared with
    /// the defaults of its image or, if that is gone, of `image`.
    pub fn read(site: &Site, deployment: &Deployment, image: &dyn Tree) -> Result<Previous> {
        let (deployments, name) = (&site.deployments, deployment.name());
        let info = deployments.info(deployment)?;
        let state = State::load(deployments, name)?;
        let wanted = state.wanted(deployments, &info);
        if info.is_from_atomic() && register::describes(site.root(), deployment) {
            return Err(Error::new(format!(
                "the info of {deployment} is damaged: it lacks what syscontainers records about its containers; restore it, or remove the container with syscontainer-remove"
            )));
        }
        let enabled = match info.ours() {
            Some(ours) => ours.enabled,
            None => site.manager.is_enabled(name)?,
        };
        let user_values = match wanted.ours() {
            Some(ours) => ours.user_values.clone(),
            None => {
                let rootfs = deployments.path_of(deployment).join("rootfs");
                let manifest = if rootfs.is_dir() {
                    manifest::read(&Directory(rootfs))?
                } else {
                    manifest::read(image)?
                };
                atomic::user_values(&info, &manifest.default_values)
            }
        };
        let user_secrets = wanted.ours().map(|ours| ours.user_secrets.clone()).unwrap_or_default();
        let image_secrets = wanted.ours().map(|ours| ours.image_secrets.clone()).unwrap_or_default();
        let granted = Granted::of(deployments, deployment, &wanted).now(&state);
        let deployment = deployment.clone();
        Ok(Previous { deployment, info, enabled, wanted, granted, user_values, user_secrets, image_secrets })
    }

    /// Where the container's image comes from, according to the user's latest choices; `None` if Atomic, which did not
    /// record that, made the deployment.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.wanted.ours()?.provenance.as_ref()
    }
}
