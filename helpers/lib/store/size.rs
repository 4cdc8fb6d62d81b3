//! What the tree of a commit takes when it is checked out, besides its files, which are those of the store: nothing but
//! the names of files and directories, of which there may be millions.

use std::collections::HashMap;

use super::dirtree;
use super::space::{FILE, Space};
use crate::digest;
use crate::error::{Context, Result};

/// What a name takes besides its bytes.
const NAME: usize = 16;
/// How full the blocks of a directory are, one part in so many.
const FILLING: usize = 2;

/// Directories, and the bytes that they and the names in them take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    directories: u64,
    bytes: u64,
}

impl Size {
    /// That of a commit's tree. Each directory object is looked at once, however many directories it is.
    pub fn of(repo: &ostree::Repo, commit: &str) -> Result<Size> {
        let what = || format!("cannot find out how large {commit} is");
        let (content, _) = dirtree::root(repo, commit).context(what)?;
        Size::below(repo, &content, &mut HashMap::new()).context(what)
    }

    /// Fails if there is no room for this.
    pub fn fits(self, space: &Space) -> Result<()> {
        space.fits_files(self.bytes, self.directories)
    }

    fn below(repo: &ostree::Repo, content: &str, known: &mut HashMap<Vec<u8>, Size>) -> Result<Size> {
        let (files, directories) = dirtree::load(repo, content)?;
        let mut size = Size { directories: 1, bytes: FILE };
        for (name, _) in &files {
            size.name(name);
        }
        for (name, content, _) in directories {
            size.name(&name);
            let below = match known.get(&content) {
                Some(below) => *below,
                None => Size::below(repo, &digest::hex(&content), known)?,
            };
            known.insert(content, below);
            size.directories = size.directories.saturating_add(below.directories);
            size.bytes = size.bytes.saturating_add(below.bytes);
        }
        Ok(size)
    }

    fn name(&mut self, name: &str) {
        self.bytes = self.bytes.saturating_add((FILLING * (name.len() + NAME)) as u64);
    }
}
