//! The first installation of an image: from the store to an enabled unit.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::body;
use crate::deployment::{Deployments, Info};
use crate::draft::{self, Content, Draft};
use crate::error::{Context, Error, Result};
use crate::exports::{Exports, Place, Rendered};
use crate::host_files;
use crate::hostfs::Plan;
use crate::installation;
use crate::log;
use crate::mountpoints;
use crate::name::Name;
use crate::paths::ATTACHED;
use crate::preview;
use crate::recovery;
use crate::registration::Registration;
use crate::resources;
use crate::runtime::Runtime;
use crate::store::{Image, Store};
use crate::systemd;
use crate::tree::Tree;
use crate::variables::{self, Facts, Values};

/// What the user chose.
#[derive(Default)]
pub struct Options {
    /// Values of variables.
    pub user_values: Values,
    /// The OCI runtime, if not the preferred one.
    pub runtime: Option<PathBuf>,
    /// A directory with the image's files, to be used instead of a checkout.
    pub rootfs: Option<PathBuf>,
    /// Whether the unit stays as it is, instead of being enabled as its `[Install]` says.
    pub no_enable: bool,
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

/// A deployment as it will be: rendered, checked, and nothing of it written.
pub struct Planned {
    /// Its name.
    pub deployment: String,
    /// What it is made of.
    pub content: Content,
    /// What is known of it.
    pub info: Info,
    /// What the generator will know of it.
    pub registration: Registration,
}

impl Installer<'_> {
    /// Makes deployment 0 and all that belongs to it. A failure leaves nothing behind.
    pub fn install(&self) -> Result<()> {
        let draft = Draft::new(self.deployments, self.name, 0);
        let planned = self.plan(&draft)?;
        let has_service = planned.registration.service;
        planned.content.host_files.left.iter().for_each(|path| {
            log::warning(&format!("{path} is on this host already, leaving it as it is"));
        });
        draft.make(self.store, self.image, &planned.content, planned.info)?;
        let done = self.commit(&draft.deployment());
        if let Err(e) = done {
            self.undo().context(|| format!("{e}; then it failed to remove what was made"))?;
            return Err(e);
        }
        let start = if has_service && systemd::is_running(self.deployments.root()) {
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

    /// All that [`Installer::install`] would write and do, as text.
    pub fn preview(&self) -> Result<String> {
        let planned = self.plan(&Draft::new(self.deployments, self.name, 0))?;
        preview::show(self.deployments, self.name, &planned, !self.options.no_enable)
    }

    /// Everything that the deployment will hold, rendered and checked: whatever would fail later fails here, where nothing
    /// needs to be undone.
    fn plan(&self, draft: &Draft) -> Result<Planned> {
        let rootfs = self.options.rootfs.as_deref().map(find_rootfs).transpose()?;
        let tree = match &rootfs {
            Some(directory) => Tree::Directory(directory),
            None => Tree::Stored(self.store, self.image),
        };
        let exports = Exports::read(&tree, self.image)?;
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
        let rendered = exports.render(&tree, self.image, &values, &place)?;
        self.warn_of_values(&rendered);
        let values = variables::with_destdir(&values, &place.deployment);
        let mut info = self.info(&rendered, values, runtime);
        info.installed_files_template = exports.manifest().installed_files_template.clone();
        info.rename_installed_files = rendered.layout.renames().clone();
        info.use_links = exports.manifest().use_links;
        info.remote = self.options.rootfs.clone();
        info.rootfs = rootfs;
        self.check(draft, rendered, info)
    }

    fn info(&self, rendered: &Rendered, values: Values, runtime: Option<Runtime>) -> Info {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let digest = self.image.digest.clone();
        Info {
            image: self.image.name.clone(),
            revision: digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned(),
            ostree_commit: self.image.commit.clone(),
            created: now.as_secs(),
            values,
            has_container_service: rendered.unit.is_some(),
            system_package: "no".into(),
            runtime: runtime.as_ref().map(|runtime| runtime.path.clone()),
            user_values: self.options.user_values.clone(),
            digest,
            runtime_kind: runtime.filter(|_| rendered.placed.iter().any(|p| p == "EXEC_START")),
            enabled: !self.options.no_enable,
            notify: rendered.notify,
            placed: rendered.placed.clone(),
            uses_pid_file: rendered.used.contains("PIDFILE"),
            run_once: rendered.run_once,
            ..Info::default()
        }
    }

    fn warn_of_values(&self, rendered: &Rendered) {
        for name in self.options.user_values.keys() {
            if variables::is_forced(name) {
                log::warning(&format!("{name} says how the container is installed, ignoring --set {name}"));
            } else if !rendered.used.contains(name) {
                log::warning(&format!(
                    "no template of {} uses {name}, --set {name} changes nothing",
                    self.image.name
                ));
            }
        }
    }

    fn check(&self, draft: &Draft, rendered: Rendered, info: Info) -> Result<Planned> {
        let (name, root) = (self.name, self.deployments.root());
        let what = || format!("cannot install {name}");
        let (has_unit, has_tmpfiles) = (rendered.unit.is_some(), rendered.tmpfiles.is_some());
        installation::check_name(root, name, self.options.replace_unit, has_unit, has_tmpfiles)?;
        let config = rendered.config.as_ref().map(|(_, value)| value);
        let registration = installation::describe(
            self.deployments,
            name,
            &draft.deployment(),
            info.clone(),
            rendered.unit.clone().unwrap_or_default(),
            config,
            has_tmpfiles,
        );
        if has_unit {
            let source = PathBuf::from(ATTACHED).join(format!("{name}.json"));
            body::compose(&registration, &source).context(what)?;
        }
        if let (Some(config), Some(_)) = (config, &registration.runtime) {
            for ignored in resources::settings(config).ignored {
                log::warning(&format!(
                    "systemd has no setting for {ignored} of {}, ignoring it",
                    self.image.name
                ));
            }
        }
        if let Some(rootfs) = &info.rootfs {
            check_mount_points(rootfs, &rendered).context(what)?;
        }
        let host_files = match rendered.layout.files() {
            [] => Plan::default(),
            _ => rendered
                .layout
                .plan(root, None, &host_files::of_others(self.deployments, name)?)
                .context(what)?,
        };
        Ok(Planned {
            deployment: draft.deployment(),
            content: Content { rendered, host_files },
            info,
            registration,
        })
    }

    /// The deployment is whole: makes it the container. Each step may be repeated.
    fn commit(&self, deployment: &str) -> Result<()> {
        installation::register(self.deployments, self.name, deployment)?;
        self.deployments.switch(self.name, deployment)?;
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        let root = self.deployments.root();
        if !self.options.no_enable && installation::is_installable(root, self.name)? {
            systemd::enable(root, self.name)?;
        }
        systemd::reload(root)?;
        if installation::has_tmpfiles(root, self.name) && installation::has_service(root, self.name) {
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
            && info.remote == self.options.rootfs
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

/// The root file system in a directory that the user named: itself, or `rootfs` in it.
fn find_rootfs(directory: &Path) -> Result<PathBuf> {
    let what = || format!("cannot use the root file system {}", directory.display());
    let directory = directory.canonicalize().context(what)?;
    let inner = directory.join("rootfs");
    if inner.is_dir() {
        return inner.canonicalize().context(what);
    }
    if directory.join("usr").is_dir() {
        return Ok(directory);
    }
    Err(Error::new("there is neither a directory rootfs nor a directory usr in it")).context(what)
}

/// Nothing is written to a root file system that is not ours; runtimes make what is missing, if they can.
fn check_mount_points(rootfs: &Path, rendered: &Rendered) -> Result<()> {
    let Some((_, config)) = &rendered.config else { return Ok(()) };
    let missing =
        mountpoints::missing(rootfs, &crate::config::normalised(config), &draft::mount_files(rendered))?;
    if missing.is_empty() || rendered.run_once {
        return Ok(());
    }
    let list = missing.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let what = format!("the root file system {} lacks the mount points {list}", rootfs.display());
    match nix::unistd::access(rootfs, nix::unistd::AccessFlags::W_OK) {
        Ok(()) => log::warning(&format!("{what}; the runtime will make them")),
        Err(_) => return Err(Error::new(format!("{what}, and it is read-only; make them there"))),
    }
    Ok(())
}
