//! Free space on the file system of the store. libostree leaves `min-free-space-percent` or `-size` of it to others, but
//! looks at what is free once per transaction, and at a large file only when that has been written. A pull that nobody
//! watches must not fill /var in the meantime.

use ostree::gio::prelude::*;

use crate::error::{Context, Result};
pub use crate::system::space::{FILE, Space};

/// The file system that a repository is on, with what its configuration reserves.
pub fn of(repo: &ostree::Repo) -> Result<Space> {
    let path = repo.path().path().unwrap_or_default();
    let reserve = repo.min_free_space_bytes();
    let reserve = reserve.context(|| format!("cannot read min-free-space of {}", path.display()))?;
    Ok(Space::new(&path, reserve))
}
