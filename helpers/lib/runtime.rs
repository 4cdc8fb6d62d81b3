//! OCI runtimes: crun and runc, and how they differ.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which command line a runtime speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// crun, which can leave cgroups alone.
    Crun,
    /// runc, which always makes one below the unit's.
    Runc,
}

/// An installed OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The program.
    pub path: PathBuf,
    /// Which of the two it is.
    pub kind: Kind,
}
