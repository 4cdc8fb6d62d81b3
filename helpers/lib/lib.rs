//! What the programs of this package share: file formats, paths, the OSTree store and systemd.
//!
//! Programs are verbs and stay thin; the modules here are nouns. Only the modules below [`store`] use libostree.

pub mod body;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod deployment;
pub mod error;
pub mod files;
pub mod foreground;
pub mod host;
pub mod host_files;
pub mod installation;
pub mod lock;
pub mod log;
pub mod manifest;
pub mod mountpoints;
pub mod name;
pub mod notify;
pub mod original;
pub mod paths;
pub mod process;
pub mod recovery;
pub mod registration;
pub mod resources;
pub mod runtime;
pub mod scratch;
pub mod systemd;
pub mod template;
pub mod unit;
pub mod variables;

#[cfg(feature = "store")]
pub mod default_config;
#[cfg(feature = "store")]
pub mod draft;
#[cfg(feature = "store")]
pub mod exports;
#[cfg(feature = "store")]
pub mod hostfs;
#[cfg(feature = "store")]
pub mod installer;
#[cfg(feature = "store")]
pub mod plan;
#[cfg(feature = "store")]
pub mod preview;
#[cfg(feature = "store")]
pub mod progress;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
pub mod tree;
#[cfg(feature = "store")]
pub mod updater;
