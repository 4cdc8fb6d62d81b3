//! Volumes: directories of an image that its payload writes to and that outlive deployments.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::paths::TreePath;

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The directory on the host.
    pub directory: TreePath,
    /// Path of the directory in the container.
    pub destination: PathBuf,
    /// User and group ID of the owner, if the image has no such directory.
    pub owner: (u32, u32),
}
