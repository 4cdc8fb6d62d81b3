//! The commits of OSTree that images are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Checksum of the commit of an image. It stands beside the name of the image in many places, and is not one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commit(String);

impl Commit {
    /// The commit with this checksum, as libostree says it.
    pub fn new(checksum: impl Into<String>) -> Commit {
        Commit(checksum.into())
    }

    /// What stands for the commit where none was recorded, which is none of a repository's.
    pub fn unknown() -> Commit {
        Commit(String::new())
    }

    /// The checksum, for libostree.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
