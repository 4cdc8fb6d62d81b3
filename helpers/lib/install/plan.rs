//! Planning a deployment: everything that it will contain is rendered and checked before any of it is written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::container::execution::Execution;
use crate::container::info::{self, ExportsUse, Info, Origin, Ours, RecordedFiles, Values};
use crate::container::keys::limits;
use crate::container::output::{self, Output};
use crate::container::readiness::UserNotify;
use crate::container::registration::Registration;
use crate::container::runtime::Runtime;
use crate::container::settings::{self, Assignment, Settings};
use crate::container::{derived, units};
use crate::error::{Context, Result};
use crate::host_files::changes::Known;
use crate::host_files::plan::Plan;
use crate::image::Image;
use crate::image::check::{self, Checked};
use crate::image::installation::Installation;
use crate::image::manifest::Manifest;
use crate::image::render;
use crate::image::secrets;
use crate::image::tree::{Directory, Tree};
use crate::image::variables;
use crate::install::acceptance::{self, Accepted, Granted, Wish};
use crate::install::atomic;
use crate::install::claim::{self, Claim};
use crate::install::draft::{Content, Draft};
use crate::install::previous::Previous;
use crate::install::register::{self, Parts};
use crate::install::rootfs;
use crate::install::site::Site;
use crate::install::unset;
use crate::name::{Deployment, Name};
use crate::oci::resources;
use crate::paths::TreePath;
use crate::program::log;
use crate::run::lengths;
use crate::signal;
use crate::system::quota;

/// The user's choices.
#[derive(Default)]
pub struct Options {
    /// Values of variables.
    pub user_values: Values,
    /// Variables whose values are secret.
    pub user_secrets: BTreeSet<String>,
    /// What the user decides about the container, in order.
    pub settings: Vec<Assignment>,
    /// The OCI runtime, if not the preferred one.
    pub runtime: Option<PathBuf>,
    /// A directory with the image's files, to be used instead of a checkout.
    pub rootfs: Option<PathBuf>,
    /// How the payload notifies systemd, if not as its unit says.
    pub notify: Option<UserNotify>,
    /// Whether the unit is not to be enabled.
    pub no_enable: bool,
    /// Whether the container may take the place of another unit of its name.
    pub replace_unit: bool,
    /// For an update: variables to be reset to their defaults.
    pub unset: BTreeSet<String>,
    /// Whether the image may bring what the container did not have.
    pub exports: Wish,
    /// For an update: whether the image may come from elsewhere than before.
    pub rebase: bool,
    /// Lines of `[Install]` that are added to the image's; an empty value resets its key.
    pub user_install: Vec<(String, String)>,
    /// Whether these are all of the user's choices, as in a declaration: an update resets what they do not say, and an
    /// installation may find its unit masked.
    pub complete: bool,
    /// For an installation: whether there was a container of that name before, without `/exports`.
    pub was_plain: bool,
}

/// A planned deployment: rendered and checked, but not written.
pub struct Planned {
    /// The deployment's name.
    pub deployment: Deployment,
    /// What the deployment consists of.
    pub content: Content,
    /// The deployment's `info`, except for its host files and mount points.
    pub info: Info,
    /// The deployment's registration.
    pub registration: Registration,
    /// What the user is told about the image.
    notices: Vec<String>,
}

impl Planned {
    /// Tells what the container gets from `/exports` that it did not have, and what its image does on this host.
    pub fn tell_of_image(&self) {
        self.notices.iter().for_each(|notice| log::info(notice));
    }

    /// Warns of files that exist on the host already, and are left alone.
    pub fn warn_of_host_files(&self) {
        for path in &self.content.host_files.left {
            log::warning(&format!("{path} is on this host already, leaving it as it is"));
        }
    }
}

/// What `info` says besides what was rendered.
struct Facts<'a> {
    installation: &'a Installation<'a>,
    manifest: &'a Manifest,
    /// The values of all variables.
    values: Values,
    runtime: Option<&'a Runtime>,
    rootfs: Option<TreePath>,
    /// The argument of `--rootfs=`.
    remote: Option<PathBuf>,
    /// What becomes of `/exports`.
    usage: ExportsUse,
}

/// Plans deployments of one image as one container.
pub struct Planner<'a> {
    /// The tree to install to.
    pub site: &'a Site,
    /// The image's files in the store.
    pub tree: &'a dyn Tree,
    /// The image to install.
    pub image: &'a Image,
    /// Name of the container.
    pub name: &'a Name,
    /// The user's choices.
    pub options: &'a Options,
    /// The container as it is now, if it is installed.
    pub previous: Option<&'a Previous>,
}

impl Planner<'_> {
    /// Renders and checks everything that the deployment will contain, so that what would fail later fails here, where
    /// nothing needs to be undone.
    pub fn plan(&self, draft: &Draft) -> Result<Planned> {
        self.plan_with(draft, &self.user_values(), self.settings(), &log::warning)
    }

    /// Fails if [`Planner::plan`] would, and says nothing else.
    pub fn check(&self, draft: &Draft) -> Result<()> {
        self.plan_with(draft, &self.user_values(), self.settings(), &|_| {}).map(|_| ())
    }

    /// A plan as it may be shown: with a mask in place of each secret value that the user set.
    pub fn masked(&self, draft: &Draft, planned: Planned) -> Result<Planned> {
        let (values, secrets) = (self.user_values(), &planned.content.rendered.secrets);
        let (settings, masked) = (self.settings(), secrets::masked_settings(&self.settings(), secrets));
        if !values.keys().any(|name| secrets.contains(name)) && settings == masked {
            return Ok(planned);
        }
        // Everything that there is to warn of was said with the real values.
        self.plan_with(draft, &secrets::masked(&values, secrets), masked, &|_| {})
            .context(|| "cannot show it without revealing secret values".into())
    }

    fn plan_with(
        &self,
        draft: &Draft,
        user_values: &Values,
        settings: Settings,
        warn: &dyn Fn(&str),
    ) -> Result<Planned> {
        self.previous.map_or(Ok(()), |previous| unset::check(previous, &self.options.unset))?;
        let before = self.previous.and_then(Previous::provenance);
        acceptance::check_provenance(self.name, self.image, before.filter(|_| !self.options.rebase))?;
        self.image.check_platform().context(|| format!("cannot use {}", self.image.name))?;
        let remote = self.remote();
        let rootfs = remote.as_deref().map(|remote| rootfs::find(self.site.root(), remote)).transpose()?;
        let granted = self.previous.map(|previous| previous.granted);
        let granted = granted.or(self.options.was_plain.then_some(Granted::NOTHING));
        let tree = self.tree(rootfs.as_ref());
        let Accepted { tree, exports, usage, notice } =
            acceptance::decide(self.name, tree, self.image, granted, self.options.exports)?;
        let root = self.site.root();
        let runtime = if exports.needs_runtime() { Some(self.find_runtime()?) } else { None };
        let (directory, user_secrets) = (self.site.deployments.directory(), self.kept_secrets());
        let user_notify = self.notify(&settings)?;
        let installation = Installation {
            name: self.name,
            image: &self.image.title,
            digest: &self.image.digest,
            root,
            link: directory.join(self.name.as_str()),
            deployment: directory.join(draft.deployment.to_string()),
            runtime: runtime.as_ref().map(|runtime| &runtime.path),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            uuid: self.previous.and_then(|previous| previous.info.values.get("UUID")).map(String::as_str),
            user_values,
            user_secrets: &user_secrets,
            settings: &settings,
            user_notify,
        };
        variables::check_secrets(&user_secrets, &exports.manifest().secret_values)?;
        let values = variables::complete(&installation, &exports.manifest().default_values)?;
        let rendered = render::render(&exports, &*tree, &installation, &values, None);
        let image = Some(self.image);
        let checked = check::check(rendered, &exports, &*tree, image, &installation, &values)
            .and_then(|checked| checked.check_needs(&installation).map(|()| checked));
        let mut rendered = match usage {
            ExportsUse::Ignored => {
                checked.context(|| format!("cannot run {} without its /exports", self.image.name))?
            }
            ExportsUse::None | ExportsUse::Accepted => checked?,
        };
        rendered.unit = rendered.unit.map(|unit| self.with_user_install(unit)).transpose()?;
        self.warn_of_values(&rendered, warn);
        let values = variables::with_destdir(&values, &installation.deployment);
        let manifest = exports.manifest();
        let (installation, runtime) = (&installation, runtime.as_ref());
        let info = Facts { installation, manifest, values, runtime, rootfs, remote, usage };
        let info = self.info(&rendered, info);
        let mut planned = self.describe(draft, rendered, info, warn)?;
        let notices = self.notices((&planned.content.rendered, &*tree), &settings, warn)?;
        planned.notices = notice.into_iter().chain(notices).collect();
        Ok(planned)
    }

    /// The files of a deployment: those of the image, or of the directory that `--rootfs=` names.
    pub fn tree(&self, rootfs: Option<&TreePath>) -> Box<dyn Tree + '_> {
        match rootfs {
            Some(directory) => Box::new(Directory(self.site.root().join(directory))),
            None => Box::new(self.tree),
        }
    }

    /// The `info` of a deployment; its settings are those of the installation, perhaps with masks.
    fn info(&self, rendered: &Checked, facts: Facts) -> Info {
        let Facts { installation: Installation { user_values, settings, .. }, manifest, .. } = facts;
        let environment = settings.environment();
        let is_set = |name: &&String| user_values.contains_key(*name) || environment.contains_key(*name);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ours = Ours {
            version: info::VERSION,
            digest: self.image.digest.clone(),
            provenance: Some(self.image.provenance.clone()),
            exports: facts.usage,
            user_values: (*user_values).clone(),
            user_secrets: self.user_secrets(),
            image_secrets: rendered.secrets.iter().filter(is_set).cloned().collect(),
            settings: (*settings).clone(),
            user_notify: self.user_notify(),
            user_install: self.user_install().to_vec(),
            enabled: self.previous.map_or(!self.options.no_enable, |previous| previous.enabled),
            mount_points: Vec::new(),
            execution: self.execution(rendered, &facts),
        };
        Info {
            image: self.image.name.clone(),
            revision: self.image.digest.hex().to_owned(),
            ostree_commit: self.image.commit.clone(),
            created: now.as_secs(),
            values: facts.values,
            has_container_service: rendered.unit.is_some(),
            host_files: RecordedFiles::none(),
            installed_files_template: manifest.installed_files_template.clone(),
            rename_installed_files: rendered.layout.renames().clone(),
            rpm_installed: None,
            system_package: "no".into(),
            remote: facts.remote,
            use_links: manifest.use_links,
            runtime: facts.runtime.map(|runtime| runtime.path.clone()),
            origin: Origin::Ours(Box::new(ours)),
        }
    }

    fn execution(&self, rendered: &Checked, facts: &Facts) -> Execution {
        let settings = facts.installation.settings;
        let pid_file = if rendered.used.contains("PIDFILE") { facts.values.get("PIDFILE") } else { None };
        let stop_signal = settings.last(settings::STOP_SIGNAL).and_then(signal::number);
        let runs_payload = rendered.exec_variables.iter().any(|used| used == "EXEC_START");
        Execution {
            runtime: facts.runtime.filter(|_| runs_payload).cloned(),
            notify: rendered.notify,
            pid_file: pid_file.map(TreePath::new),
            exec_variables: rendered.exec_variables.clone(),
            rootfs: facts.rootfs.clone(),
            run_once: rendered.run_once,
            confined: rendered.confined,
            pid_namespace: rendered.config.as_ref().is_some_and(|(_, config)| config.has_pid_namespace()),
            systemd: rendered.systemd,
            categories: rendered.confined.then(|| self.categories()),
            output: Output::chosen(settings.last(output::KEY)).unwrap_or(Output::Journal),
            scratch_size: settings.last(settings::SCRATCH_SIZE).and_then(|size| limits::size(size).ok()),
            stop_signal: stop_signal.or_else(|| rendered.config.as_ref()?.1.stop_signal()),
            stop_timeout: settings.last(settings::STOP_TIMEOUT).map(str::to_owned),
            volumes: rendered.volumes.clone(),
        }
    }

    fn describe(&self, draft: &Draft, rendered: Checked, info: Info, warn: &dyn Fn(&str)) -> Result<Planned> {
        let (name, site) = (self.name, self.site);
        let what = || format!("cannot install {name}");
        let has_tmpfiles = rendered.tmpfiles.is_some();
        let replace_unit = self.options.replace_unit;
        match self.previous.filter(|previous| previous.info.is_from_atomic()) {
            Some(previous) => atomic::check(&site.deployments, &previous.deployment, replace_unit)?,
            None => {
                let (unit, is_installed) = (rendered.unit.is_some(), self.previous.is_some());
                let may_be_masked = is_installed || self.options.complete;
                let claim = Claim { unit, replace_unit, tmpfiles: has_tmpfiles, is_installed, may_be_masked };
                claim::check_name(site.root(), name, &claim)?;
            }
        }
        let config = rendered.config.as_ref().map(|(_, value)| value);
        let parts = Parts { unit: rendered.unit.clone(), config, has_tmpfiles };
        let ours = info.ours().expect("it was just made");
        let registration = register::describe(&site.deployments, &draft.deployment, &info.image, ours, parts);
        registration.check_size().context(what)?;
        if registration.unit.is_some() {
            units::compose(&registration, &derived::registration(name)).context(what)?;
        }
        rendered.unkept.iter().for_each(|unkept| warn(&format!("{}: {unkept}", self.image.name)));
        if let (Some(config), Some(_)) = (config, &registration.execution.runtime) {
            lengths::check(name, config, registration.execution.notify).context(what)?;
            for ignored in resources::settings(config).ignored {
                warn(&format!("systemd has no setting for {ignored} of {}, ignoring it", self.image.name));
            }
        }
        if registration.execution.scratch_size.is_some() {
            let scratch = site.root().join(&registration.scratch());
            quota::check(&scratch).context(|| format!("cannot give {name} ScratchSize=")).context(what)?;
        }
        if let Some(rootfs) = info.rootfs() {
            rootfs::check_mount_points(&site.root().join(rootfs), &rendered, warn).context(what)?;
        }
        let host_files = match rendered.layout.files() {
            [] => Plan::default(),
            _ => {
                let previous = self.previous.map(|previous| &previous.info);
                let known = Known::read(&site.deployments, name)?;
                Plan::new(&rendered.layout, site.root(), previous, &known).context(what)?
            }
        };
        let deployment = draft.deployment.clone();
        let content = Content { rendered, host_files };
        Ok(Planned { deployment, content, info, registration, notices: Vec::new() })
    }
}
