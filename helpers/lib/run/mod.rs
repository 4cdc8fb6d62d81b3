//! Starting and stopping containers.

pub mod bundle;
pub mod foreground;
pub mod places;
pub mod runtime;
pub mod scratch;
pub mod sources;
pub mod support;
pub mod volumes;
