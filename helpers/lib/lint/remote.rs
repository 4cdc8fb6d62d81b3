//! Checking images by reference, whether they are in the store or not.

use std::path::{Path, PathBuf};

use super::check::check;
use super::finding::LintReport;
use super::target::Target;
use crate::container::settings::Settings;
use crate::error::Result;
use crate::paths::{self, Root};
use crate::program::transports;
use crate::store::Store;
use crate::store::access::Access;
use crate::store::progress::Progress;
use crate::store::pull;
use crate::store::reference::Reference;
use crate::system::files;

/// Checks an image as it would be installed with these settings. A name means the image in the store, or the one in a
/// registry if the store has none. A reference with a transport means the image as it is at its source now. What is not in
/// the store is pulled to a temporary one.
pub fn check_reference(
    text: &str,
    root: &Root,
    repo: Option<&Path>,
    access: &Access,
    settings: &Settings,
) -> Result<LintReport> {
    let reference: Reference = text.parse()?;
    if transports::of(text).is_none() {
        if let Some(report) = check_stored(&reference.name()?, root, repo, settings)? {
            return Ok(report);
        }
    }
    // Layers may be large, and /tmp is memory on many hosts.
    let directory = paths::from_env("TMPDIR").unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let temporary = files::temporary_directory(&directory, "syscontainer-")?;
    let store = Store::open_or_create(root, Some(&temporary.path().join("store")))?;
    let image = pull::pull(&store, &reference, access, &Progress::new(true))?.image;
    check(&Target::Image(&store.tree(&image), &image), settings)
}

/// Checks an image in the store; returns `None` if there is none.
fn check_stored(
    name: &str,
    root: &Root,
    repo: Option<&Path>,
    settings: &Settings,
) -> Result<Option<LintReport>> {
    let Some(store) = Store::open_existing(root, repo)? else { return Ok(None) };
    let _lock = store.lock_shared()?;
    let Some(image) = store.lookup(name)? else { return Ok(None) };
    check(&Target::Image(&store.tree(&image), &image), settings).map(Some)
}
