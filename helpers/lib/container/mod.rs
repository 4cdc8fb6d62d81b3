//! What is known of a container: its deployments, its registration, its units.

pub mod declaration;
pub mod deployment;
pub mod registration;
pub mod runtime;
pub mod state;
pub mod units;
pub mod volumes;
