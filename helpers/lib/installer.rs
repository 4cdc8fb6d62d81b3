//! The first installation of an image: from the store to an enabled unit.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::body;
use crate::deployment::{Deployments, Info};
use crate::draft::Draft;
use crate::error::{Context, Error, Result};
use crate::exports::{Exports, Place, Rendered};
use crate::installation;
use crate::log;
use crate::name::Name;
use crate::paths::ATTACHED;
use crate::recovery;
use crate::resources;
use crate::runtime::Runtime;
use crate::store::{Image, Store};
use crate::systemd;
use crate::variables::{self, Facts, Values};

/// What the user chose.
pub struct Options {
    /// Values of variables.
    pub user_values: Values,
    /// The OCI runtime, if not the preferred one.
    pub runtime: Option<PathBuf>,
    /// Whether the unit is enabled as its `[Install]` says.
    pub enable: bool,
    /// Whether another unit of that name is no obstacle.
    pub replace_unit: bool,
}

/// Installs one image as one container; the caller holds the container's lock.
pub struct Installer<'a> {
    /// Where to.
    pub deployments: &'a Deployments,
    /// Where the image is.
    pub store: &'a Store,
    /// The image.
    pub image: &'a Image,
    /// What the container is called.
    pub name: &'a Name,
    /// What the user chose.
    pub options: &'a Options,
}

impl Installer<'_> {
    /// Makes deployment 0 and all that belongs to it. A failure leaves nothing behind.
    pub fn install(&self) -> Result<()> {
        let draft = Draft::new(self.deployments, self.name, 0);
        let (rendered, info) = self.plan(&draft)?;
        self.check(&draft, &rendered, &info)?;
        draft.make(self.store, self.image, &rendered, info)?;
        let done = self.commit(&draft.deployment());
        if let Err(e) = done {
            self.undo().context(|| format!("{e}; then it failed to remove what was made"))?;
            return Err(e);
        }
        let start = if systemd::is_running(self.deployments.root()) {
            format!("; start it with 'systemctl start {}'", self.name)
        } else {
            String::new()
        };
        log::info(&format!(
            "installed {} from {} ({}){start}",
            self.name, self.image.name, self.image.digest
        ));
        Ok(())
    }

    /// Everything that the deployment will hold, rendered and checked; nothing is written yet.
    fn plan(&self, draft: &Draft) -> Result<(Rendered, Info)> {
        let exports = Exports::read(self.store, self.image)?;
        if exports.manifest().no_container_service {
            let why = "it brings files for the host only, and no service; this version cannot install these";
            return Err(Error::new(format!("cannot install {}: {why}", self.image.name)));
        }
        self.warn_of_values(&exports);
        let root = self.deployments.root();
        let runtime = match exports.needs_runtime() {
            true => Some(Runtime::find(root, self.options.runtime.as_deref())?),
            false => None,
        };
        let facts = Facts {
            name: self.name,
            image: &self.image.name,
            digest: &self.image.digest,
            runtime: runtime.as_ref().map_or("".as_ref(), |runtime| &runtime.path),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        };
        let values =
            variables::complete(&facts, &self.options.user_values, &exports.manifest().default_values)?;
        let directory = self.deployments.directory();
        let place = Place {
            name: self.name,
            root,
            link: directory.join(self.name.as_str()),
            deployment: directory.join(draft.deployment()),
        };
        let rendered = exports.render(self.store, self.image, &values, &place)?;
        let values = variables::with_destdir(&values, &place.deployment);
        let info = self.info(&exports, &rendered, values, runtime);
        Ok((rendered, info))
    }

    fn info(&self, exports: &Exports, rendered: &Rendered, values: Values, runtime: Option<Runtime>) -> Info {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let digest = self.image.digest.clone();
        Info {
            image: self.image.name.clone(),
            revision: digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned(),
            ostree_commit: self.image.commit.clone(),
            created: now.as_secs(),
            values,
            has_container_service: true,
            installed_files: Vec::new(),
            installed_files_checksum: Default::default(),
            runtime: runtime.as_ref().map(|runtime| runtime.path.clone()),
            user_values: self.options.user_values.clone(),
            digest,
            runtime_kind: runtime.filter(|_| rendered.placed.iter().any(|p| p == "EXEC_START")),
            enabled: self.options.enable,
            notify: rendered.notify,
            placed: rendered.placed.clone(),
            uses_pid_file: exports.used().contains("PIDFILE"),
            mount_points: Vec::new(),
        }
    }

    fn warn_of_values(&self, exports: &Exports) {
        let used = exports.used();
        for name in self.options.user_values.keys() {
            if variables::is_forced(name) {
                log::warning(&format!("{name} says how the container is installed, ignoring --set {name}"));
            } else if !used.contains(name) {
                log::warning(&format!(
                    "no template of {} uses {name}, --set {name} changes nothing",
                    self.image.name
                ));
            }
        }
    }

    /// Whatever would fail later fails here, where nothing needs to be undone.
    fn check(&self, draft: &Draft, rendered: &Rendered, info: &Info) -> Result<()> {
        let name = self.name;
        installation::check_name(
            self.deployments.root(),
            name,
            self.options.replace_unit,
            rendered.tmpfiles.is_some(),
        )?;
        let config = rendered.config.as_ref().map(|(_, value)| value);
        let registration = installation::describe(
            self.deployments,
            name,
            &draft.deployment(),
            info.clone(),
            rendered.unit.clone(),
            config,
            rendered.tmpfiles.is_some(),
        );
        let source = PathBuf::from(ATTACHED).join(format!("{name}.json"));
        body::compose(&registration, &source).context(|| format!("cannot install {name}"))?;
        if let (Some(config), Some(_)) = (config, &registration.runtime) {
            for ignored in resources::settings(config).ignored {
                log::warning(&format!(
                    "systemd has no setting for {ignored} of {}, ignoring it",
                    self.image.name
                ));
            }
        }
        Ok(())
    }

    /// The deployment is whole: makes it the container. Each step may be repeated.
    fn commit(&self, deployment: &str) -> Result<()> {
        installation::register(self.deployments, self.name, deployment)?;
        self.deployments.switch(self.name, deployment)?;
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        let root = self.deployments.root();
        if self.options.enable && installation::is_installable(root, self.name)? {
            systemd::enable(root, self.name)?;
        }
        systemd::reload(root)?;
        if installation::has_tmpfiles(root, self.name) {
            systemd::create_tmpfiles(root, self.name)?;
        }
        Ok(())
    }

    fn undo(&self) -> Result<()> {
        self.deployments.detach(self.name)?;
        recovery::recover(self.deployments, self.name)?;
        systemd::reload(self.deployments.root())
    }

    /// The same command as last time completes what was interrupted; another one is refused.
    pub fn finish_again(&self, deployment: &str) -> Result<()> {
        let info = self.deployments.info(deployment)?;
        let runtime = self.options.runtime.as_ref();
        let same = info.digest == self.image.digest
            && info.user_values == self.options.user_values
            && runtime.is_none_or(|path| info.runtime.as_ref() == Some(path));
        if !same {
            return Err(Error::new(format!(
                "cannot install {}: it is installed already, from {} ({}), or with other values; choose another name with --name",
                self.name, info.image, info.digest
            )));
        }
        self.finish()?;
        log::info(&format!("{} is installed already, from {} ({})", self.name, info.image, info.digest));
        Ok(())
    }
}
