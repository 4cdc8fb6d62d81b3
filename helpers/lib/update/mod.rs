//! Updates: which deployments there are, and which is current.

pub mod availability;
pub mod retention;
pub mod switcher;
pub mod updater;
