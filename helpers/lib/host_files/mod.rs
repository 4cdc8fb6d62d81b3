//! Host files of containers: what deployments recorded about them, and what is on the host.
//!
//! A deployment has its host files below `hostfs/`, laid out as on the host, and records in `info` which of them are
//! its own, with the SHA-256 of their content (of the target for a symlink; `0` for a directory). A file that is
//! neither as any deployment recorded it nor as noted by [`written`] was changed by the user, and is never touched. A
//! file that several containers recorded is removed along with the last of them.

pub mod changes;
pub mod plan;
pub mod record;
pub mod stage;
pub mod written;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::error::{Context, Error, Result};
use crate::host_files::changes::{Arrival, Departure, Facts, Incoming, Known, Outgoing};
use crate::host_files::record::{DeploymentFiles, checksum, locate, staged};
use crate::name::Name;
use crate::paths::TreePath;
use crate::program::log;
use crate::system::files;

/// Installs the host files of a deployment, in place of those of `previous`. If there is a previous deployment,
/// [`remove`] has to follow.
pub fn install(
    deployments: &Deployments,
    incoming: &DeploymentFiles,
    previous: Option<&DeploymentFiles>,
) -> Result<()> {
    if incoming.is_empty() {
        return Ok(());
    }
    let mut known = Known::read(deployments, incoming.deployment.name())?;
    let sources = sources(deployments, incoming);
    let arrivals =
        known.arrivals(&sources.iter().map(|(_, file)| file.clone()).collect::<Vec<_>>(), previous)?;
    let mut copies = Vec::new();
    for ((source, file), (target, arrival)) in sources.iter().zip(arrivals) {
        match arrival {
            Arrival::Created | Arrival::Replaced => {
                copies.push((source.as_path(), target, file.recorded.as_deref()))
            }
            Arrival::Adjusted => {
                let metadata = fs::symlink_metadata(source);
                files::set_owner_like(
                    &target,
                    &metadata.context(|| format!("cannot read {}", source.display()))?,
                )?;
            }
            Arrival::Changed => {
                log::warning(&format!("{} was changed on this host, leaving it as it is", file.path));
            }
            Arrival::Kept => {}
        }
    }
    write(&mut known, &copies).context(|| format!("cannot install files of {}", incoming.deployment))?;
    // With a previous deployment, its files still need the notes until they are removed.
    if previous.is_none() { known.settle(Some(incoming)) } else { Ok(()) }
}

/// The files that a deployment recorded, each with its path in the deployment.
fn sources(deployments: &Deployments, incoming: &DeploymentFiles) -> Vec<(PathBuf, Incoming)> {
    let directory = deployments.path_of(&incoming.deployment);
    let source = |path: &TreePath| {
        let source = staged(&directory, path);
        let recorded = incoming.files.checksum(path).map(str::to_owned);
        let facts = Facts::read(&source);
        (source, Incoming { path: path.clone(), recorded, facts })
    };
    incoming.files.installed_files.iter().map(source).collect()
}

/// Copies files to the host. A file that will differ from what deployments recorded is noted first; until it is copied,
/// it is the old one, which a deployment recorded or which was noted before.
fn write(known: &mut Known, copies: &[(&Path, PathBuf, Option<&str>)]) -> Result<()> {
    for (source, target, recorded) in copies {
        if let Some(sum) = checksum(source)? {
            known.note(target, &sum, *recorded);
        }
    }
    known.save()?;
    let mut changed = Vec::new();
    for (source, target, _) in copies {
        copy(source, target).context(|| format!("cannot create {}", target.display()))?;
        changed.extend(target.parent().map(Path::to_path_buf));
    }
    sync(changed)
}

/// Checksums of files that a container shares with others.
pub type Shared = BTreeMap<TreePath, String>;

/// Checksums of the host files of a deployment that other containers recorded, too.
pub fn shared(deployments: &Deployments, own: &DeploymentFiles) -> Result<Shared> {
    let mut shared = Shared::new();
    if own.is_empty() {
        return Ok(shared);
    }
    let known = Known::read(deployments, own.deployment.name())?;
    for path in &own.files.installed_files {
        let target = locate(deployments.root(), path)?;
        if known.is_shared(&target) {
            shared.extend(checksum(&target)?.map(|sum| (deployments.root().inside(&target), sum)));
        }
    }
    Ok(shared)
}

/// Restores the content of shared files from other containers; [`remove`] has to follow.
pub fn restore(deployments: &Deployments, name: &Name, shared: &Shared) -> Result<()> {
    let mut known = Known::read(deployments, name)?;
    let mut copies = Vec::new();
    for (path, sum) in shared {
        let target = deployments.root().join(path);
        let found = checksum(&target)?;
        if found.is_some_and(|found| found != *sum && known.is_ours(&target, &found)) {
            copies.extend(known.source(&target, sum)?.map(|source| (source, target)));
        }
    }
    // Without a recorded checksum: the container itself recorded something else.
    let copies: Vec<_> =
        copies.iter().map(|(source, target)| (source.as_path(), target.clone(), None)).collect();
    write(&mut known, &copies)
}

/// Removes host files that deployments of a container recorded, except for those that its deployment `kept` or another
/// container recorded, too.
pub fn remove(
    deployments: &Deployments,
    name: &Name,
    outgoing: &[&DeploymentFiles],
    kept: Option<&DeploymentFiles>,
) -> Result<()> {
    if outgoing.iter().copied().chain(kept).all(DeploymentFiles::is_empty) {
        return Ok(());
    }
    let known = Known::read(deployments, name)?;
    let mut changed = Vec::new();
    for Outgoing { path, target, departure } in known.departures(outgoing, kept)? {
        let what = || format!("cannot remove {path}, a host file of {name}");
        // Left by an interrupted copy.
        files::remove_file(&files::temporary(&target)).context(what)?;
        match departure {
            Departure::Removed if target.is_dir() && !target.is_symlink() => match fs::remove_dir(&target) {
                // Other files in it are not ours.
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => continue,
                Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => continue,
                result => result.context(what)?,
            },
            Departure::Removed => {
                files::remove_file(&target).context(what)?;
            }
            Departure::Changed => {
                log::warning(&format!("{path} was changed on this host, leaving it behind"));
                continue;
            }
            Departure::Kept => continue,
        }
        changed.extend(target.parent().map(Path::to_path_buf));
    }
    sync(changed)?;
    known.settle(kept)
}

/// Syncs directories; those that were removed meanwhile are skipped.
fn sync(mut directories: Vec<PathBuf>) -> Result<()> {
    directories.sort();
    directories.dedup();
    directories.iter().filter(|directory| directory.exists()).try_for_each(|d| files::sync_directory(d))
}

/// Copies one file with mode and owner, completely or not at all.
fn copy(source: &Path, target: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(source).context(|| format!("cannot read {}", source.display()))?;
    if metadata.is_dir() {
        fs::create_dir(target).context(|| "cannot create the directory".into())?;
        return files::set_owner_like(target, &metadata);
    }
    let temporary = files::temporary(target);
    let copied = copy_file(source, &temporary, &metadata)
        .and_then(|()| files::rename(&temporary, target).context(|| "cannot rename it".into()));
    if copied.is_err() {
        // The first error is the one to report.
        let _ = files::remove_file(&temporary);
    }
    copied
}

fn copy_file(source: &Path, target: &Path, metadata: &fs::Metadata) -> Result<()> {
    let what = || format!("cannot write {}", target.display());
    files::remove_file(target).context(what)?;
    if metadata.is_symlink() {
        let link = fs::read_link(source).context(what)?;
        std::os::unix::fs::symlink(link, target).context(what)?;
        return files::set_owner_like(target, metadata);
    }
    if !metadata.is_file() {
        // A FIFO would be waited for.
        return Err(Error::new(format!("{} is not a regular file", source.display()))).context(what);
    }
    // It may have a secret in it, and is for everybody only once it is complete and has its mode.
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    let mut file = new.context(what)?;
    std::io::copy(&mut File::open(source).context(what)?, &mut file).context(what)?;
    files::set_owner_like(target, metadata)?;
    file.sync_all().context(what)
}
