//! The OCI runtime configuration.

pub mod config;
pub mod mountpoints;
pub mod resources;
#[cfg(feature = "store")]
pub mod seccomp;
