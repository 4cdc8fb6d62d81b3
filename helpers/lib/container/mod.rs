//! What is known of a container: its deployments, its registration, its units, and what is remembered of it.

pub mod deployment;
pub mod derived;
pub mod entries;
pub mod execution;
pub mod info;
pub mod readiness;
pub mod registration;
pub mod runtime;
pub mod stale;
pub mod state;
pub mod units;
pub mod volume;
