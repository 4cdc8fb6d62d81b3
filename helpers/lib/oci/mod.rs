//! The OCI runtime configuration.

pub mod config;
pub mod mountpoints;
pub mod resources;
pub mod seccomp;
