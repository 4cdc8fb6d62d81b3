//! Bounds of what an image contains, far above what real images have: whatever is in between takes time that grows with it
//! and no faster. The page syscontainers(7) has them, which `tests/formats.rs` compares.

use std::path::Path;

use crate::error::{Error, Result};
use crate::oci::config::Normalised;

/// Maximum size in bytes of any file of an image that is read into memory.
pub const READ: usize = 16 << 20;
/// Maximum size in bytes of a text of `/exports`: the manifest, a configuration, a template.
pub const TEXT: usize = 256 << 10;
/// Maximum size in bytes of a file for the host in which variables are replaced.
pub const HOST_TEMPLATE: usize = 1 << 20;
/// Maximum size in bytes of what a template becomes.
pub const RENDERED: usize = 1 << 20;
/// Maximum size in bytes of all files for the host in which variables are replaced, and of what they become.
pub const HOST_TEMPLATES: usize = 16 << 20;
/// Maximum number of files and directories for the host.
pub const HOST_FILES: usize = 10_000;
/// Maximum number of directories that a file for the host is below.
pub const DEPTH: usize = 64;
/// Maximum length in bytes of a path of a file for the host.
pub const PATH: usize = 1024;

/// How many problems with placeholders are listed of one file for the host.
pub const PROBLEMS_OF_FILE: usize = 1000;
/// How many are listed of all files for the host.
pub const PROBLEMS: usize = 10_000;

/// Maximum length in bytes of the user that an image names.
pub const USER: usize = 256;
/// Maximum number of groups of that user, the same as Linux has (NGROUPS_MAX).
pub const GROUPS: usize = 65_536;

/// Maximum number of mounts in a runtime configuration.
pub const MOUNTS: usize = 1000;

/// Fails for a text of the image that is larger than `limit`.
pub fn check_size(size: usize, limit: usize) -> Result<()> {
    if size > limit {
        return Err(Error::new(format!(
            "it is larger than the limit of {} KiB; see Limits in syscontainers(7)",
            limit >> 10
        )));
    }
    Ok(())
}

/// Fails for a path that is too long, or below too many directories.
pub fn check_path(path: &Path) -> Result<()> {
    let (length, depth) = (path.as_os_str().len(), path.components().count());
    // The root directory, and the file itself.
    if length <= PATH && depth <= DEPTH + 2 {
        return Ok(());
    }
    let shown: String = path.to_string_lossy().chars().take(60).collect();
    Err(Error::new(format!(
        "the path {shown:?}… is longer than {PATH} bytes or below more than {DEPTH} directories, which exceeds the limit; see Limits in syscontainers(7)"
    )))
}

/// Fails for a configuration with too many mounts, or with one that is too far down.
pub fn check_mounts(config: &Normalised) -> Result<()> {
    check_mount_count(config.mounts().take(MOUNTS + 1).count())?;
    config
        .mounts()
        .filter_map(|mount| mount.destination())
        .try_for_each(|destination| check_path(&destination))
}

/// Fails for too many mounts.
pub fn check_mount_count(count: usize) -> Result<()> {
    if count <= MOUNTS {
        return Ok(());
    }
    Err(Error::new(format!(
        "it has more than {MOUNTS} mounts, which exceeds the limit; see Limits in syscontainers(7)"
    )))
}

/// Counts what a walk over an image's files finds, and ends one that finds too much.
#[derive(Debug, Default)]
pub struct WalkBudget {
    found: usize,
}

impl WalkBudget {
    /// Takes one more file, `path` below the directory that is walked.
    pub fn take(&mut self, path: &Path) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::new(format!(
                "there are {what}, which exceeds the limit; see Limits in syscontainers(7)"
            )))
        };
        self.found += 1;
        if self.found > HOST_FILES {
            return refuse(format!("more than {HOST_FILES} files in it"));
        }
        if path.components().count() > DEPTH + 1 {
            return refuse(format!("files below more than {DEPTH} directories in it"));
        }
        if path.as_os_str().len() >= PATH {
            return refuse(format!("paths longer than {PATH} bytes in it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::json;
    use std::path::PathBuf;

    #[test]
    fn mounts_are_few_and_near() {
        let config = |mounts: Vec<String>| {
            let mounts: Vec<_> = mounts.iter().map(|path| json!({"destination": path})).collect();
            Config::new(json!({"mounts": mounts})).normalised()
        };
        // That of /dev is added.
        check_mounts(&config((1..MOUNTS).map(|n| format!("/{n}")).collect())).unwrap();
        let refused = |mounts| check_mounts(&config(mounts)).unwrap_err().to_string();
        assert!(refused((0..MOUNTS).map(|n| format!("/{n}")).collect()).contains("more than 1000 mounts"));
        assert!(refused(vec!["/d".repeat(DEPTH + 2)]).contains("below more than 64 directories"));
        assert!(refused(vec![format!("/{}", "x".repeat(PATH))]).contains("longer than 1024 bytes"));
    }

    #[test]
    fn walks_end() {
        let mut budget = WalkBudget::default();
        let nested = |depth: usize| (0..depth).map(|_| "d").collect::<PathBuf>();
        budget.take(&nested(DEPTH + 1)).unwrap();
        assert!(
            budget.take(&nested(DEPTH + 2)).unwrap_err().to_string().contains("more than 64 directories")
        );
        assert!(budget.take("x".repeat(PATH).as_ref()).unwrap_err().to_string().contains("1024 bytes"));
        let flat = (0..HOST_FILES).map(|n| budget.take(n.to_string().as_ref())).find_map(Result::err);
        assert!(flat.unwrap().to_string().contains("more than 10000 files"));
    }
}
