//! What is known about a container: its deployments, registration, units and state.

pub mod accounts;
pub mod broken;
pub mod categories;
pub mod declared;
pub mod deployment;
pub mod derived;
pub mod entries;
pub mod execution;
pub mod identity;
pub mod info;
pub mod keys;
pub mod needs;
pub mod output;
pub mod readiness;
pub mod registration;
pub mod room;
pub mod runtime;
pub mod settings;
pub mod stale;
pub mod standing;
pub mod state;
pub mod storage;
pub mod units;
pub mod volume;
