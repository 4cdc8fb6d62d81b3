//! Host files as deployments record them, and whether a file still is as recorded.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::container::info::{Info, RecordedFiles};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::name::Deployment;
use crate::paths::{Root, TreePath};
use crate::program::log;
use crate::system::files;

/// The host files of one deployment, as it recorded them.
#[derive(Clone, Debug)]
pub struct DeploymentFiles {
    /// The deployment.
    pub deployment: Deployment,
    /// Paths and checksums of the files.
    pub files: RecordedFiles,
    /// Whether Project Atomic recorded them, which treated symlinks differently.
    pub by_atomic: bool,
}

impl DeploymentFiles {
    /// The files that the `info` of a deployment names.
    pub fn new(deployment: &Deployment, info: &Info) -> Self {
        let (files, by_atomic) = (info.host_files.clone(), info.is_from_atomic());
        DeploymentFiles { deployment: deployment.clone(), files, by_atomic }
    }

    /// The files of a deployment. If its `info` cannot be read, warns and takes the files below its `hostfs/` as
    /// recorded.
    pub fn read(deployments: &Deployments, deployment: &Deployment) -> Result<Self> {
        match deployments.info(deployment) {
            Ok(info) => Ok(DeploymentFiles::new(deployment, &info)),
            Err(e) => {
                log::warning(&format!(
                    "{e}; what {deployment} has for the host is treated as its files there"
                ));
                DeploymentFiles::guess(deployments, deployment)
            }
        }
    }

    fn guess(deployments: &Deployments, deployment: &Deployment) -> Result<Self> {
        let directory = deployments.path_of(deployment).join(STAGED);
        let mut files = RecordedFiles::none();
        for entry in walkdir::WalkDir::new(&directory).min_depth(1).into_iter().flatten() {
            let below = entry.path().strip_prefix(&directory).unwrap_or(entry.path());
            let path = TreePath::new(below);
            files.installed_files_checksum.extend(checksum(entry.path())?.map(|sum| (path.clone(), sum)));
            files.installed_files.push(path);
        }
        Ok(DeploymentFiles { deployment: deployment.clone(), files, by_atomic: false })
    }

    /// Whether the deployment has no host files.
    pub fn is_empty(&self) -> bool {
        self.files.installed_files.is_empty()
    }

    /// Whether a file on the host, with the checksum `found`, is as it was recorded here.
    pub fn is_as_recorded(&self, path: &TreePath, target: &Path, found: &str) -> bool {
        is_as_recorded(target, found, self.files.checksum(path), self.by_atomic)
    }
}

/// Name of the directory in a deployment that holds its host files.
pub const STAGED: &str = "hostfs";
/// What is recorded for a directory in place of a checksum.
pub const DIRECTORY: &str = "0";

/// Path of the host file `path` in the deployment `directory`.
pub fn staged(directory: &Path, path: &TreePath) -> PathBuf {
    Root::new(directory.join(STAGED)).join(path)
}

/// The path on the host as this process sees it; symlinks among its directories are resolved inside the tree.
pub fn locate(root: &Root, path: &TreePath) -> Result<PathBuf> {
    let path = path.as_path();
    let parent = files::resolve_inside(root.path(), path.parent().unwrap_or(path))?;
    Ok(root.join(&TreePath::new(parent)).join(path.file_name().unwrap_or_default()))
}

/// Whether a path on the host is a directory, or a symlink to one.
pub fn is_directory(root: &Root, path: &TreePath) -> Result<bool> {
    Ok(root.join(&TreePath::new(files::resolve_inside(root.path(), path.as_path())?)).is_dir())
}

/// The checksum that would be recorded for a file; `None` if it does not exist.
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
        // No image brings such a file.
        "-".to_owned()
    };
    Ok(Some(found))
}

/// The checksum that is recorded for content.
pub fn sum(content: &[u8]) -> String {
    Digest::of(content).hex().to_owned()
}

fn content_checksum(path: &Path) -> std::io::Result<String> {
    Ok(Digest::of_reader(File::open(path)?)?.hex().to_owned())
}

/// Whether a file, with the checksum `found`, is as a deployment recorded it. For symlinks, Atomic recorded the content
/// of the file that they lead to, or `0` if they are dangling.
pub fn is_as_recorded(path: &Path, found: &str, recorded: Option<&str>, by_atomic: bool) -> bool {
    let Some(recorded) = recorded else { return false };
    if found == recorded {
        return true;
    }
    by_atomic
        && path.is_symlink()
        && match content_checksum(path) {
            Ok(content) => content == recorded,
            Err(_) => recorded == DIRECTORY,
        }
}
