//! Fourth step from an image to a deployment: everything that was rendered is parsed, so that what would fail later
//! fails here.
//!
//! What the image left out is made here, too: a configuration from the image's own, and tmpfiles from the bind sources
//! that the host lacks.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::container::info::Values;
use crate::container::needs;
use crate::container::readiness::{Notify, UserNotify};
use crate::container::volume::Volume;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::binds;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, Exports, SERVICE_TEMPLATE};
use crate::image::generated_config;
use crate::image::installation::Installation;
use crate::image::layout::Layout;
use crate::image::limits;
use crate::image::options;
use crate::image::render::Rendered;
use crate::image::service::{self, Unkept};
use crate::image::systemd;
use crate::image::tree::Tree;
use crate::image::variables;
use crate::oci::config::{self, Normalised};
use crate::oci::nesting::{self, nested_sources};
use crate::paths::{Root, TreePath, VOLUMES};
use crate::unit::escape::TmpfilesPlace;
use crate::unit::syntax::UnitFile;
use crate::unit::user;

/// What a deployment will contain besides the image's files, rendered and valid.
pub struct Checked {
    /// The unit as the image has it; `None` if the image is not a service.
    pub unit: Option<String>,
    /// tmpfiles.d(5); `None` if nothing needs to be created.
    pub tmpfiles: Option<String>,
    /// The runtime configuration as written and as normalised; `None` if there is no payload.
    pub config: Option<(String, Normalised)>,
    /// Files for the host.
    pub layout: Layout,
    /// Names of the [`variables::EXEC_VARIABLES`] that the unit uses.
    pub exec_variables: Vec<String>,
    /// Names of all variables that are used.
    pub used: BTreeSet<String>,
    /// Names of variables that are used where every user of the host can read them.
    pub readable: BTreeSet<String>,
    /// Names of all variables whose values are secret.
    pub secrets: BTreeSet<String>,
    /// Who tells systemd that the service is ready.
    pub notify: Notify,
    /// Directories that the payload writes to.
    pub volumes: Vec<Volume>,
    /// Names of the values that are in the payload's environment.
    pub environment: BTreeSet<String>,
    /// Whether the configuration was made here, so that the host says how the payload is confined.
    pub confined: bool,
    /// Whether the payload is systemd.
    pub systemd: bool,
    /// What the unit asks for and does not get.
    pub unkept: Vec<Unkept>,
    /// Whether the container runs once, with a root file system that may be written.
    pub run_once: bool,
}

impl Checked {
    /// Whether the root file system is an overlay, as [`Execution::has_scratch`] says.
    ///
    /// [`Execution::has_scratch`]: crate::container::execution::Execution::has_scratch
    pub fn has_scratch(&self) -> bool {
        self.run_once || self.confined
    }

    /// Fails if the host lacks what keys need of it, where these have become part of the configuration.
    pub fn check_needs(&self, installation: &Installation) -> Result<()> {
        if !self.confined {
            return Ok(());
        }
        needs::check(installation.root, installation.settings)
            .and_then(|()| if self.systemd { systemd::check_host(installation.root) } else { Ok(()) })
            .context(|| format!("cannot generate a configuration for {}", installation.image))
    }
}

/// Checks everything that was rendered for one installation of an image; only sources without a configuration need one. What
/// keys need of the host is not looked at.
pub fn check(
    rendered: Rendered,
    exports: &Exports,
    tree: &dyn Tree,
    image: Option<&Image>,
    installation: &Installation,
    values: &Values,
) -> Result<Checked> {
    let name = image.map_or(installation.image, |image| &image.name);
    let what = || format!("cannot install {name}");
    rendered.check_problems(name)?;
    let layout = rendered.layout.context(what)?;
    let (mut used, readable, secrets) = (rendered.used, rendered.readable, rendered.secrets);
    let (mut volumes, mut environment) = (Vec::new(), BTreeSet::new());
    let (mut confined, mut systemd) = (false, false);
    options::check(installation.settings, exports).context(what)?;
    let config = match (&exports.texts().config, rendered.config) {
        (Some(text), _) => Some((CONFIG, text.clone())),
        (None, Some(rendered)) => Some((CONFIG_TEMPLATE, rendered.text)),
        (None, None) if exports.runs_payload() => {
            let is_plain = exports.is_plain() && layout.files().is_empty();
            let values = for_environment(installation.user_values, &used, is_plain);
            let image =
                image.ok_or_else(|| Error::new("its own configuration is not known")).context(what)?;
            let generated = generated_config::generate(tree, image, installation, &values)
                .context(|| format!("cannot generate a configuration for {name}"))?;
            (volumes, confined, systemd) = (generated.volumes, true, generated.systemd);
            environment.extend(values.into_keys());
            used.extend(environment.iter().cloned());
            Some(("the image's configuration", generated.text))
        }
        (None, None) => None,
    };
    let unit = rendered.unit.map(|unit| unit.text);
    let parsed = UnitFile::parse(unit.as_deref().unwrap_or_default())
        .context(|| format!("invalid unit in {SERVICE_TEMPLATE}"))
        .context(what)?;
    let runs_payload = exports.runs_payload();
    check_unit(&parsed, runs_payload, &installation.link).context(what)?;
    let run_once = exports.is_run_once();
    let pid_file = values.get("PIDFILE").filter(|_| used.contains("PIDFILE")).map(String::as_str);
    let parse = |(origin, text)| parse(origin, text, run_once || confined, installation, pid_file);
    let config = config.map(parse).transpose().context(what)?;
    let normalised = config.as_ref().map(|(_, normalised)| normalised);
    let tmpfiles = match rendered.tmpfiles {
        Some(tmpfiles) => Some(tmpfiles.text),
        // What is mounted there are its volumes, and what the administrator has.
        None if confined => None,
        None => normalised.map(|config| missing_sources(installation.root, config, &layout)),
    };
    let notify = notify_mode(&parsed, normalised, installation.user_notify);
    let unkept = if runs_payload { service::unkept(&parsed, notify) } else { Vec::new() };
    Ok(Checked {
        unkept,
        unit,
        tmpfiles: tmpfiles.filter(|text| !text.trim().is_empty()),
        config,
        layout,
        exec_variables: exports.exec_variables(),
        used,
        readable,
        secrets,
        notify,
        volumes,
        environment,
        confined,
        systemd,
        run_once,
    })
}

/// Parses a configuration, and checks what an installation insists on.
fn parse(
    origin: &str,
    text: String,
    has_scratch: bool,
    installation: &Installation,
    pid_file: Option<&str>,
) -> Result<(String, Normalised)> {
    let normalised = config::parse(&text, origin, has_scratch)?;
    binds::check_users(&normalised, installation)?;
    limits::check_mounts(&normalised)
        .and_then(|()| binds::check(&normalised, installation, pid_file))
        .context(|| format!("invalid configuration in {origin}"))?;
    Ok((text, normalised))
}

/// The values that are for the payload's environment: those that no template uses. A plain image has no templates, so
/// all of them are, whatever the default unit makes of their names.
fn for_environment(user_values: &Values, used: &BTreeSet<String>, is_plain: bool) -> Values {
    let mut values = user_values.clone();
    values.retain(|name, _| is_plain || !used.contains(name) && !variables::is_forced(name));
    values
}

/// Refuses a unit that would not do what it says.
fn check_unit(unit: &UnitFile, runs_payload: bool, link: &TreePath) -> Result<()> {
    if runs_payload {
        service::check(unit).context(|| format!("invalid unit in {SERVICE_TEMPLATE}"))?;
    }
    check_users(unit, link)
}

/// Refuses commands that run a file of the deployment as another user, who cannot reach it.
fn check_users(unit: &UnitFile, link: &TreePath) -> Result<()> {
    match user::unreachable(unit, &link.to_string()).first() {
        None => Ok(()),
        Some(unreachable) => {
            Err(Error::new(format!("{SERVICE_TEMPLATE}:{}: {unreachable}", unreachable.line)))
        }
    }
}

/// Returns who tells systemd that the service is ready, as the user chose, or else as the unit says.
pub fn notify_mode(unit: &UnitFile, config: Option<&Normalised>, chosen: Option<UserNotify>) -> Notify {
    match chosen {
        Some(UserNotify::No) => Notify::Created,
        Some(UserNotify::Full) => Notify::Socket,
        Some(UserNotify::Ready) => readiness(config),
        None if unit.last("Service", "Type") == Some("notify") => readiness(config),
        None => Notify::Created,
    }
}

fn readiness(config: Option<&Normalised>) -> Notify {
    if config.is_some_and(|config| config.has_pid_namespace() && !config.has_user_namespace()) {
        Notify::Ready
    } else {
        // From a user namespace, the payload cannot name processes outside; without a PID namespace, it sees those of
        // the host anyway.
        Notify::Socket
    }
}

/// Returns tmpfiles for the bind sources that the host lacks, or may lack after a boot: directories that only the
/// payload's user can enter. A directory that exists keeps its mode and owner. What the image itself brings for the
/// host is left out, and so are volumes and what is in a directory that the payload writes to: systemd-tmpfiles follows
/// symlinks, so prepare makes these.
fn missing_sources(root: &Root, config: &Normalised, layout: &Layout) -> String {
    let (uid, gid) = if config.has_user_namespace() { (0, 0) } else { config.user() };
    let brought: HashSet<&Path> = layout.files().iter().map(|file| file.path.as_path()).collect();
    let nested = nested_sources(config);
    let is_wanted = |source: &PathBuf| {
        if source.starts_with(VOLUMES) || nested.contains_key(&nesting::plain(source)) {
            return false;
        }
        let there = root.join(&TreePath::new(source));
        !brought.contains(source.as_path()) && (!there.exists() || is_volatile(source) && there.is_dir())
    };
    let mounts = config.mounts().filter(|mount| mount.has_bind_type());
    let sources = mounts.filter_map(|mount| mount.bind_source()).map(|source| source.components().collect());
    let missing: BTreeSet<PathBuf> = sources.filter(is_wanted).collect();
    let (mut lines, mut place) = (String::new(), TmpfilesPlace::default());
    place.push("d ");
    for source in missing {
        // A path that cannot be written in tmpfiles cannot be created; the start of the container will report that.
        if let Ok(path) = place.value(&source.to_string_lossy()) {
            lines.push_str(&format!("d {path} :0700 :{uid} :{gid} - -\n"));
        }
    }
    lines
}

/// Returns whether a directory that exists now may be gone after the next boot.
fn is_volatile(path: &Path) -> bool {
    ["/run", "/var/run", "/tmp"].iter().any(|above| path.starts_with(above) && path != Path::new(above))
}

#[cfg(test)]
mod tests;
