//! How much a payload has written to its scratch root file system, and to what is mounted there from beside it. It may go
//! on while this looks.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::FileType;

use crate::error::{Context, Result};
use crate::program::bytes;
use crate::run::names::copies::Copies;
use crate::run::scratch;
use crate::system::directory::{Directory, kind};

/// Limits of the walk: files, and depth of directories, each level of which is open during the walk.
const FILES: usize = 1 << 17;
const DEPTH: usize = 100;
/// What may be waited for.
const LITTLE: u64 = 1 << 30;
/// Unit of `st_blocks`.
const BLOCK: u64 = 512;

/// How much disk space files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes on disk; directories do not count.
    pub bytes: u64,
    /// Whether there may be more, which was not looked at.
    pub is_more: bool,
}

impl Written {
    /// Whether it can be removed in a moment, file by file.
    pub fn is_little(self) -> bool {
        !self.is_more && self.bytes <= LITTLE
    }

    /// What is in the scratch directory of the container with that bundle; `None` if there is none.
    pub fn find(scratch: &Path, bundle: &Path) -> Result<Option<Written>> {
        let what = || format!("cannot examine {}", scratch.display());
        let directory = match Directory::open(scratch) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.context(what)?,
        };
        let Some(upper) = directory.enter(scratch::UPPER.as_ref())? else { return Ok(None) };
        let mut walk = Walk { left: FILES, seen: BTreeSet::new(), written: Written::default() };
        walk.directory(&upper, 0);
        walk.written.bytes += Copies::of(scratch, bundle).changed();
        Ok(Some(walk.written))
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_least = if self.is_more { "at least " } else { "" };
        write!(f, "{at_least}{}", bytes::shown(self.bytes))
    }
}

struct Walk {
    left: usize,
    /// Those that have more than one name.
    seen: BTreeSet<u64>,
    written: Written,
}

impl Walk {
    /// What is gone by the time that it is looked at does not count.
    fn directory(&mut self, directory: &Directory, depth: usize) {
        let names = directory.names(self.left).unwrap_or_default();
        self.left -= names.len();
        self.written.is_more |= self.left == 0;
        for name in names {
            let Ok(Some(stat)) = directory.stat_of(&name) else { continue };
            if kind(&stat) == FileType::Directory {
                match directory.child_of_same_mount(&name) {
                    Ok(child) if depth < DEPTH && self.left > 0 => self.directory(&child, depth + 1),
                    _ => self.written.is_more = true,
                }
            } else if stat.st_nlink == 1 || self.seen.insert(stat.st_ino) {
                self.written.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn find(scratch: &Path) -> Result<Option<Written>> {
        Written::find(scratch, &scratch.join("bundle"))
    }

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(&dir.path().join("none")).unwrap(), None);
        let upper = dir.path().join("upper");
        fs::create_dir_all(upper.join("a/b")).unwrap();
        fs::write(dir.path().join("other"), vec![1; 1 << 20]).unwrap();
        symlink(dir.path(), upper.join("a/link")).unwrap();
        assert_eq!(find(dir.path()).unwrap(), Some(Written::default()));
        fs::write(upper.join("a/b/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(upper.join("a/b/file"), upper.join("again")).unwrap();
        let expected = fs::metadata(upper.join("again")).unwrap().blocks() * BLOCK;
        let written = find(dir.path()).unwrap().unwrap();
        assert_eq!(written, Written { bytes: expected, is_more: false });
        assert!(expected >= 100_000);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().join("upper");
        for _ in 0..DEPTH + 3 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        let written = find(dir.path()).unwrap().unwrap();
        assert_eq!(written, Written { bytes: 0, is_more: true });
        assert_eq!(written.to_string(), "at least 0 B");
    }
}
