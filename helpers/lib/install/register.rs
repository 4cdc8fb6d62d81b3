//! The files of an installed container outside of its deployments: registration, stub unit and tmpfiles.
//!
//! All of them are derived from the current deployment, so they can be made again at any time.

use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::container::info::{Info, Ours};
use crate::container::needs;
use crate::container::registration::{self, Registration};
use crate::container::state::State;
use crate::container::storage::Storage;
use crate::container::{derived, units};
use crate::error::{Context, Error, Result};
use crate::host_files;
use crate::host_files::record::DeploymentFiles;
use crate::install::site::Site;
use crate::install::{atomic, state_directories};
use crate::name::{Deployment, Name};
use crate::oci::config::{self, Normalised};
use crate::oci::resources;
use crate::paths::{ATTACHED, Root, STUBS, TMPFILES, TreePath};
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
    let (storage, stamp) = (Storage::of(deployments)?, Some(deployments.stamp(deployment)?));
    Ok(Registration { declared, storage, stamp, ..registration })
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
        directory: deployments.directory_of(deployment).clone(),
        deployment: deployment.clone(),
        image: image.to_owned(),
        digest: ours.digest.clone(),
        unit: parts.unit,
        execution: ours.execution.clone(),
        properties,
        mounts,
        tmpfiles: parts.has_tmpfiles,
        declared: None,
        storage: None,
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
///
/// Of a deployment that came with the operating system, everything is there, and only what overrides it is removed.
pub fn register(site: &Site, deployment: &Deployment) -> Result<bool> {
    if site.deployments.came_with_system(deployment) {
        return return_to_system(site, deployment);
    }
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
    let place = derived::found_stub(root, name);
    changed |= match registration.unit {
        Some(_) => update(&files.stub, &units::stub(&registration)?, 0o644)?,
        None => remove_stub(site, name, &files)?,
    };
    if let Some((before, _)) = &made_by_atomic {
        changed |= atomic::retire(site, before)?;
    }
    follow(site, name, place)?;
    changed |= update(&files.registration, &registration.to_json(), 0o600)?;
    if changed {
        for path in [&files.tmpfiles, &files.stub, &files.registration] {
            path.parent().map_or(Ok(()), files::sync_directory)?;
        }
    }
    Ok(changed)
}

/// Removes what overrides the registration of a deployment that came with the operating system. Returns whether there was
/// anything.
///
/// The registration goes last: as long as it is there, everything is done again.
fn return_to_system(site: &Site, deployment: &Deployment) -> Result<bool> {
    let (root, deployments, name) = (site.root(), &site.deployments, deployment.name());
    let files = Files::of(root, name);
    if !overrides_system(root, name) {
        return Ok(false);
    }
    let before = registration::read(root, name, &derived::registration(name)).ok().flatten();
    if let Some(before) = before.map(|before| before.deployment).filter(|before| before != deployment) {
        // Of one that is gone, nobody knows what it brought.
        if let Ok(outgoing) = DeploymentFiles::read(deployments, &before) {
            host_files::remove(deployments, name, &[&outgoing], None)?;
        }
    }
    for path in [&files.registration, &files.stub, &files.tmpfiles] {
        files::remove(&files::temporary(path))?;
    }
    let place = derived::found_stub(root, name);
    if derived::is_tmpfiles(&files.tmpfiles, name)? {
        files::remove(&files.tmpfiles)?;
    }
    if derived::is_stub(&files.stub, name)? {
        files::remove(&files.stub)?;
    }
    follow(site, name, place)?;
    files::remove(&files.registration)?;
    for path in [&files.tmpfiles, &files.stub, &files.registration] {
        path.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), files::sync_directory)?;
    }
    Ok(true)
}

/// Whether an installation here left what overrides that of the operating system.
fn overrides_system(root: &Root, name: &Name) -> bool {
    let files = Files::of(root, name);
    files.registration.exists()
        || derived::is_stub(&files.stub, name).unwrap_or(false)
        || derived::is_tmpfiles(&files.tmpfiles, name).unwrap_or(false)
}

/// Makes the links of `systemctl enable` lead to the stub, if that is at another place than before.
fn follow(site: &Site, name: &Name, before: Option<TreePath>) -> Result<()> {
    let is_moved = before.is_some() && before != derived::found_stub(site.root(), name);
    if is_moved && is_installable(site.root(), name)? && site.manager.is_enabled(name)? {
        site.manager.set_enablement(&[name.unit()], Enablement::Reenable)?;
    }
    Ok(())
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
    files::read_bounded(path, text.len()).is_ok_and(|old| old.as_deref() == Some(text.as_bytes()))
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
    let Some(path) = derived::found_stub(root, name) else { return Ok(String::new()) };
    let path = root.join(&path);
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

/// Whether everything seems to exist and to be that of the current deployment, which is on `storage`, judging only by names and
/// times.
pub fn is_current(deployments: &Deployments, name: &Name, storage: Option<&Storage>) -> bool {
    let root = deployments.root();
    let files = Files::of(root, name);
    if deployments
        .current(name)
        .is_ok_and(|current| current.is_some() && current == deployments.of_system(name))
    {
        return !overrides_system(root, name);
    }
    let Ok(Some(registration)) = registration::read(root, name, &derived::registration(name)) else {
        return false;
    };
    let Ok(Some(current)) = deployments.current(name) else { return false };
    registration.deployment == current
        && registration.storage.as_ref() == storage
        && registration.stamp.is_some()
        && registration.stamp == deployments.stamp(&current).ok()
        && registration.unit.is_some() == files.stub.exists()
        && registration.tmpfiles == files.tmpfiles.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_what_is_expected() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, zero, file) = (dir.path().join("pipe"), dir.path().join("zero"), dir.path().join("file"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        std::fs::write(&file, "text").unwrap();
        assert_eq!([&pipe, &zero, &file].map(|path| has(path, "text")), [false, false, true]);
        assert_eq!(["tex", "texts", ""].map(|text| has(&file, text)), [false; 3]);
    }
}
