//! Host files of containers: what deployments recorded of them, and what is there.
//!
//! A deployment has its host files below `hostfs/` as they are to be on the host, and records in `info` those that are its
//! own, with the SHA-256 of their content (of a symlink's target; `0` for a directory). A file that is not as recorded was
//! changed by the user and is never touched; one that several containers recorded goes with the last of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::deployment::{Deployments, Info};
use crate::error::{Context, Result};
use crate::files;
use crate::log;
use crate::mountpoints;
use crate::name::Name;
use crate::paths::Root;

/// Directory of a deployment with its host files.
pub const STAGED: &str = "hostfs";
/// In place of a checksum, for directories.
const DIRECTORY: &str = "0";

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
    let sum = if metadata.is_dir() {
        DIRECTORY.to_owned()
    } else if metadata.is_symlink() {
        format!("{:x}", Sha256::digest(fs::read_link(path).context(what)?.as_os_str().as_bytes()))
    } else if metadata.is_file() {
        content_checksum(path).context(what)?
    } else {
        // Nothing that any container brings.
        "-".to_owned()
    };
    Ok(Some(sum))
}

fn content_checksum(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Whether a file is as a deployment recorded it. The original recorded what symlinks lead to, and `0` for those that lead
/// nowhere.
fn is_as_recorded(path: &Path, found: &str, file: &str, info: &Info) -> bool {
    let Some(recorded) = info.installed_files_checksum.get(file) else { return false };
    if found == recorded {
        return true;
    }
    info.is_of_original()
        && path.is_symlink()
        && match content_checksum(path) {
            Ok(content) => content == *recorded,
            Err(_) => recorded == DIRECTORY,
        }
}

/// What other containers than `name` have recorded in their current deployments, by where it is.
pub fn of_others(deployments: &Deployments, name: &Name) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for (_, _, info) in deployments.others(name)? {
        for path in &info.installed_files {
            all.insert(locate(deployments.root(), Path::new(path))?);
        }
    }
    Ok(all)
}

/// Makes the host's files those of a deployment: creates what it recorded, in place of what the deployment `previous` did.
pub fn install(
    deployments: &Deployments,
    deployment: &str,
    info: &Info,
    previous: Option<(&str, &Info)>,
) -> Result<()> {
    let staged = |deployment: &str, path: &str| staged(&deployments.path(deployment), path);
    let mut changed = Vec::new();
    for path in &info.installed_files {
        let target = locate(deployments.root(), Path::new(path))?;
        let source = staged(deployment, path);
        let new = info.installed_files_checksum.get(path);
        match checksum(&target)? {
            Some(found) if Some(&found) == new => {
                let old = previous.map(|(old, _)| staged(old, path));
                set_owner(&target, old.as_deref(), &source)?;
            }
            Some(found)
                if found == DIRECTORY
                    || !previous.is_some_and(|(_, old)| is_as_recorded(&target, &found, path, old)) =>
            {
                log::warning(&format!("{path} was changed on this host, leaving it as it is"));
            }
            _ => {
                copy(&source, &target).context(|| format!("cannot create {path} of {deployment}"))?;
                changed.extend(target.parent().map(Path::to_path_buf));
            }
        }
    }
    sync(changed)
}

/// Gives a file that stays the owner and mode of the new deployment, if it has those of the old one.
fn set_owner(target: &Path, old: Option<&Path>, new: &Path) -> Result<()> {
    let read = |path: &Path| fs::symlink_metadata(path).ok();
    let facts = |metadata: &fs::Metadata| (metadata.uid(), metadata.gid(), metadata.mode());
    let (Some(there), Some(old), Some(new)) = (read(target), old.and_then(read), read(new)) else {
        return Ok(());
    };
    if facts(&there) == facts(&old) && facts(&old) != facts(&new) {
        files::set_owner_like(target, &new)?;
    }
    Ok(())
}

/// Removes what deployments of a container recorded, unless its deployment `kept` or another container did, too.
pub fn remove(deployments: &Deployments, name: &Name, infos: &[&Info], kept: Option<&Info>) -> Result<()> {
    let paths: BTreeSet<&String> = infos.iter().flat_map(|info| &info.installed_files).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let others = of_others(deployments, name)?;
    let mut changed = Vec::new();
    // Directories after what is in them.
    for path in
        paths.into_iter().rev().filter(|path| !kept.is_some_and(|kept| kept.installed_files.contains(path)))
    {
        let target = locate(deployments.root(), Path::new(path))?;
        if others.contains(&target) {
            continue;
        }
        let what = || format!("cannot remove {path}, a host file of {name}");
        // Of a copy that was killed.
        files::remove_file(&files::temporary(&target)).context(what)?;
        match checksum(&target)? {
            None => continue,
            Some(found) if found == DIRECTORY => match fs::remove_dir(&target) {
                // What else is in it is not ours.
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => continue,
                Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => continue,
                result => result.context(what)?,
            },
            Some(found) if infos.iter().any(|info| is_as_recorded(&target, &found, path, info)) => {
                files::remove_file(&target).context(what)?;
            }
            Some(_) => {
                log::warning(&format!("{path} was changed on this host, leaving it behind"));
                continue;
            }
        }
        changed.extend(target.parent().map(Path::to_path_buf));
    }
    sync(changed)
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
