//! Directories that last as long as one check.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::system::files;

/// A directory that is removed when it is dropped.
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes one, for this user alone, in `directory`.
    pub fn new(directory: &Path) -> Result<Temporary> {
        let mut number = 0;
        loop {
            let path = directory.join(format!("syscontainer-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                result => {
                    result.context(|| format!("cannot create {}", path.display()))?;
                    return Ok(Temporary(path));
                }
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is in a directory for temporary files.
        let _ = files::remove_tree(&self.0);
    }
}
