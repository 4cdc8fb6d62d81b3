//! Starting and stopping containers.

pub mod accounts;
pub mod apparmor;
pub mod bundle;
pub mod confinement;
pub mod foreground;
pub mod keys;
pub mod lengths;
pub mod limits;
pub mod memory;
pub mod mount_check;
pub mod names;
pub mod output;
pub mod places;
pub mod relay;
pub mod rootfs;
pub mod runtime;
pub mod scratch;
pub mod selinux;
pub mod sources;
pub mod support;
pub mod view;
pub mod volumes;
pub mod written;
