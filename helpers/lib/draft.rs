//! A deployment that is being made: it has a temporary name until it is whole and on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::bundle;
use crate::config;
use crate::deployment::{self, Deployments, Info};
use crate::error::{Context, Result};
use crate::exports::Rendered;
use crate::files;
use crate::installation;
use crate::mountpoints;
use crate::name::Name;
use crate::store::{Image, Store};

/// Deployment `number` of a container, not yet there.
pub struct Draft<'a> {
    deployments: &'a Deployments,
    name: &'a Name,
    number: u32,
}

impl<'a> Draft<'a> {
    /// One that [`Draft::make`] makes.
    pub fn new(deployments: &'a Deployments, name: &'a Name, number: u32) -> Self {
        Draft { deployments, name, number }
    }

    /// The name it will have.
    pub fn deployment(&self) -> String {
        format!("{}.{}", self.name, self.number)
    }

    /// Checks the image out, writes everything else and syncs; then the deployment has its name.
    pub fn make(&self, store: &Store, image: &Image, rendered: &Rendered, info: Info) -> Result<()> {
        let temporary = self.deployments.temporary(self.name, self.number);
        let what = || format!("cannot make deployment {}", self.deployment());
        let made = self.fill(&temporary, store, image, rendered, info).and_then(|()| self.commit(&temporary));
        if made.is_err() {
            // The first error is the one to tell; recovery collects what is left.
            let _ = deployment::remove_tree(&temporary);
            let _ = self.deployments.remove(&self.deployment());
        }
        made.context(what)
    }

    fn fill(
        &self,
        directory: &Path,
        store: &Store,
        image: &Image,
        rendered: &Rendered,
        mut info: Info,
    ) -> Result<()> {
        deployment::remove_tree(directory)?;
        let what = || format!("cannot create {}", directory.display());
        fs::create_dir(directory).context(what)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(rendered.mode())).context(what)?;
        store.checkout(image, &directory.join("rootfs"))?;
        if let Some((text, config)) = &rendered.config {
            info.mount_points = make_mount_points(&directory.join("rootfs"), config, rendered)?;
            self.write(directory, "config.json", text)?;
        }
        self.write(directory, &self.name.unit(), &rendered.unit)?;
        if let Some(tmpfiles) = &rendered.tmpfiles {
            let text = format!("{}{tmpfiles}", installation::tmpfiles_header(self.name));
            self.write(directory, &installation::tmpfiles_name(self.name), &text)?;
        }
        let text = serde_json::to_string_pretty(&info).context(|| "cannot write info".into())?;
        self.write(directory, "info", &format!("{text}\n"))
    }

    /// All of it may hold values that are nobody's business.
    fn write(&self, directory: &Path, file: &str, text: &str) -> Result<()> {
        files::replace_volatile(&directory.join(file), text.as_bytes(), 0o600)
    }

    fn commit(&self, temporary: &Path) -> Result<()> {
        files::sync_file_system(temporary)?;
        let path = self.deployments.path(self.deployment());
        fs::rename(temporary, &path).context(|| format!("cannot create {}", path.display()))?;
        files::sync_directory(&self.deployments.path(""))
    }
}

fn make_mount_points(rootfs: &Path, config: &serde_json::Value, rendered: &Rendered) -> Result<Vec<PathBuf>> {
    let normal = config::normalised(config);
    let socket = [Path::new(bundle::PAYLOAD_NOTIFY)];
    let extra: &[&Path] = if bundle::mounts_notify_socket(&normal, rendered.notify) { &socket } else { &[] };
    mountpoints::create(rootfs, &normal, extra)
}
