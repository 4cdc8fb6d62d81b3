//! Starting and stopping containers.

pub mod apparmor;
pub mod bundle;
pub mod confinement;
pub mod ending;
pub mod foreground;
pub mod mount_check;
pub mod parent;
pub mod places;
pub mod runtime;
pub mod scratch;
pub mod selinux;
pub mod sources;
pub mod starting;
pub mod successor;
pub mod support;
pub mod unit_user;
pub mod view;
pub mod volumes;
