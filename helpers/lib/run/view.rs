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

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::SFlag;

use crate::error::{Context, Error, Result};
use crate::paths::{RUN, Root, TreePath};
use crate::run::scratch::Overlay;
use crate::run::sources::{self, SOURCES, Source};
use crate::system::mounts;

/// Where the root file system is mounted. Not a valid name of a container.
pub const ROOTFS: &str = "/run/syscontainers/.rootfs";
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
        let what = || "cannot create a view of the host".to_string();
        match self.rootfs {
            Some(_) => mounts::unshare(),
            // Bind mounts of the host's directories may be shared with the host.
            None => unshare(CloneFlags::CLONE_NEWNS),
        }
        .context(what)?;
        if self.rootfs.is_none() {
            keep_from_host(Path::new(RUN)).context(what)?;
        }
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

/// Keeps what this mounts below a directory from the host. The directory may be a mount of its own; on most hosts it is on the
/// one above it, for which no table has to be read.
fn keep_from_host(directory: &Path) -> Result<()> {
    let what = || format!("cannot make the mount of {} a slave", directory.display());
    if make_slave(directory).context(what)? {
        return Ok(());
    }
    // With a link, it is on another mount than what it seems to be in.
    let above = directory.parent().filter(|_| !directory.is_symlink());
    if above.map_or(Ok(false), make_slave).context(what)? {
        return Ok(());
    }
    let place = std::fs::canonicalize(directory).context(what)?;
    let table = mounts::table()?;
    let found =
        mounts::mount_of(&table, &place).ok_or_else(|| Error::new("it is on no mount")).context(what)?;
    change(&found.point, MsFlags::MS_SLAVE).context(what)
}

/// Makes a mount a slave of what it shares mounts with; `false` if it is none.
fn make_slave(point: &Path) -> nix::Result<bool> {
    match change(point, MsFlags::MS_SLAVE) {
        Err(Errno::EINVAL) => Ok(false),
        changed => changed.map(|()| true),
    }
}

fn bind(source: &Path, place: &Path) -> nix::Result<()> {
    let (none, flags) = (None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC);
    mount(Some(source), place, none, flags, none)
}

fn change(place: &Path, flags: MsFlags) -> nix::Result<()> {
    let none = None::<&str>;
    mount(none, place, none, flags, none)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The optional fields of the last mount at a point, in the mount namespace of this thread.
    fn propagation(point: &Path) -> String {
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mut lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found = lines.rfind(|fields| Path::new(fields[4]) == point).unwrap();
        found[6..].iter().take_while(|field| **field != "-").copied().collect::<Vec<_>>().join(" ")
    }

    fn mount_shared(point: &Path) {
        mount(None::<&str>, point, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        change(point, MsFlags::MS_SHARED).unwrap();
    }

    #[test]
    fn the_mount_that_a_directory_is_on_keeps_to_itself() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().canonicalize().unwrap().join("run");
        std::fs::create_dir(&run).unwrap();
        // In a mount namespace that nobody else sees.
        let tested = std::thread::spawn(move || {
            if mounts::unshare().is_err() {
                return false;
            }
            let below = run.join("syscontainers");
            for is_mount in [false, true] {
                mount_shared(&run);
                std::fs::create_dir(&below).unwrap();
                if is_mount {
                    mount_shared(&below);
                }
                // Without it, there would be nobody to share with.
                let _host = File::open("/proc/thread-self/ns/mnt").unwrap();
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                keep_from_host(&below).unwrap();
                let own = propagation(if is_mount { &below } else { &run });
                assert!(own.starts_with("master:"), "{is_mount}: {own}");
                // The one above is none of its business.
                assert!(!is_mount || propagation(&run).starts_with("shared:"));
            }
            true
        });
        if !tested.join().unwrap() {
            eprintln!("skipped: only root can mount");
        }
    }
}
