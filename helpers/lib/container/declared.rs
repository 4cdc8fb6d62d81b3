//! What is remembered about the declaration of a container that was applied last: a part of [`State`].
//!
//! [`State`]: crate::container::state::State

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::paths::TreePath;

/// A declaration that was applied; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Declared {
    /// Digest of all that it chose.
    pub digest: Digest,
    /// The declaration's main file.
    pub path: TreePath,
    /// Whether it wanted the unit to be enabled, if it said so.
    #[serde(default)]
    pub enable: Option<bool>,
    /// Whether it wanted daily updates.
    #[serde(default)]
    pub auto_update: bool,
    /// Whether the container is being installed by it, and not everything that belongs to that is done yet.
    #[serde(default)]
    pub installing: bool,
    /// Whether it counts only if the switch to what it chooses is confirmed.
    #[serde(default)]
    pub unconfirmed: bool,
    /// Digest of the declaration that counts again if it is not.
    #[serde(default)]
    pub replaces: Option<Digest>,
}

impl Declared {
    /// The switch to what it chooses is confirmed, so it counts.
    pub fn confirm(&mut self) {
        (self.unconfirmed, self.replaces) = (false, None);
    }

    /// What counts if the switch to what it chooses failed: what counted before, which may be nothing.
    pub fn reverted(self) -> Option<Declared> {
        if !self.unconfirmed {
            return Some(self);
        }
        let digest = self.replaces?;
        Some(Declared { digest, unconfirmed: false, replaces: None, ..self })
    }
}
