//! Starts and stops of containers.

pub mod bundle;
pub mod foreground;
pub mod scratch;
pub mod support;
