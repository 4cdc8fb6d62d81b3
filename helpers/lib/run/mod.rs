//! Starting and stopping containers.

pub mod bundle;
pub mod foreground;
pub mod runtime;
pub mod scratch;
pub mod support;
pub mod view;
pub mod volumes;
