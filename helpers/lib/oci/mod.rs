//! The OCI runtime configuration.

pub mod capabilities;
pub mod config;
pub mod mount;
pub mod mountpoints;
pub mod normalise;
pub mod resources;
pub mod seccomp;
pub mod signal;
