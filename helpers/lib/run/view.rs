//! The view of the host that a runtime has which makes a user namespace.
//!
//! Root in such a namespace is an ordinary user of the host, which cannot enter the directories that root file systems
//! are in. So the runtime gets a mount namespace in which the root file system is mounted where it can get to. Nobody
//! else sees that mount.

use std::fs::File;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};

use crate::error::{Context, Result};
use crate::paths::{Root, TreePath};
use crate::system::mounts;

/// Where the root file system is mounted. Not a valid name of a container.
pub const ROOTFS: &str = "/run/syscontainers/.rootfs";
/// This process's mount namespace.
const NAMESPACE: &str = "/proc/self/ns/mnt";

/// Runs `action`, and the programs that it starts, with `rootfs` mounted at [`ROOTFS`]; without one, as it is.
pub fn with<T>(rootfs: Option<&TreePath>, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(rootfs) = rootfs else { return action() };
    let rootfs = Root::default().join(rootfs);
    let what = || format!("cannot show {} to the runtime", rootfs.display());
    let host = File::open(NAMESPACE).context(what)?;
    mounts::unshare().context(what)?;
    let (none, flags) = (None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC);
    let shown = mount(Some(&rootfs), ROOTFS, none, flags, none).context(what);
    let result = shown.and_then(|()| action());
    // What follows, such as removing a scratch file system, is for the host.
    setns(&host, CloneFlags::CLONE_NEWNS).context(|| "cannot return to the host's mount namespace".into())?;
    result
}
