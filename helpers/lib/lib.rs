//! What the programs of this package share: file formats, paths, the OSTree store and systemd.
//!
//! Programs are verbs and stay thin; the modules here are nouns. Only the modules below [`store`] use libostree.

pub mod digest;
pub mod error;
pub mod name;
pub mod paths;

pub mod container;
pub mod host_files;
pub mod image;
pub mod install;
pub mod oci;
pub mod program;
pub mod run;
pub mod system;
pub mod unit;
pub mod update;

#[cfg(feature = "store")]
pub mod lint;
#[cfg(feature = "store")]
pub mod list;
#[cfg(feature = "store")]
pub mod prune;
#[cfg(feature = "store")]
pub mod store;
