//! Host files of containers: what deployments recorded of them, and what is there.
//!
//! A deployment has its host files below `hostfs/` as they are to be on the host, and records in `info` those that are its
//! own, with the SHA-256 of their content (of a symlink's target; `0` for a directory). A file that is not as any deployment recorded
//! it, nor as [`crate::host_files::written`] says, was changed by the user and is never touched; one that several containers recorded goes with
//! the last of them.

pub mod changes;
pub mod plan;
pub mod stage;
pub mod written;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::container::deployment::{Deployments, Info};
use crate::error::{Context, Result};
use crate::host_files::changes::{Arrival, Departure, Facts, Incoming, Known, Outgoing};
use crate::name::Name;
use crate::oci::mountpoints;
use crate::paths::Root;
use crate::program::log;
use crate::system::files;

/// Directory of a deployment with its host files.
pub const STAGED: &str = "hostfs";
/// In place of a checksum, for directories.
pub const DIRECTORY: &str = "0";

/// Where a deployment in `directory` has the host file `path`.
pub fn staged(directory: &Path, path: &str) -> PathBuf {
    directory.join(STAGED).join(path.trim_start_matches('/'))
}

/// The path on the host as this process sees it; symlinks of its directories are followed inside the tree.
pub fn locate(root: &Root, path: &Path) -> Result<PathBuf> {
    let parent = mountpoints::resolve(root.path(), path.parent().unwrap_or(path))?;
    Ok(root.join(parent).join(path.file_name().unwrap_or_default()))
}

/// Whether a path is a directory on the host, or leads to one there.
pub fn is_directory(root: &Root, path: &Path) -> Result<bool> {
    Ok(root.join(mountpoints::resolve(root.path(), path)?).is_dir())
}

/// What would be recorded of a file; `None` where there is none.
pub fn checksum(path: &Path) -> Result<Option<String>> {
    let what = || format!("cannot read {}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        metadata => metadata.context(what)?,
    };
    let found = if metadata.is_dir() {
        DIRECTORY.to_owned()
    } else if metadata.is_symlink() {
        sum(fs::read_link(path).context(what)?.as_os_str().as_bytes())
    } else if metadata.is_file() {
        content_checksum(path).context(what)?
    } else {
        // Nothing that any container brings.
        "-".to_owned()
    };
    Ok(Some(found))
}

/// What is recorded of content.
pub fn sum(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn content_checksum(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Whether a file is as a deployment recorded it. The original recorded what symlinks lead to, and `0` for those that lead
/// nowhere.
pub fn is_as_recorded(path: &Path, found: &str, recorded: Option<&str>, of_original: bool) -> bool {
    let Some(recorded) = recorded else { return false };
    if found == recorded {
        return true;
    }
    of_original
        && path.is_symlink()
        && match content_checksum(path) {
            Ok(content) => content == recorded,
            Err(_) => recorded == DIRECTORY,
        }
}

/// Makes the host's files those of a deployment: creates what it recorded, in place of what the deployment `previous` did,
/// after which [`remove`] is to follow.
pub fn install(
    deployments: &Deployments,
    name: &Name,
    deployment: &str,
    info: &Info,
    previous: Option<(&str, &Info)>,
) -> Result<()> {
    if info.installed_files.is_empty() {
        return Ok(());
    }
    let mut known = Known::read(deployments, name)?;
    let sources = sources(deployments, deployment, info);
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
    write(&mut known, &copies).context(|| format!("cannot install files of {deployment}"))?;
    // Of what goes, it is still to be told whose it is.
    if previous.is_none() { known.settle(Some(info)) } else { Ok(()) }
}

/// The files that a deployment recorded, where it has them and as they are to be.
fn sources(deployments: &Deployments, deployment: &str, info: &Info) -> Vec<(PathBuf, Incoming)> {
    let source = |path: &String| {
        let source = staged(&deployments.path(deployment), path);
        let recorded = info.installed_files_checksum.get(path).cloned();
        let facts = Facts::read(&source);
        (source, Incoming { path: path.clone(), recorded, facts })
    };
    info.installed_files.iter().map(source).collect()
}

/// Copies files to where they are to be. What is not as recorded then is noted first: until it is copied, the file is the old one,
/// which somebody recorded or which was noted before.
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

/// What a deployment whose `info` cannot be read would have recorded: what it has for the host.
pub fn guess(deployments: &Deployments, deployment: &str) -> Result<Info> {
    let directory = deployments.path(deployment).join(STAGED);
    let mut info = Info { digest: "-".into(), ..Info::default() };
    for entry in walkdir::WalkDir::new(&directory).min_depth(1).into_iter().flatten() {
        let below = entry.path().strip_prefix(&directory).unwrap_or(entry.path());
        let path = Path::new("/").join(below).to_string_lossy().into_owned();
        info.installed_files_checksum.extend(checksum(entry.path())?.map(|sum| (path.clone(), sum)));
        info.installed_files.push(path);
    }
    Ok(info)
}

/// What is in files that a container shares with others.
pub type Shared = BTreeMap<PathBuf, String>;

/// What is in the files that a deployment of a container recorded, and others did, too.
pub fn shared(deployments: &Deployments, name: &Name, info: &Info) -> Result<Shared> {
    let mut shared = Shared::new();
    if info.installed_files.is_empty() {
        return Ok(shared);
    }
    let known = Known::read(deployments, name)?;
    for path in &info.installed_files {
        let target = locate(deployments.root(), Path::new(path))?;
        if known.is_shared(&target) {
            shared.extend(checksum(&target)?.map(|sum| (target, sum)));
        }
    }
    Ok(shared)
}

/// Puts back what other containers had written to files; [`remove`] is to follow.
pub fn restore(deployments: &Deployments, name: &Name, shared: &Shared) -> Result<()> {
    let mut known = Known::read(deployments, name)?;
    let mut copies = Vec::new();
    for (target, sum) in shared {
        let found = checksum(target)?;
        if found.is_some_and(|found| found != *sum && known.is_ours(target, &found)) {
            copies.extend(known.source(target, sum)?.map(|source| (source, target.clone())));
        }
    }
    // As of another: the container itself recorded something else.
    let copies: Vec<_> =
        copies.iter().map(|(source, target)| (source.as_path(), target.clone(), None)).collect();
    write(&mut known, &copies)
}

/// Removes what deployments of a container recorded, unless its deployment `kept` or another container did, too.
pub fn remove(deployments: &Deployments, name: &Name, infos: &[&Info], kept: Option<&Info>) -> Result<()> {
    if infos.iter().copied().chain(kept).all(|info| info.installed_files.is_empty()) {
        return Ok(());
    }
    let known = Known::read(deployments, name)?;
    let mut changed = Vec::new();
    for Outgoing { path, target, departure } in known.departures(infos, kept)? {
        let what = || format!("cannot remove {path}, a host file of {name}");
        // Of a copy that was killed.
        files::remove_file(&files::temporary(&target)).context(what)?;
        match departure {
            Departure::Goes if target.is_dir() && !target.is_symlink() => match fs::remove_dir(&target) {
                // What else is in it is not ours.
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => continue,
                Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => continue,
                result => result.context(what)?,
            },
            Departure::Goes => {
                files::remove_file(&target).context(what)?;
            }
            Departure::Changed => {
                log::warning(&format!("{path} was changed on this host, leaving it behind"));
                continue;
            }
            Departure::Stays => continue,
        }
        changed.extend(target.parent().map(Path::to_path_buf));
    }
    sync(changed)?;
    known.settle(kept)
}

/// Directories that were removed meanwhile have nothing to sync.
fn sync(mut directories: Vec<PathBuf>) -> Result<()> {
    directories.sort();
    directories.dedup();
    directories.iter().filter(|directory| directory.exists()).try_for_each(|d| files::sync_directory(d))
}

/// Copies one file with mode and owner, whole or not at all.
fn copy(source: &Path, target: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(source).context(|| format!("cannot read {}", source.display()))?;
    if metadata.is_dir() {
        fs::create_dir(target).context(|| "cannot make the directory".into())?;
        return files::set_owner_like(target, &metadata);
    }
    let temporary = files::temporary(target);
    let copied = copy_file(source, &temporary, &metadata)
        .and_then(|()| fs::rename(&temporary, target).context(|| "cannot rename it".into()));
    if copied.is_err() {
        // The first error is the one to tell.
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
    let mut file = File::create_new(target).context(what)?;
    std::io::copy(&mut File::open(source).context(what)?, &mut file).context(what)?;
    files::set_owner_like(target, metadata)?;
    file.sync_all().context(what)
}
