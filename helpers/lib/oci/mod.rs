//! The OCI runtime configuration: parsing it, upgrading it, and deriving settings from it. Nothing here asks systemd or
//! runs a process.

pub mod bundle_config;
pub mod capabilities;
pub mod config;
pub mod mismatch;
pub mod mount;
pub mod mountpoints;
pub mod nesting;
pub mod normalise;
pub mod resources;
pub mod seccomp;
mod seccomp_default;
