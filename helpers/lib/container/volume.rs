//! Volumes: directories of an image that its payload writes to and that outlive deployments.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::paths::TreePath;

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The directory on the host.
    pub directory: TreePath,
    /// Its place in the container.
    pub destination: PathBuf,
    /// Owner and group where the image has no such directory.
    pub owner: (u32, u32),
}
