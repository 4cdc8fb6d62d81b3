//! What the programs of this package share: file formats, paths, the OSTree store and systemd.
//!
//! Programs are verbs and stay thin; the modules here are nouns. Only the modules below [`store`] use libostree.

pub mod body;
pub mod bundle;
pub mod cli;
pub mod deployment;
pub mod error;
pub mod log;
pub mod manifest;
pub mod name;
pub mod paths;
pub mod registration;
pub mod runtime;
pub mod template;
pub mod unit;
pub mod variables;

#[cfg(feature = "store")]
pub mod store;
