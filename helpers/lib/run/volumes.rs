//! Making volumes: a directory gets what the image has in its place, once, and its name when it is complete.
//!
//! Whatever is in a volume is the payload's, so nothing in it is looked at, let alone believed. A directory with the
//! name of a volume is one; it was made under another name, beside it, where only root can enter. So if this is killed
//! at any time, the next start begins anew.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::container::volume::{self, Volume};
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{Root, TreePath, VOLUMES};
use crate::program::log;
use crate::system::copy::{self, Budget, Limits};
use crate::system::directory::{self, Directory, Links};
use crate::system::space::Space;
use crate::system::{files, kill_point, mounts, removal};

/// What an image may have in all of its volumes that are made at one start: far more than any has.
const LIMITS: Limits = Limits { entries: 1 << 20, depth: 200, bytes: 256 << 30 };
/// How many files a container's directory may have besides its volumes, all of them left by programs that were killed.
const LEFTOVERS: usize = 1 << 16;
/// Mode of a directory that the image does not have.
const MODE: u32 = 0o755;

/// Makes those volumes of a container that do not exist yet, from the image's files in `rootfs`. Fails if one that
/// exists is not a directory, or if anybody but root could have put it there.
pub fn make(root: &Root, name: &Name, volumes: &[Volume], rootfs: &Path) -> Result<()> {
    if volumes.is_empty() {
        return Ok(());
    }
    let home = make_home(root, name)?;
    remove_leftovers(&home)?;
    let mut budget = Budget::new(LIMITS, space(root)?);
    for volume in volumes {
        make_one(&home, volume, rootfs, &mut budget)
            .context(|| format!("cannot create volume {}", volume.destination.display()))?;
    }
    Ok(())
}

fn make_one(home: &Directory, volume: &Volume, rootfs: &Path, budget: &mut Budget) -> Result<()> {
    let file_name = volume.file_name();
    let path = home.path_of(file_name.as_ref());
    let what = || format!("cannot use {}", path.display());
    match home.stat_of(file_name.as_ref()).context(what)? {
        Some(stat) if directory::kind(&stat) == FileType::Directory => return Ok(()),
        Some(stat) => {
            let kind = directory::kind_name(&stat);
            return Err(Error::new(format!("it is {kind}, not a directory; remove it"))).context(what);
        }
        None => {}
    }
    let temporary = format!(".{file_name}.new");
    let made = fill(home, temporary.as_ref(), volume, rootfs, budget).and_then(|()| {
        let what = || format!("cannot create {}", path.display());
        home.sync_file_system().context(what)?;
        kill_point::pass();
        home.rename(temporary.as_ref(), file_name.as_ref()).context(what)?;
        kill_point::pass();
        home.sync().context(what)
    });
    if made.is_err() {
        // Its content may be what the disk has no space for. The first error is the one to report.
        let _ = removal::remove(home, temporary.as_ref());
    }
    made
}

/// Makes the content of a volume, under a temporary name.
fn fill(
    home: &Directory,
    temporary: &OsStr,
    volume: &Volume,
    rootfs: &Path,
    budget: &mut Budget,
) -> Result<()> {
    let what = || format!("cannot create {}", home.path_of(temporary).display());
    let target = home.make_child(temporary, 0o700).context(what)?;
    kill_point::pass();
    if let Some((uid, gid)) = volume.owner {
        return target.set_owner(uid, gid, MODE).context(what);
    }
    let Some(source) = find_source(volume, rootfs)? else {
        return target.set_owner(0, 0, MODE).context(what);
    };
    let skipped = copy::copy(&source, &target, budget)?;
    if skipped.count > 0 {
        log::warning(&format!(
            "volume {}: skipped {} device nodes or sockets of the image, such as {}",
            volume.destination.display(),
            skipped.count,
            skipped.example.display()
        ));
    }
    Ok(())
}

/// Leaves the owner only of those volumes whose directories the image does not have.
pub fn settle(volumes: &mut [Volume], rootfs: &Path) -> Result<()> {
    for volume in volumes {
        if find_source(volume, rootfs)?.is_some() {
            volume.owner = None;
        }
    }
    Ok(())
}

/// The image's directory, found as the payload would find it; `None` if it is gone.
fn find_source(volume: &Volume, rootfs: &Path) -> Result<Option<Directory>> {
    let image = Directory::open(rootfs).context(|| format!("cannot open {}", rootfs.display()))?;
    let found = image.find_directory(&volume.destination, Links::Inside);
    found.context(|| format!("cannot open {} in the image", volume.destination.display()))
}

/// Removes what killed programs left beside the volumes.
fn remove_leftovers(home: &Directory) -> Result<()> {
    let names = home.names(LEFTOVERS).context(|| format!("cannot read {}", home.path().display()))?;
    for name in names.iter().filter(|name| name.as_encoded_bytes().starts_with(b".")) {
        removal::remove(home, name)?;
    }
    Ok(())
}

/// The directory that has nothing but volumes of one container: made if it is missing.
fn make_home(root: &Root, name: &Name) -> Result<Directory> {
    make_private(&make_all(root)?, name.as_str().as_ref())
}

/// The directory of all of them, likewise.
pub fn make_all(root: &Root) -> Result<Directory> {
    let (above, last) = above();
    let resolved = TreePath::new(files::resolve_inside(root.path(), above.as_path())?);
    files::make_directory(&root.join(&resolved), 0o755)?;
    make_private(&open_above(root)?.expect("it was just made"), last.as_ref())
}

/// The file system that volumes are made on, a part of which stays free.
fn space(root: &Root) -> Result<Space> {
    let place = TreePath::new(files::resolve_inside(root.path(), Path::new(VOLUMES))?);
    Space::at(&root.join(&place))
}

fn make_private(parent: &Directory, name: &OsStr) -> Result<Directory> {
    let what = || format!("cannot create {}", parent.path_of(name).display());
    if let Some(directory) = open_private(parent, name)? {
        return Ok(directory);
    }
    let directory = parent.make_child(name, 0o700).context(what)?;
    kill_point::pass();
    parent.sync().context(what)?;
    Ok(directory)
}

/// Opens a directory that only root can have filled; `None` if it does not exist.
fn open_private(parent: &Directory, name: &OsStr) -> Result<Option<Directory>> {
    let what = || format!("cannot use {}", parent.path_of(name).display());
    let refuse = |why: &str| Err(Error::new(why.to_owned())).context(what);
    let Some(stat) = parent.stat_of(name).context(what)? else { return Ok(None) };
    if directory::kind(&stat) != FileType::Directory {
        let kind = directory::kind_name(&stat);
        return refuse(&format!(
            "it is {kind}, which could lead anywhere; put a directory in its place, or mount one there"
        ));
    }
    let directory = parent.child(name).context(what)?;
    let stat = directory.stat().context(what)?;
    if stat.st_uid != nix::unistd::geteuid().as_raw() {
        return refuse(&format!(
            "it belongs to user {}, who could change what is in it; if you trust that, give it to root",
            stat.st_uid
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        return refuse(
            "users other than root may write to it; if you trust what is in it, set its mode to 0700",
        );
    }
    if stat.st_mode & 0o077 != 0 {
        // Whoever could enter it could run setuid programs of images.
        directory.set_owner(stat.st_uid, stat.st_gid, 0o700).context(what)?;
    }
    Ok(Some(directory))
}

/// The directory of [`VOLUMES`], and its name there.
fn above() -> (TreePath, &'static str) {
    let (above, last) = VOLUMES.rsplit_once('/').expect("it is an absolute path");
    (TreePath::new(above), last)
}

/// Up to there, the paths of the host are its administrator's, who may have links in them.
fn open_above(root: &Root) -> Result<Option<Directory>> {
    let (above, _) = above();
    let what = || format!("cannot open {}", root.join(&above).display());
    let tree = Directory::open(root.path()).context(what)?;
    match tree.directory(above.as_path(), Links::Inside) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).context(what),
    }
}

/// The directory that has the directories of all containers' volumes.
fn open_all(root: &Root) -> Result<Option<Directory>> {
    let (_, last) = above();
    open_above(root)?.map_or(Ok(None), |above| open_private(&above, last.as_ref()))
}

/// Whether there is anything that a purge would remove.
pub fn exist(root: &Root, name: &Name) -> Result<bool> {
    let Some(all) = open_all(root)? else { return Ok(false) };
    for name in [name.to_string(), doomed(name)] {
        let stat = all
            .stat_of(name.as_ref())
            .context(|| format!("cannot examine {}", all.path_of(name.as_ref()).display()))?;
        if stat.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names of the directories of those volumes that a container of this name has already, or has left.
pub fn made(root: &Root, name: &Name) -> Result<HashSet<OsString>> {
    let what = || format!("cannot read {}", volume::home(name));
    let (_, last) = above();
    let below = Path::new(last).join(name.as_str());
    let home = open_above(root)?.map(|above| above.find_directory(&below, Links::Refused));
    let Some(home) = home.transpose().context(what)?.flatten() else { return Ok(HashSet::new()) };
    Ok(home.names(usize::MAX).context(what)?.into_iter().collect())
}

/// Fails if [`doom`] would.
pub fn check_purge(root: &Root, name: &Name) -> Result<()> {
    open_all(root)?;
    let home = volume::home(name);
    mounts::refuse(&root.join(&home)).context(|| format!("cannot purge {home}"))
}

/// Takes all volumes of a container from it, for [`finish_purge`] to remove them. If this is killed, the container has either
/// all of them or none. Returns whether there is anything to remove.
///
/// How much there is, and so how long that takes, is the payload's decision, so nobody else should wait for it.
pub fn doom(root: &Root, name: &Name) -> Result<bool> {
    let home = volume::home(name);
    let what = || format!("cannot purge {home}");
    let Some(all) = open_all(root).context(what)? else { return Ok(false) };
    let doomed = doomed(name);
    let was_killed = all.stat_of(doomed.as_ref()).context(what)?.is_some();
    if all.stat_of(name.as_str().as_ref()).context(what)?.is_none() {
        return Ok(was_killed);
    }
    if was_killed {
        // By one that was killed. Only root enters it, so what it has goes with it.
        let directory = all.child(doomed.as_ref()).context(what)?;
        let mut names = (0..).map(|number| format!(".{number}.again"));
        let free = names.find(|name| matches!(directory.stat_of(name.as_ref()), Ok(None) | Err(_)));
        all.rename_into(name.as_str().as_ref(), &directory, free.unwrap_or_default().as_ref())
            .context(what)?;
    } else {
        all.rename(name.as_str().as_ref(), doomed.as_ref()).context(what)?;
    }
    kill_point::pass();
    all.sync().context(what).map(|()| true)
}

/// Containers of whose volumes [`doom`] took some that nobody has removed.
pub fn half_purged(root: &Root) -> Result<Vec<Name>> {
    let Some(all) = open_all(root)? else { return Ok(Vec::new()) };
    let names = all.names(usize::MAX).context(|| format!("cannot read {}", all.path().display()))?;
    let doomed = names.iter().filter_map(|name| name.to_str()?.strip_prefix('.')?.strip_suffix(".old"));
    Ok(doomed.filter_map(|name| name.parse().ok()).collect())
}

/// Removes the volumes that [`doom`] took from a container. Those that it has by now stay.
pub fn finish_purge(root: &Root, name: &Name) -> Result<()> {
    let what = || format!("cannot purge {}", volume::home(name));
    let Some(all) = open_all(root).context(what)? else { return Ok(()) };
    removal::remove(&all, doomed(name).as_ref()).context(what)?;
    all.sync().context(what)
}

/// Where the volumes of a container are while a purge removes them.
pub fn doomed_path(root: &Root, name: &Name) -> PathBuf {
    root.join(&volume::home(name)).with_file_name(doomed(name))
}

fn doomed(name: &Name) -> String {
    format!(".{name}.old")
}

#[cfg(test)]
mod tests;
