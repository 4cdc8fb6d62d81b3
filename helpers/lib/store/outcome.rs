//! What a prune does to the store, as data: each thing that it examines has one outcome.

use crate::error::Error;

/// The kind of something in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreItem {
    /// An image, by its name.
    Image,
    /// A layer or a configuration, by the digest of its blob.
    Layer,
    /// A ref of another program.
    Ref,
    /// A file, directory or ref that a killed program left behind.
    Leftover,
    /// Objects that no ref leads to, by the path of the store.
    Objects,
}

/// The outcome for one thing.
#[derive(Debug)]
pub enum Outcome {
    /// It is kept, for this reason.
    Kept(String),
    /// It was removed for this reason, or would be.
    Removed {
        /// Why it was removed.
        reason: String,
        /// How many bytes this freed.
        bytes: u64,
    },
    /// It could not be removed.
    Failed(Error),
}

impl Outcome {
    /// A removal that frees nothing by itself.
    pub fn removed(reason: impl Into<String>) -> Outcome {
        Outcome::Removed { reason: reason.into(), bytes: 0 }
    }
}
