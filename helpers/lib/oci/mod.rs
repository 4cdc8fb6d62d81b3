//! The OCI runtime configuration: parsing, upgrading and what follows from it. Nothing here asks systemd or runs a process.

pub mod capabilities;
pub mod config;
pub mod mount;
pub mod mountpoints;
pub mod normalise;
pub mod resources;
pub mod seccomp;
pub mod signal;
