//! The host: files, locks, processes, the journal and systemd.

pub mod cgroup;
pub mod command;
pub mod files;
pub mod journal;
pub mod kill_point;
pub mod lock;
pub mod mounts;
pub mod notify;
pub mod plain_paths;
pub mod privacy;
pub mod process;
pub mod record;
pub mod systemd;
