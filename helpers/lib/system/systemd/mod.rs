//! The service manager, and its files.

pub mod analyze;
pub mod dependents;
pub mod host;
pub mod links;
pub mod manager;
mod presets;
pub mod status;
pub mod watch;

#[cfg(test)]
pub mod fake;
