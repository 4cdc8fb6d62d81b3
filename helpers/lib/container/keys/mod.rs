//! The values of the keys that an administrator sets, [`crate::container::settings`]: their syntax, which is that of
//! podman-systemd.unit(5), and what they mean.
//!
//! Nothing here looks at a host or an image; what depends on these is checked where they are known.

pub mod boolean;
pub mod devices;
pub mod host_name;
pub mod limits;
pub mod mounts;
pub mod payload;
pub mod stop;
pub mod systemd;
pub mod words;
