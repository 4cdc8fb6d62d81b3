//! The copies of files of names that a payload writes to, and what they were when nobody else had written to them.
//!
//! The copies are in the scratch directory of the container, since they are what the payload writes. In its bundle, which
//! only root can enter, is what was written to each: a copy that has anything else is the payload's, and stays as it is. No
//! payload gets anything by making its copy look as if it had never been changed.
//!
//! What is written to a copy is written down in the bundle first. So after a helper was killed it is known what it may have
//! left: at each byte the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::run::names::content::{HostFiles, LIMIT};
use crate::run::{scratch, selinux};
use crate::system::lock::{self, Lock};
use crate::system::{files, kill_point, privacy};

/// The files, as they are called in /etc.
pub const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];
/// The directory in a bundle.
const KEPT: &str = "names";
/// File there with the lines that a container has in its hosts besides those of this host.
const OWN: &str = "own";
/// Unit of `st_blocks`.
const BLOCK: u64 = 512;

/// The copies of one container.
pub struct Copies {
    /// The directory that the copies are in.
    made: PathBuf,
    /// The directory with what was written to them.
    kept: PathBuf,
}

impl Copies {
    /// Those of the container with these directories.
    pub fn of(scratch: &Path, bundle: &Path) -> Copies {
        Copies { made: scratch.join(scratch::NAMES), kept: bundle.join(KEPT) }
    }

    /// Makes the directories, in which there is nothing yet. Until the lock is released, nobody brings changes of the host.
    pub fn make(&self) -> Result<Option<Lock>> {
        privacy::make(&self.made)?;
        privacy::make(&self.kept)?;
        lock::names(&self.kept)
    }

    /// Waits until nobody else works on the copies of the container with this bundle; `None` if there are none.
    pub fn lock(bundle: &Path) -> Result<Option<Lock>> {
        lock::names(&bundle.join(KEPT))
    }

    /// Ends all work on the copies of the container with this bundle: nobody brings changes of the host from here on.
    pub fn forget(bundle: &Path) -> Result<()> {
        let _lock = Copies::lock(bundle)?;
        files::remove_tree(&bundle.join(KEPT))
    }

    /// Notes the lines that the container has in its hosts besides those of this host.
    pub fn set_own(&self, lines: &[u8]) -> Result<()> {
        create(&self.kept.join(OWN), lines, 0o600).map(|_| ())
    }

    /// Makes a copy, with that SELinux label, and returns its path.
    pub fn put(&self, file: &str, content: &[u8], label: Option<&str>) -> Result<PathBuf> {
        let path = self.made.join(file);
        let made = create(&path, content, 0o644)?;
        label.map_or(Ok(()), |label| selinux::label_file(&made, &path, label))?;
        create(&self.kept.join(file), content, 0o600)?;
        Ok(path)
    }

    /// Brings what the host has by now to the copies that the payload has not changed. Who calls this has the lock.
    pub fn update(&self, host: &HostFiles) -> Result<()> {
        let own = files::read_if_exists(&self.kept.join(OWN))?.unwrap_or_default();
        FILES.iter().try_for_each(|file| {
            let wanted = host.content(file, &own);
            let what = || format!("cannot update its /etc/{file}");
            wanted.map_or(Ok(()), |wanted| self.update_one(file, &wanted).context(what))
        })
    }

    fn update_one(&self, file: &str, wanted: &[u8]) -> Result<()> {
        let (kept, begun) = (self.kept.join(file), self.kept.join(format!("{file}.new")));
        let Some(old) = read(&kept)? else { return Ok(()) };
        let new = read(&begun)?;
        if new.is_none() && old == wanted {
            return Ok(());
        }
        let Some(copy) = self.open(file, true)? else { return Ok(()) };
        let Some(mut found) = content(&copy, old.len().max(new.as_ref().map_or(0, Vec::len)))? else {
            return Ok(());
        };
        if !is_ours(&found, &old, new.as_deref()) {
            return Ok(());
        }
        let rename = || files::rename(&begun, &kept).context(|| format!("cannot write {}", kept.display()));
        if let Some(new) = new {
            // Another one was killed.
            overwrite(&copy, &found, &new)?;
            rename()?;
            found = new;
        }
        if found == wanted {
            return Ok(());
        }
        files::replace_volatile(&begun, wanted, 0o600)?;
        if let Err(e) = overwrite(&copy, &found, wanted) {
            files::remove(&begun)?;
            return Err(e);
        }
        rename()
    }

    /// Opens a copy, whatever the payload did to it; `None` if it is gone. It is never waited for.
    fn open(&self, file: &str, writes: bool) -> Result<Option<File>> {
        let path = self.made.join(file);
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        match OpenOptions::new().read(true).write(writes).custom_flags(flags).open(&path) {
            Ok(copy) => Ok(Some(copy)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                Err(Error::new("its payload holds a lease on it; restart the container to update it"))
            }
            Err(e) => Err(e).context(|| format!("cannot open {}", path.display())),
        }
    }

    /// How much disk space the copies take that the payload has changed.
    pub fn changed(&self) -> u64 {
        let sizes = FILES.iter().filter(|file| self.is_changed(file));
        let blocks =
            |file: &&str| fs::symlink_metadata(self.made.join(file)).map_or(0, |found| found.blocks());
        sizes.map(|file| blocks(file) * BLOCK).sum()
    }

    fn is_changed(&self, file: &str) -> bool {
        let Ok(Some(kept)) = read(&self.kept.join(file)) else { return false };
        let copy = self.open(file, false).ok().flatten();
        copy.is_none_or(|copy| content(&copy, kept.len()).ok().flatten().is_none_or(|found| found != kept))
    }
}

fn create(path: &Path, content: &[u8], mode: u32) -> Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut made| {
        made.set_permissions(fs::Permissions::from_mode(mode))?;
        made.write_all(content)?;
        Ok(made)
    });
    made.context(|| format!("cannot create {}", path.display()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    files::read_bounded(path, LIMIT + 1024).context(|| format!("cannot read {}", path.display()))
}

/// What is in an open copy; `None` if that is not a file of at most so many bytes.
fn content(copy: &File, most: usize) -> Result<Option<Vec<u8>>> {
    let what = || "cannot read its copy".to_owned();
    let metadata = copy.metadata().context(what)?;
    if !metadata.is_file() || metadata.len() > most as u64 {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(most + 1);
    copy.take(most as u64 + 1).read_to_end(&mut found).context(what)?;
    Ok((found.len() <= most).then_some(found))
}

/// Whether nobody but a helper can have left that: what it wrote last, or a part of what it was about to write.
fn is_ours(found: &[u8], old: &[u8], new: Option<&[u8]>) -> bool {
    let Some(new) = new else { return found == old };
    let lengths = old.len().min(new.len())..=old.len().max(new.len());
    let is_either = |(at, byte): (usize, &u8)| {
        old.get(at) == Some(byte) || new.get(at).map_or(*byte == b'\n', |new| new == byte)
    };
    lengths.contains(&found.len()) && found.iter().enumerate().all(is_either)
}

/// Writes to a copy in its place, so that the payload has it at once. Fails, and leaves what is there, if there is no room.
fn overwrite(copy: &File, old: &[u8], new: &[u8]) -> Result<()> {
    if new.len() > old.len() {
        reserve(copy, new.len()).context(|| "there is no room for it".into())?;
    }
    // Who reads it meanwhile finds empty lines at most where the end of the old content was.
    let mut padded = new.to_vec();
    padded.resize(new.len().max(old.len()), b'\n');
    let written = match copy.write_at(&padded, 0) {
        Ok(count) if count == padded.len() => Ok(()),
        Ok(_) => Err(ErrorKind::StorageFull.into()),
        Err(e) => Err(e),
    };
    kill_point::pass();
    let written = written.and_then(|()| copy.set_len(new.len() as u64));
    if written.is_err() {
        // The first error is the one to report.
        let _ = copy.write_all_at(old, 0).and_then(|()| copy.set_len(old.len() as u64));
    }
    kill_point::pass();
    written.context(|| "cannot write to its copy".into())
}

/// Has a file find room for so many bytes.
fn reserve(copy: &File, bytes: usize) -> io::Result<()> {
    match rustix::fs::fallocate(copy, FallocateFlags::KEEP_SIZE, 0, bytes as u64) {
        // Not every file system can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        reserved => Ok(reserved?),
    }
}

#[cfg(test)]
mod tests;
