//! The host: files, locks, processes, the journal and systemd.

pub mod acl;
pub mod cgroup;
pub mod command;
pub mod copy;
pub mod directory;
pub mod files;
pub mod journal;
pub mod kill_point;
pub mod limited;
pub mod lock;
pub mod mount_tree;
pub mod mounts;
pub mod notify;
pub mod privacy;
pub mod privileges;
pub mod process;
pub mod quota;
pub mod random;
pub mod record;
pub mod removal;
pub mod space;
pub mod systemd;
pub mod tree;
pub mod untrusted;
