//! The storage that a container is installed on: its registration names it, so that what is not there is not taken for gone.
//! What that means is for [`crate::container::standing`].

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::deployment::Deployments;
use crate::container::identity;
use crate::error::{Context, Result};
use crate::paths::TreePath;
use crate::system::mounts;

/// The storage of a container; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Storage {
    /// Identity of the directory of deployments, see [`crate::container::identity`].
    pub id: String,
    /// The directory itself, without symlinks.
    pub path: TreePath,
    /// Where the file system is mounted that the directory is on; absent if an unpacked tree was worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<TreePath>,
}

impl Storage {
    /// What there is to know of a directory of deployments; `None` if it has no identity.
    pub fn of(deployments: &Deployments) -> Result<Option<Storage>> {
        let path = deployments.path("");
        let Some(id) = identity::read(&path)? else { return Ok(None) };
        if !deployments.root().is_host() {
            // Its mounts are not those that it will have, and absolute symlinks lead out of it.
            return Ok(Some(Storage { id, path: deployments.directory().clone(), mount: None }));
        }
        let path = path.canonicalize().context(|| format!("cannot resolve {}", path.display()))?;
        let mount = mount_point(&path)?.map(TreePath::new);
        Ok(Some(Storage { id, path: TreePath::new(path), mount }))
    }
}

/// Where the file system is mounted that a path without symlinks is on, or would be on if it existed.
pub fn mount_point(path: &Path) -> Result<Option<PathBuf>> {
    let there = path.ancestors().find(|above| fs::symlink_metadata(above).is_ok());
    let table = mounts::table()?;
    Ok(there.and_then(|there| mounts::mount_of(&table, there)).map(|mount| mount.point.clone()))
}
