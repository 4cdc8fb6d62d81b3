//! Checking images by reference, whether they are in the store or not.

use std::path::{Path, PathBuf};

use super::check::check;
use super::finding::LintReport;
use super::target::Target;
use crate::error::Result;
use crate::paths::{self, Root};
use crate::store::Store;
use crate::store::access::Access;
use crate::store::progress::Progress;
use crate::store::pull;
use crate::store::reference::Reference;
use crate::system::files;

/// Checks an image in the store. An image that is not in the store is pulled to a temporary one first.
pub fn check_reference(text: &str, root: &Root, repo: Option<&Path>, access: &Access) -> Result<LintReport> {
    let reference: Reference = text.parse()?;
    let name = reference.name()?;
    if let Some(store) = Store::open_existing(root, repo)? {
        let _lock = store.lock_shared()?;
        if let Some(image) = store.lookup(&name)? {
            return check(&Target::Image(&store.tree(&image), &image));
        }
    }
    // Layers may be large, and /tmp is memory on many hosts.
    let directory = paths::from_env("TMPDIR").unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let temporary = files::temporary_directory(&directory, "syscontainer-")?;
    let store = Store::open_or_create(root, Some(&temporary.path().join("store")))?;
    let image = pull::pull(&store, &reference, access, &Progress::new(true))?.image;
    check(&Target::Image(&store.tree(&image), &image))
}
