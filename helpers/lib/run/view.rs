//! The view of the host that a runtime has whose payload must not, or cannot, be shown the host's paths.
//!
//! Root in a user namespace is an ordinary user of the host, which cannot enter the directories that root file systems
//! are in. So the runtime gets a mount namespace in which the root file system is mounted where it can get to. And the
//! path of a bind source that is in another one may lead elsewhere by the time that the runtime opens it: what was opened
//! without following a symlink is mounted where only root can put anything. A scratch root file system is mounted there,
//! too: systemd would have to look at every mount of the host that comes and goes. Nobody else sees these mounts, and they
//! end with the runtime and the container, however these end.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::SFlag;

use crate::error::{Context, Result};
use crate::paths::{Root, TreePath};
use crate::run::scratch::Overlay;
use crate::run::sources::{self, SOURCES, Source};
use crate::system::mounts;

/// Where the root file system is mounted. Not a valid name of a container.
pub const ROOTFS: &str = "/run/syscontainers/.rootfs";
/// The file system that [`SOURCES`] is on, on every host.
const RUN: &str = "/run";
/// This process's mount namespace.
const NAMESPACE: &str = "/proc/self/ns/mnt";

/// What is mounted in a view.
pub struct View<'a> {
    /// A scratch root file system, and where it is mounted.
    pub overlay: Option<(&'a Overlay, PathBuf)>,
    /// What is mounted at [`ROOTFS`].
    pub rootfs: Option<&'a TreePath>,
    /// What is mounted below [`SOURCES`].
    pub sources: &'a [Source],
}

impl View<'_> {
    /// Runs `action`, and the programs that it starts, with this view; if nothing is mounted in it, with the host's.
    pub fn with<T>(&self, root: &Root, action: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_hosts() {
            return action();
        }
        let host = File::open(NAMESPACE).context(|| "cannot create a view of the host".into())?;
        let shown = self.enter(root);
        let result = shown.and_then(|()| action());
        // What follows, such as removing a scratch file system, is for the host.
        setns(&host, CloneFlags::CLONE_NEWNS)
            .context(|| "cannot return to the host's mount namespace".into())?;
        result
    }

    fn is_hosts(&self) -> bool {
        self.overlay.is_none() && self.rootfs.is_none() && self.sources.is_empty()
    }

    /// Gives this thread, and the programs that it starts, this view.
    pub fn enter(&self, root: &Root) -> Result<()> {
        if self.is_hosts() {
            return Ok(());
        }
        match self.rootfs {
            Some(_) => mounts::unshare(),
            // Bind mounts of the host's directories may be shared with the host.
            None => unshare(CloneFlags::CLONE_NEWNS).and_then(|()| change(Path::new(RUN), MsFlags::MS_SLAVE)),
        }
        .context(|| "cannot create a view of the host".into())?;
        self.overlay.as_ref().map_or(Ok(()), |(overlay, target)| overlay.mount(root, target))?;
        if let Some(rootfs) = self.rootfs {
            let rootfs = root.join(rootfs);
            let what = || format!("cannot show {} to the runtime", rootfs.display());
            bind(&rootfs, Path::new(ROOTFS)).context(what)?;
        }
        if self.sources.is_empty() {
            return Ok(());
        }
        let options = Some("mode=0711,size=1m");
        mount(Some("tmpfs"), SOURCES, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options)
            .context(|| format!("cannot mount a file system at {SOURCES}"))?;
        let mut numbered = self.sources.iter().enumerate();
        numbered.try_for_each(|(number, found)| show_source(found, &sources::place(number)))
    }
}

/// Mounts what was opened, whatever its path leads to by now.
fn show_source(source: &Source, place: &Path) -> Result<()> {
    let opened = source.open(&Root::default())?;
    let what = || format!("cannot bind {}", source.path);
    let mode = nix::sys::stat::fstat(&opened).context(what)?.st_mode;
    if mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
        std::fs::create_dir(place).context(what)?;
    } else {
        File::create_new(place).context(what)?;
    }
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    bind(Path::new(&path), place).context(what)
}

fn bind(source: &Path, place: &Path) -> nix::Result<()> {
    let (none, flags) = (None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC);
    mount(Some(source), place, none, flags, none)
}

fn change(place: &Path, flags: MsFlags) -> nix::Result<()> {
    let none = None::<&str>;
    mount(none, place, none, flags, none)
}
