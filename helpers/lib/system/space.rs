//! Free space on a file system, of which a part stays free for others, whoever writes how much.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::error::{Context, Error, Result};

/// How many bytes are written between two looks at the file system, and how many files are made.
const STEP: u64 = 1 << 20;
const FILES: u64 = 64;
/// What a file takes at least: a block, and its inode.
pub const FILE: u64 = 4096;
/// The part of a file system's inodes that stays free, one in so many.
const INODES: u64 = 100;

/// The percentage that libostree reserves by default.
const DEFAULT: u64 = 3;

/// A file system, and how much of it stays free.
#[derive(Clone, Debug)]
pub struct Space {
    path: PathBuf,
    reserve: u64,
    /// Bytes that were written since the last look.
    written: Cell<u64>,
    /// Files that were made, or parts of files that were written.
    made: Cell<u64>,
}

impl Space {
    /// The file system of a directory outside of repositories, with the same share as libostree's default.
    pub fn at(path: &Path) -> Result<Space> {
        let stat = statvfs(path);
        let stat =
            stat.context(|| format!("cannot find out how large the file system of {} is", path.display()))?;
        Ok(Space::new(path, stat.blocks() as u64 * stat.fragment_size() as u64 / 100 * DEFAULT))
    }

    /// The file system of a path, `reserve` bytes of which stay free.
    pub fn new(path: &Path, reserve: u64) -> Space {
        Space { path: path.to_owned(), reserve, written: Cell::new(0), made: Cell::new(0) }
    }

    /// How many bytes can be written, and how many are free beyond that.
    pub fn usable(&self) -> Result<(u64, u64)> {
        self.usable_with(0)
    }

    /// The same, if so many more files are to be made.
    fn usable_with(&self, files: u64) -> Result<(u64, u64)> {
        let stat = statvfs(&self.path);
        let stat =
            stat.context(|| format!("cannot find out how much space is free in {}", self.path.display()))?;
        let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
        let (inodes, free_inodes) = (stat.files() as u64, stat.files_available() as u64);
        // Some file systems do not count them.
        if inodes > 0 && free_inodes.saturating_sub(files) < inodes / INODES {
            let needed = if files > 0 { format!(", and {files} are needed") } else { String::new() };
            return Err(self.refusal(&format!("{free_inodes} of its {inodes} inodes are free{needed}")));
        }
        Ok((free.saturating_sub(self.reserve), self.reserve))
    }

    /// Fails if what is reserved has been reached.
    pub fn check(&self) -> Result<()> {
        self.written.set(0);
        self.made.set(0);
        match self.usable()? {
            (0, reserve) => {
                Err(self.refusal(&format!("the last {} MiB of it stay free", reserve.div_ceil(1 << 20))))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a file is about to be written, or a part of one, and checks every now and then.
    pub fn take(&self, bytes: u64) -> Result<()> {
        self.written.set(self.written.get().saturating_add(bytes.max(FILE)));
        self.made.set(self.made.get() + 1);
        if self.written.get() < STEP && self.made.get() < FILES { Ok(()) } else { self.check() }
    }

    /// Fails if a file of so many bytes would take what is reserved, and otherwise notes that it is about to be written.
    pub fn take_whole(&self, bytes: u64) -> Result<()> {
        if bytes >= STEP {
            self.fits(bytes)?;
        }
        self.take(bytes)
    }

    /// Fails if so many bytes would take what is reserved.
    pub fn fits(&self, bytes: u64) -> Result<()> {
        self.fits_files(bytes, 0)
    }

    /// Fails if so many bytes, and so many more files, would take what is reserved.
    pub fn fits_files(&self, bytes: u64, files: u64) -> Result<()> {
        let (usable, reserve) = self.usable_with(files)?;
        if bytes <= usable {
            return Ok(());
        }
        let (more, reserve) = (bytes.div_ceil(1 << 20), reserve.div_ceil(1 << 20));
        Err(self.refusal(&format!("{more} MiB more are needed, and the last {reserve} MiB of it stay free")))
    }

    fn refusal(&self, why: &str) -> Error {
        let path = self.path.display();
        Error::new(format!(
            "the file system of {path} is full: {why}; remove something, or run syscontainer-prune"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_stays_free() {
        let dir = tempfile::tempdir().unwrap();
        let (usable, _) = Space::new(dir.path(), 0).usable().unwrap();
        assert!(usable > 0);
        let full = Space::new(dir.path(), u64::MAX);
        assert_eq!(full.usable().unwrap().0, 0);
        assert!(full.check().unwrap_err().to_string().contains("stay free"));
        // Not at every byte, but long before much is written; small files count as blocks.
        assert!(full.take(1).is_ok());
        assert!((0..STEP / FILE).any(|_| full.take(1).is_err()));
        assert!(full.take(STEP).is_err());
        // Inodes, of which there may be few, are looked at more often.
        let refused = (1..).find(|_| full.take(0).is_err());
        assert_eq!(refused, Some(FILES));
        // No file system has so many.
        let open = Space::new(dir.path(), 0);
        assert!(open.fits_files(0, 10).is_ok());
        let refusal = open.fits_files(0, u64::MAX);
        let is_counted = statvfs(dir.path()).unwrap().files() > 0;
        assert_eq!(refusal.is_err(), is_counted, "{refusal:?}");
        assert!(Space::new(dir.path(), 0).take(STEP).is_ok());
        // A large file is not begun.
        let (usable, _) = Space::new(dir.path(), 0).usable().unwrap();
        let nearly_full = Space::new(dir.path(), usable - (64 << 20));
        assert!(nearly_full.take_whole(STEP).is_ok());
        let refusal = nearly_full.take_whole(1 << 30).unwrap_err().to_string();
        assert!(refusal.contains("is full: 1024 MiB more are needed, and the last "), "{refusal}");
    }
}
