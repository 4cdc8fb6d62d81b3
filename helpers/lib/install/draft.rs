//! Deployments that are being made: they have a temporary name until they are complete and on disk.

use std::path::Path;

use crate::container::deployment::Deployments;
use crate::container::derived;
use crate::container::entries::Entry;
use crate::container::info::{self, Info, Origin};
use crate::error::{Context, Result};
use crate::host_files::plan::Plan;
use crate::host_files::{record, stage};
use crate::image::check::Checked;
use crate::image::tree::{FileKind, Tree};
use crate::install::output::Payload;
use crate::name::Deployment;
use crate::oci::bundle_config::BundleConfig;
use crate::oci::mountpoints::{self, FileMounts};
use crate::paths::TreePath;
use crate::run::{bundle, places, volumes};
use crate::system::{files, privacy, record as system_record};

/// What a deployment consists of besides the image's files.
pub struct Content {
    /// Rendered templates.
    pub rendered: Checked,
    /// Which of the files for the host belong to the container.
    pub host_files: Plan,
}

/// A deployment that does not exist yet.
pub struct Draft<'a> {
    deployments: &'a Deployments,
    /// The deployment's name.
    pub deployment: Deployment,
}

impl<'a> Draft<'a> {
    /// A draft for [`Draft::make`].
    pub fn new(deployments: &'a Deployments, deployment: Deployment) -> Self {
        Draft { deployments, deployment }
    }

    /// Checks out `tree`, writes everything else, syncs, and gives the deployment its name.
    pub fn make(&self, tree: &dyn Tree, content: &Content, info: Info) -> Result<()> {
        let temporary = self.deployments.entry(&Entry::New(self.deployment.clone()));
        let what = || format!("cannot create deployment {}", self.deployment);
        let made = self.fill(&temporary, tree, content, info).and_then(|()| self.commit(&temporary));
        if made.is_err() {
            // The first error is the one to report; recovery removes what is left.
            let _ = files::remove_tree(&temporary);
            let _ = self.deployments.remove(&self.deployment);
        }
        made.context(what)
    }

    fn fill(&self, directory: &Path, tree: &dyn Tree, content: &Content, mut info: Info) -> Result<()> {
        let Content { rendered, host_files: plan } = content;
        files::remove_tree(directory)?;
        // Its files have the owners and modes that they have in the container, and nobody but root needs them.
        privacy::make(directory)?;
        let rootfs = directory.join("rootfs");
        tree.checkout(&rootfs)?;
        stage::stage(&rendered.layout, &rootfs, directory)?;
        let staged = |path: &TreePath| record::checksum(&record::staged(directory, path));
        plan.record(self.deployments.root(), &mut info.host_files, staged)?;
        if let Some((text, config)) = &rendered.config {
            if rendered.confined {
                // What is said at every start is said here already.
                places::settle(&mut BundleConfig::from(config.clone()), &rootfs)?;
            }
            if let Origin::Ours(ours) = &mut info.origin {
                // Before mount points are made, which the image does not have.
                volumes::settle(&mut ours.execution.volumes, &rootfs)?;
                if rendered.confined {
                    let is_of_image = ours.execution.rootfs.is_none();
                    let (settings, volumes) = (&ours.settings, ours.execution.volumes.as_slice());
                    let rootfs = is_of_image.then_some(rootfs.as_path());
                    ours.execution.output = Payload { settings, config: text, volumes, rootfs }.output();
                }
            }
            // In an overlay, they are not made in the files of the deployment, which are shared.
            let is_own = info.rootfs().is_none() && rendered.unit.is_some() && !rendered.has_scratch();
            if let (true, Origin::Ours(ours)) = (is_own, &mut info.origin) {
                ours.mount_points = mountpoints::create(&rootfs, config, &mount_files(rendered))?;
            }
            self.write(directory, "config.json", text)?;
        }
        match &rendered.unit {
            Some(unit) => self.write(directory, &self.deployment.name().unit(), unit)?,
            // Nothing runs in it.
            None => files::remove_tree(&rootfs)?,
        }
        if let Some(tmpfiles) = &rendered.tmpfiles {
            let name = self.deployment.name();
            let text = format!("{}{tmpfiles}", derived::tmpfiles_header(name));
            self.write(directory, &derived::tmpfiles_in_deployment(name), &text)?;
        }
        system_record::save_volatile(&directory.join(info::FILE), &info)
    }

    /// Mode 0600: any of the files may hold secrets.
    fn write(&self, directory: &Path, file: &str, text: &str) -> Result<()> {
        files::replace_volatile(&directory.join(file), text.as_bytes(), 0o600)
    }

    fn commit(&self, temporary: &Path) -> Result<()> {
        files::sync_file_system(temporary)?;
        let path = self.deployments.path(self.deployment.to_string());
        files::rename(temporary, &path).context(|| format!("cannot create {}", path.display()))?;
        files::sync_directory(&self.deployments.path(""))
    }
}

/// The mounts that are files instead of directories: the notification socket, and files that the image brings for the
/// host.
pub fn mount_files(rendered: &Checked) -> FileMounts {
    let mut files = FileMounts::default();
    let config = rendered.config.as_ref();
    if config.is_some_and(|(_, config)| bundle::mounts_notify_socket(config, rendered.notify)) {
        files.extra.push(bundle::PAYLOAD_NOTIFY.into());
    }
    let brought = rendered.layout.files().iter().filter(|file| file.kind == FileKind::Regular);
    files.sources.extend(brought.map(|file| file.path.as_path().to_path_buf()));
    files
}
