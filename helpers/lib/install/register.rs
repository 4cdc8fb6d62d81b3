//! What an installed container has outside of its deployments: registration, stub unit and tmpfiles.
//!
//! All of it is derived from the current deployment, so it can be made again at any time.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::container::deployment::{Deployments, Info};
use crate::container::registration::{self, Registration};
use crate::container::units::{self, MARKER};
use crate::error::{Context, Error, Result};
use crate::host_files;
use crate::install::atomic;
use crate::install::state_directories;
use crate::name::Name;
use crate::oci::config::{self, Normalised};
use crate::oci::resources;
use crate::paths::{ATTACHED, GENERATED, Root, STUBS, TMPFILES, TMPFILES_PATH, UNIT_PATH};
use crate::system::files;
use crate::system::systemd;
use crate::unit::syntax::UnitFile;

/// The line that makes a unit file one of ours.
fn marker(name: &Name) -> String {
    format!("{MARKER}={name}")
}

/// First line of our tmpfiles, by which they are known to be ours.
pub fn tmpfiles_header(name: &Name) -> String {
    format!("# Of the system container {name}: do not edit, put changes into a file of another name.\n")
}

/// The files of one container outside of its deployments, as this process sees them.
struct Files {
    registration: PathBuf,
    stub: PathBuf,
    tmpfiles: PathBuf,
}

impl Files {
    fn of(root: &Root, name: &Name) -> Self {
        Files {
            registration: root.join(ATTACHED).join(format!("{name}.json")),
            stub: root.join(STUBS).join(name.unit()),
            tmpfiles: root.join(TMPFILES).join(format!("{name}.conf")),
        }
    }
}

/// What the generator is to know of a deployment, read from it.
pub fn derive(deployments: &Deployments, name: &Name, deployment: &str) -> Result<Registration> {
    let info = deployments.info(deployment)?;
    let unit = deployments.read(deployment, &name.unit())?;
    if unit.is_none() && info.has_container_service {
        return Err(Error::new(format!("deployment {deployment} has no {}", name.unit())));
    }
    let text = deployments.read(deployment, "config.json")?.filter(|_| info.runtime_kind.is_some());
    let origin = format!("{deployment}/config.json");
    let config = text.map(|text| config::parse(&text, &origin, info.run_once)).transpose()?;
    let tmpfiles = deployments.read(deployment, &tmpfiles_name(name))?.is_some();
    let registration =
        describe(deployments, name, deployment, info, unit.unwrap_or_default(), config.as_ref(), tmpfiles);
    Ok(Registration { stamp: Some(deployments.stamp(deployment)?), ..registration })
}

/// What the generator is to know of a deployment that has these parts.
pub fn describe(
    deployments: &Deployments,
    name: &Name,
    deployment: &str,
    info: Info,
    unit: String,
    config: Option<&Normalised>,
    tmpfiles: bool,
) -> Registration {
    let config = config.filter(|_| info.runtime_kind.is_some());
    let mut mounts = config.map(needed_mounts).unwrap_or_default();
    mounts.extend(info.rootfs.clone());
    Registration {
        version: registration::VERSION,
        name: name.clone(),
        directory: deployments.directory().to_path_buf(),
        deployment: deployment.to_owned(),
        image: info.image,
        digest: info.digest,
        runtime: info.runtime_kind,
        notify: info.notify,
        pid_file: info.values.get("PIDFILE").filter(|_| info.uses_pid_file).map(PathBuf::from),
        unit,
        placed: info.placed,
        properties: config.map(|config| resources::settings(config).settings).unwrap_or_default(),
        mounts,
        tmpfiles,
        service: info.has_container_service,
        rootfs: info.rootfs,
        run_once: info.run_once,
        volumes: info.volumes,
        stamp: None,
    }
}

/// The rendered tmpfiles of a deployment.
pub fn tmpfiles_name(name: &Name) -> String {
    format!("tmpfiles-{name}.conf")
}

/// Bind sources that may be on a mount of their own; the kernel's file systems always are there.
fn needed_mounts(config: &Normalised) -> Vec<PathBuf> {
    let kernel = ["/proc", "/sys", "/dev", "/run"];
    let mut sources: Vec<PathBuf> = config
        .mounts()
        .filter_map(|mount| mount.bind_source())
        .filter(|source| *source != Path::new("/") && !kernel.iter().any(|k| source.starts_with(k)))
        .map(|source| source.components().collect())
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

/// Writes what belongs to a deployment, if it is not there already; tells whether anything changed.
///
/// The registration is last: as long as it is of another deployment, or missing, all of this is done again.
pub fn register(deployments: &Deployments, name: &Name, deployment: &str) -> Result<bool> {
    let root = deployments.root();
    let files = Files::of(root, name);
    let registration = derive(deployments, name, deployment)?;
    if registration.service {
        // What the generator could not convert must not be registered.
        units::compose(&registration, &Path::new(ATTACHED).join(format!("{name}.json")))
            .context(|| format!("cannot convert {deployment}/{}", name.unit()))?;
    }
    files::make_directory(&root.join(ATTACHED), 0o700)?;
    files::make_directory(&root.join(STUBS), 0o755)?;
    files::make_directory(&root.join(TMPFILES), 0o755)?;
    let (all, _) = deployments.all(name)?;
    let original = atomic::find(deployments, name, &all);
    install_host_files(deployments, name, &registration, original.as_ref())?;
    state_directories::record(deployments, name, deployment, &deployments.info(deployment)?)?;
    let mut changed = match deployments.read(deployment, &tmpfiles_name(name))? {
        Some(text) => update(&files.tmpfiles, &text, 0o644)?,
        None => remove_ours(&files.tmpfiles, &tmpfiles_header(name))?,
    };
    changed |= match registration.service {
        true => update(&files.stub, &units::stub(&registration)?, 0o644)?,
        false => remove_stub(root, name, &files)?,
    };
    if let Some((before, _)) = &original {
        changed |= atomic::retire(deployments, name, before)?;
    }
    changed |= update(&files.registration, &registration.to_json(), 0o600)?;
    if changed {
        for path in [&files.tmpfiles, &files.stub, &files.registration] {
            path.parent().map_or(Ok(()), files::sync_directory)?;
        }
    }
    Ok(changed)
}

/// Those of the deployment that was registered before, or that the original made, are replaced. Where this one is registered
/// already, the user may have changed or removed some since.
fn install_host_files(
    deployments: &Deployments,
    name: &Name,
    registration: &Registration,
    original: Option<&(String, Info)>,
) -> Result<()> {
    let path = Path::new(ATTACHED).join(format!("{name}.json"));
    let before = registration::read(deployments.root(), name, &path).ok().flatten();
    if before.as_ref().is_some_and(|before| before.stamp == registration.stamp) {
        return Ok(());
    }
    let info = deployments.info(&registration.deployment)?;
    let before = before.filter(|before| before.deployment != registration.deployment);
    let before = before
        .and_then(|before| Some((before.deployment.clone(), deployments.info(&before.deployment).ok()?)));
    let before = before.or_else(|| original.cloned());
    let Some((deployment, before)) = before else {
        return host_files::install(deployments, name, &registration.deployment, &info, None);
    };
    host_files::install(deployments, name, &registration.deployment, &info, Some((&deployment, &before)))?;
    host_files::remove(deployments, name, &[&before], Some(&info))
}

/// What [`register`] removes, since a deployment has neither tmpfiles nor a service; as programs inside the tree see it.
pub fn obsolete(root: &Root, name: &Name, registration: &Registration) -> Result<Vec<PathBuf>> {
    let files = Files::of(root, name);
    let mut obsolete = Vec::new();
    if !registration.tmpfiles && is_ours(&files.tmpfiles, &tmpfiles_header(name))? {
        obsolete.push(root.inside(&files.tmpfiles));
    }
    if !registration.service && is_stub(&files.stub, name)? {
        obsolete.push(root.inside(&files.stub));
    }
    Ok(obsolete)
}

/// Whether [`register`] would leave a file alone, since this is in it already.
pub fn has(path: &Path, text: &str) -> bool {
    fs::read(path).is_ok_and(|old| old == text.as_bytes())
}

fn update(path: &Path, text: &str, mode: u32) -> Result<bool> {
    if has(path, text) {
        return Ok(false);
    }
    files::replace(path, text.as_bytes(), mode).map(|()| true)
}

/// Removes what [`register`] wrote, the links of `systemctl enable` with it; tells whether anything was there.
pub fn unregister(root: &Root, name: &Name) -> Result<bool> {
    let files = Files::of(root, name);
    for path in [&files.registration, &files.stub, &files.tmpfiles] {
        // Of a program that was killed while it wrote one.
        remove(&files::temporary(path))?;
    }
    let mut changed = remove_stub(root, name, &files)?;
    changed |= remove(&files.registration)?;
    changed |= remove_ours(&files.tmpfiles, &tmpfiles_header(name))?;
    Ok(changed)
}

/// With the links of `systemctl enable`, those to a stub that was lost, too.
fn remove_stub(root: &Root, name: &Name, files: &Files) -> Result<bool> {
    if is_ours(&files.stub, &marker(name))? {
        systemd::disable(root, name)?;
    }
    let mut changed = remove_ours(&files.stub, &marker(name))?;
    if !files.stub.exists() {
        changed |= systemd::remove_links(root, name)?;
    }
    Ok(changed)
}

/// Whether `systemctl enable` would do anything.
pub fn is_installable(root: &Root, name: &Name) -> Result<bool> {
    Ok(!install_section(root, name)?.is_empty())
}

/// What `systemctl enable` goes by; empty where it would do nothing, or where there is no service.
pub fn install_section(root: &Root, name: &Name) -> Result<String> {
    let path = Files::of(root, name).stub;
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(String::new()),
        text => text.context(|| format!("cannot read {}", path.display()))?,
    };
    install_section_of(&text).context(|| format!("cannot read {}", path.display()))
}

/// As [`install_section`], of a stub's text.
pub fn install_section_of(stub: &str) -> Result<String> {
    let unit = UnitFile::parse(stub).context(|| "invalid unit".into())?;
    Ok(unit.section("Install").map(|(key, value)| format!("{key}={value}\n")).collect())
}

/// Has systemd load the unit anew, and makes what it needs on the host.
pub fn load(root: &Root, name: &Name) -> Result<()> {
    systemd::reload(root)?;
    if creates_tmpfiles(root, name) {
        systemd::create_tmpfiles(root, name)?;
    }
    Ok(())
}

/// Whether the container has a unit.
pub fn has_service(root: &Root, name: &Name) -> bool {
    Files::of(root, name).stub.exists()
}

/// Whether [`load`] creates what the unit needs on the host.
pub fn creates_tmpfiles(root: &Root, name: &Name) -> bool {
    Files::of(root, name).tmpfiles.exists() && has_service(root, name)
}

fn remove(path: &Path) -> Result<bool> {
    files::remove_file(path).context(|| format!("cannot remove {}", path.display()))
}

fn remove_ours(path: &Path, mark: &str) -> Result<bool> {
    if is_ours(path, mark)? { remove(path) } else { Ok(false) }
}

/// Whether a unit file is the stub of `name`.
pub fn is_stub(path: &Path, name: &Name) -> Result<bool> {
    is_ours(path, &marker(name))
}

fn is_ours(path: &Path, mark: &str) -> Result<bool> {
    match fs::read(path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).lines().any(|line| line.trim() == mark.trim())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context(|| format!("cannot read {}", path.display())),
    }
}

/// Whether the container has a unit or a registration, of whatever deployment.
pub fn is_there(root: &Root, name: &Name) -> bool {
    let files = Files::of(root, name);
    files.registration.exists() || files.stub.exists()
}

/// Whether everything seems to be there and of the current deployment; only names and times are looked at.
pub fn is_current(deployments: &Deployments, name: &Name) -> bool {
    let root = deployments.root();
    let files = Files::of(root, name);
    let path = Path::new(ATTACHED).join(format!("{name}.json"));
    let Ok(Some(registration)) = registration::read(root, name, &path) else { return false };
    let Ok(Some(current)) = deployments.current(name) else { return false };
    registration.deployment == current
        && registration.stamp.is_some()
        && registration.stamp == deployments.stamp(&current).ok()
        && registration.service == files.stub.exists()
        && registration.tmpfiles == files.tmpfiles.exists()
}

/// Refuses a name that other units or tmpfiles already have.
pub fn check_name(
    root: &Root,
    name: &Name,
    replace_unit: bool,
    has_unit: bool,
    has_tmpfiles: bool,
) -> Result<()> {
    let unit = name.unit();
    let generated = ["/run/systemd/generator.early", GENERATED, "/run/systemd/generator.late"];
    for directory in UNIT_PATH.iter().chain(&generated).filter(|_| has_unit) {
        let path = root.join(directory).join(&unit);
        if !path.exists() && !path.is_symlink() || is_ours(&path, &marker(name)).unwrap_or(false) {
            continue;
        }
        let shown = Path::new(directory).join(&unit);
        let shown = shown.display();
        // What systemd looks at before system.attached stays in force whatever we write.
        let stays =
            UNIT_PATH.iter().position(|d| d == directory) < UNIT_PATH.iter().position(|d| *d == STUBS);
        if stays && UNIT_PATH.contains(directory) {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is a unit of that name and would win; remove it, or choose another name with --name"
            )));
        }
        if !replace_unit {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is a unit of that name; choose another name with --name, or put the container in its place with --replace-unit"
            )));
        }
    }
    for directory in TMPFILES_PATH.iter().filter(|_| has_tmpfiles) {
        let path = root.join(directory).join(format!("{name}.conf"));
        if path.exists() && !is_ours(&path, &tmpfiles_header(name))? {
            let path = Path::new(directory).join(format!("{name}.conf"));
            return Err(Error::new(format!(
                "cannot install {name}: {} is another's; choose another name with --name",
                path.display()
            )));
        }
    }
    Ok(())
}
