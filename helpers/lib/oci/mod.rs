//! The OCI runtime configuration.

pub mod capabilities;
pub mod config;
pub mod mountpoints;
pub mod resources;
pub mod seccomp;
pub mod signal;
