//! The files of an installed container outside of its deployments: registration, stub unit and tmpfiles.
//!
//! All of them are derived from the current deployment, so they can be made again at any time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::container::info::{Info, Ours};
use crate::container::needs;
use crate::container::registration::{self, Registration};
use crate::container::state::State;
use crate::container::{derived, units};
use crate::error::{Context, Error, Result};
use crate::host_files;
use crate::host_files::record::DeploymentFiles;
use crate::install::site::Site;
use crate::install::{atomic, state_directories};
use crate::name::{Deployment, Name};
use crate::oci::config::{self, Normalised};
use crate::oci::resources;
use crate::paths::{ATTACHED, GENERATED, Root, STUBS, TMPFILES, TMPFILES_PATH, TreePath, UNIT_PATH};
use crate::system::files;
use crate::system::systemd::links;
use crate::system::systemd::manager::Enablement;
use crate::unit::syntax::UnitFile;

/// The files of one container outside of its deployments, as this process sees them.
struct Files {
    registration: PathBuf,
    stub: PathBuf,
    tmpfiles: PathBuf,
}

impl Files {
    fn of(root: &Root, name: &Name) -> Self {
        Files {
            registration: root.join(&derived::registration(name)),
            stub: root.join(&derived::stub(name)),
            tmpfiles: root.join(&derived::tmpfiles(name)),
        }
    }
}

/// What the registration of a deployment is made from, besides `info`.
pub struct Parts<'a> {
    /// The rendered unit; `None` if the image only brings files for the host.
    pub unit: Option<String>,
    /// The runtime configuration.
    pub config: Option<&'a Normalised>,
    /// Whether there is a rendered tmpfiles.d(5) file.
    pub has_tmpfiles: bool,
}

/// Makes a registration from a deployment on disk.
pub fn derive(deployments: &Deployments, deployment: &Deployment) -> Result<Registration> {
    let info = deployments.info(deployment)?;
    let ours = info.ours().ok_or_else(|| {
        Error::new(format!("deployment {deployment} was made by Project Atomic, and has no registration"))
    })?;
    let name = deployment.name();
    let unit = if info.has_container_service { deployments.read(deployment, &name.unit())? } else { None };
    if unit.is_none() && info.has_container_service {
        return Err(Error::new(format!("deployment {deployment} has no {}", name.unit())));
    }
    let uses_runtime = ours.execution.runtime.is_some();
    let text = if uses_runtime { deployments.read(deployment, "config.json")? } else { None };
    let origin = format!("{deployment}/config.json");
    let config = text.map(|text| config::parse(&text, &origin, ours.execution.has_scratch())).transpose()?;
    let has_tmpfiles = deployments.read(deployment, &derived::tmpfiles_in_deployment(name))?.is_some();
    let parts = Parts { unit, config: config.as_ref(), has_tmpfiles };
    let registration = describe(deployments, deployment, &info.image, ours, parts);
    // Of what cannot be read, nothing is known, as of a container that was never declared.
    let declared = State::load(deployments, name).ok().and_then(|state| state.declared);
    let declared = declared.filter(|declared| !declared.installing).map(|declared| declared.digest);
    Ok(Registration { declared, stamp: Some(deployments.stamp(deployment)?), ..registration })
}

/// Makes a registration from the parts of a deployment.
pub fn describe(
    deployments: &Deployments,
    deployment: &Deployment,
    image: &str,
    ours: &Ours,
    parts: Parts,
) -> Registration {
    let config = if ours.execution.runtime.is_some() { parts.config } else { None };
    let mut mounts = config.map(needed_mounts).unwrap_or_default();
    mounts.extend(ours.execution.rootfs.clone());
    let mut properties = config.map(|config| resources::settings(config).settings).unwrap_or_default();
    properties.extend(needs::properties(deployments.root(), &ours.settings));
    Registration {
        version: registration::VERSION,
        name: deployment.name().clone(),
        directory: deployments.directory().clone(),
        deployment: deployment.clone(),
        image: image.to_owned(),
        digest: ours.digest.clone(),
        unit: parts.unit,
        execution: ours.execution.clone(),
        properties,
        mounts,
        tmpfiles: parts.has_tmpfiles,
        declared: None,
        stamp: None,
    }
}

/// Bind sources that may be on a mount of their own; the kernel's file systems are always mounted.
fn needed_mounts(config: &Normalised) -> Vec<TreePath> {
    let kernel = ["/proc", "/sys", "/dev", "/run"];
    let mut sources: Vec<TreePath> = config
        .mounts()
        .filter_map(|mount| mount.bind_source())
        .filter(|source| *source != Path::new("/") && !kernel.iter().any(|k| source.starts_with(k)))
        .map(TreePath::new)
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

/// Writes the files that belong to a deployment, as far as they are not there already. Returns whether anything
/// changed.
///
/// The registration comes last: as long as it is missing, or that of another deployment, everything is done again.
pub fn register(site: &Site, deployment: &Deployment) -> Result<bool> {
    let (root, deployments, name) = (site.root(), &site.deployments, deployment.name());
    let files = Files::of(root, name);
    let registration = derive(deployments, deployment)?;
    registration.check_size().context(|| format!("cannot register {deployment}"))?;
    if registration.unit.is_some() {
        // A unit that the generator could not convert must not be registered.
        units::compose(&registration, &derived::registration(name))
            .context(|| format!("cannot convert {deployment}/{}", name.unit()))?;
    }
    files::make_directory(&root.join(ATTACHED), 0o700)?;
    files::make_directory(&root.join(STUBS), 0o755)?;
    files::make_directory(&root.join(TMPFILES), 0o755)?;
    let made_by_atomic = atomic::find(deployments, &deployments.all(name)?.deployments);
    install_host_files(deployments, &registration, made_by_atomic.as_ref())?;
    state_directories::record(deployments, deployment, &deployments.info(deployment)?)?;
    let mut changed = match deployments.read(deployment, &derived::tmpfiles_in_deployment(name))? {
        Some(text) => update(&files.tmpfiles, &text, 0o644)?,
        None => derived::is_tmpfiles(&files.tmpfiles, name)? && files::remove(&files.tmpfiles)?,
    };
    changed |= match registration.unit {
        Some(_) => update(&files.stub, &units::stub(&registration)?, 0o644)?,
        None => remove_stub(site, name, &files)?,
    };
    if let Some((before, _)) = &made_by_atomic {
        changed |= atomic::retire(site, before)?;
    }
    changed |= update(&files.registration, &registration.to_json(), 0o600)?;
    if changed {
        for path in [&files.tmpfiles, &files.stub, &files.registration] {
            path.parent().map_or(Ok(()), files::sync_directory)?;
        }
    }
    Ok(changed)
}

/// Installs host files in place of those of the deployment that was registered before, or that Atomic made. If this
/// deployment is registered already, it leaves them alone, since the user may have changed or removed some.
fn install_host_files(
    deployments: &Deployments,
    registration: &Registration,
    made_by_atomic: Option<&(Deployment, Info)>,
) -> Result<()> {
    let name = &registration.name;
    let before = registration::read(deployments.root(), name, &derived::registration(name)).ok().flatten();
    if before.as_ref().is_some_and(|before| before.stamp == registration.stamp) {
        return Ok(());
    }
    let own = DeploymentFiles::read(deployments, &registration.deployment)?;
    let before = before.map(|before| before.deployment).filter(|before| *before != registration.deployment);
    let before = before.and_then(|before| Some((deployments.info(&before).ok()?, before)));
    let before = before.map(|(info, before)| DeploymentFiles::new(&before, &info));
    let before = before.or_else(|| made_by_atomic.map(|(before, info)| DeploymentFiles::new(before, info)));
    let Some(before) = before else { return host_files::install(deployments, &own, None) };
    host_files::install(deployments, &own, Some(&before))?;
    host_files::remove(deployments, name, &[&before], Some(&own))
}

/// Files that [`register`] removes, since the deployment no longer has tmpfiles or a service.
pub fn obsolete(root: &Root, registration: &Registration) -> Result<Vec<TreePath>> {
    let name = &registration.name;
    let files = Files::of(root, name);
    let mut obsolete = Vec::new();
    if !registration.tmpfiles && derived::is_tmpfiles(&files.tmpfiles, name)? {
        obsolete.push(derived::tmpfiles(name));
    }
    if registration.unit.is_none() && derived::is_stub(&files.stub, name)? {
        obsolete.push(derived::stub(name));
    }
    Ok(obsolete)
}

/// Whether a file has this content already, so that [`register`] would leave it alone.
pub fn has(path: &Path, text: &str) -> bool {
    fs::read(path).is_ok_and(|old| old == text.as_bytes())
}

fn update(path: &Path, text: &str, mode: u32) -> Result<bool> {
    if has(path, text) {
        return Ok(false);
    }
    files::replace(path, text.as_bytes(), mode).map(|()| true)
}

/// Removes what [`register`] wrote, and the links of `systemctl enable`. Returns whether there was anything.
pub fn unregister(site: &Site, name: &Name) -> Result<bool> {
    let files = Files::of(site.root(), name);
    for path in [&files.registration, &files.stub, &files.tmpfiles] {
        // Left by a program that was killed while it wrote the file.
        files::remove(&files::temporary(path))?;
    }
    let mut changed = remove_stub(site, name, &files)?;
    changed |= files::remove(&files.registration)?;
    changed |= derived::is_tmpfiles(&files.tmpfiles, name)? && files::remove(&files.tmpfiles)?;
    Ok(changed)
}

/// Removes the stub and the links of `systemctl enable`, even those to a stub that was lost.
fn remove_stub(site: &Site, name: &Name, files: &Files) -> Result<bool> {
    let mut changed = false;
    if derived::is_stub(&files.stub, name)? {
        site.manager.set_enablement(&[name.unit()], Enablement::Disable)?;
        changed = files::remove(&files.stub)?;
    }
    if !files.stub.exists() {
        changed |= links::remove_dangling(site.root(), name)?;
    }
    Ok(changed)
}

/// Whether `systemctl enable` would do anything.
pub fn is_installable(root: &Root, name: &Name) -> Result<bool> {
    Ok(!install_section(root, name)?.is_empty())
}

/// The `[Install]` section of the installed stub; empty if there is none, or no service.
pub fn install_section(root: &Root, name: &Name) -> Result<String> {
    let path = Files::of(root, name).stub;
    let Some(text) = files::read_text_if_exists(&path)? else { return Ok(String::new()) };
    install_section_of(&text).context(|| format!("cannot read {}", path.display()))
}

/// Like [`install_section`], for the text of a stub.
pub fn install_section_of(stub: &str) -> Result<String> {
    let unit = UnitFile::parse(stub).context(|| "invalid unit".into())?;
    Ok(unit.section("Install").map(|(key, value)| format!("{key}={value}\n")).collect())
}

/// Makes the manager reload units, and applies the tmpfiles.d(5) file.
pub fn load(site: &Site, name: &Name) -> Result<()> {
    site.manager.reload()?;
    if derived::creates_tmpfiles(site.root(), name) {
        site.manager.create_tmpfiles(name)?;
    }
    Ok(())
}

/// Whether the registration that there is was made from a deployment.
pub fn describes(root: &Root, deployment: &Deployment) -> bool {
    let name = deployment.name();
    let registration = registration::read(root, name, &derived::registration(name));
    registration.is_ok_and(|found| found.is_some_and(|found| found.deployment == *deployment))
}

/// Whether everything seems to exist and to be that of the current deployment, judging only by names and times.
pub fn is_current(deployments: &Deployments, name: &Name) -> bool {
    let root = deployments.root();
    let files = Files::of(root, name);
    let Ok(Some(registration)) = registration::read(root, name, &derived::registration(name)) else {
        return false;
    };
    let Ok(Some(current)) = deployments.current(name) else { return false };
    registration.deployment == current
        && registration.stamp.is_some()
        && registration.stamp == deployments.stamp(&current).ok()
        && registration.unit.is_some() == files.stub.exists()
        && registration.tmpfiles == files.tmpfiles.exists()
}

/// What the name of a container is to be used for.
pub struct Claim {
    /// Whether the container has a unit.
    pub unit: bool,
    /// Whether the container may take the place of another unit of that name, unless that one has precedence.
    pub replace_unit: bool,
    /// Whether the container has a tmpfiles.d(5) file.
    pub tmpfiles: bool,
    /// Whether the container is installed, so that a mask of its unit is that of its administrator.
    pub is_installed: bool,
}

/// Refuses a name that other units or tmpfiles already have.
pub fn check_name(root: &Root, name: &Name, claim: &Claim) -> Result<()> {
    if claim.unit {
        check_units(root, name, claim)?;
        check_template(root, name, claim)?;
    }
    if claim.tmpfiles {
        check_tmpfiles(root, name)?;
    }
    Ok(())
}

fn check_units(root: &Root, name: &Name, claim: &Claim) -> Result<()> {
    let generated = ["/run/systemd/generator.early", GENERATED, "/run/systemd/generator.late"];
    let ours = UNIT_PATH.iter().position(|directory| *directory == STUBS);
    for directory in UNIT_PATH.iter().chain(&generated) {
        let shown = TreePath::from(*directory).join(name.unit());
        let path = root.join(&shown);
        if !path.exists() && !path.is_symlink() || derived::is_stub(&path, name).unwrap_or(false) {
            continue;
        }
        // What the generator says of a container that is declared, and not installed yet.
        if *directory == GENERATED
            && derived::has_line(&path, &format!("# {}", units::HEADER)).unwrap_or(false)
        {
            continue;
        }
        if claim.is_installed && is_mask(&path) {
            continue;
        }
        // Units in directories before system.attached keep their precedence, whatever we write.
        let position = UNIT_PATH.iter().position(|other| other == directory);
        if position.is_some() && position < ours {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is a unit of that name and would win; remove it, or choose another name with --name"
            )));
        }
        if !claim.replace_unit {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is a unit of that name; choose another name with --name, or put the container in its place with --replace-unit"
            )));
        }
    }
    Ok(())
}

/// Refuses the name of an instance of another unit's template, which systemd would no longer use for it.
fn check_template(root: &Root, name: &Name, claim: &Claim) -> Result<()> {
    let Some(template) = name.template_unit().filter(|_| !claim.is_installed && !claim.replace_unit) else {
        return Ok(());
    };
    let mut paths = UNIT_PATH.iter().map(|directory| TreePath::from(*directory).join(&template));
    match paths.find(|path| root.join(path).symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => Err(Error::new(format!(
            "cannot install {name}: {path} is the template of a unit of that name; choose another name with --name, or put the container in its place with --replace-unit"
        ))),
    }
}

/// Whether `systemctl mask` keeps the unit of a container from being started.
pub fn is_masked(root: &Root, name: &Name) -> bool {
    let before = UNIT_PATH.iter().take_while(|directory| **directory != STUBS);
    before.into_iter().any(|directory| is_mask(&root.join(&TreePath::from(*directory).join(name.unit()))))
}

/// Whether a unit file is a mask: empty, or a link to /dev/null.
fn is_mask(path: &Path) -> bool {
    match fs::read_link(path) {
        Ok(target) => target == Path::new("/dev/null"),
        Err(_) => path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0),
    }
}

fn check_tmpfiles(root: &Root, name: &Name) -> Result<()> {
    for directory in TMPFILES_PATH {
        let shown = TreePath::from(directory).join(format!("{name}.conf"));
        let path = root.join(&shown);
        if path.exists() && !derived::is_tmpfiles(&path, name)? {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} belongs to something else; choose another name with --name"
            )));
        }
    }
    Ok(())
}
