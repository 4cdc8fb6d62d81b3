//! What a prune does to the store, as data: each thing that it looks at has one outcome.

use crate::error::Error;

/// What something in the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreItem {
    /// An image, by its name.
    Image,
    /// A layer or a configuration, by the digest of its blob.
    Layer,
    /// A ref of another program.
    Ref,
    /// A file or directory that a killed program left, or its ref.
    Leftover,
    /// Objects that no ref leads to, by the path of the store.
    Objects,
}

/// What became of something.
#[derive(Debug)]
pub enum Outcome {
    /// It stays, for this reason.
    Kept(String),
    /// It was removed for this reason, or would be.
    Removed {
        /// Why.
        reason: String,
        /// How many bytes are free now.
        bytes: u64,
    },
    /// It should have been removed.
    Failed(Error),
}

impl Outcome {
    /// A removal that frees nothing by itself.
    pub fn removed(reason: impl Into<String>) -> Outcome {
        Outcome::Removed { reason: reason.into(), bytes: 0 }
    }
}
