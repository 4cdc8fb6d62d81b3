//! Deciding which files on the host belong to a container, before anything is written.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::container::info::{Info, RecordedFiles};
use crate::error::{Context, Error, Result};
use crate::host_files::changes::Known;
use crate::host_files::record::{self, checksum, locate};
use crate::image::layout::Layout;
use crate::image::tree::FileKind;
use crate::paths::{Root, TreePath};

/// What an installation does with the files of a [`Layout`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Paths that the container owns, alone or along with others, in order.
    pub owned: Vec<TreePath>,
    /// Those of them whose content comes from the image.
    pub brought: BTreeSet<TreePath>,
    /// Files that exist on the host already, and are left alone.
    pub left: Vec<TreePath>,
}

impl Plan {
    /// Makes a plan: `previous` is what the container has now, `known` what other containers have. Nothing is written,
    /// but what would fail later fails here.
    pub fn new(layout: &Layout, root: &Root, previous: Option<&Info>, known: &Known) -> Result<Plan> {
        let mut plan = Plan::default();
        let ours: HashSet<&TreePath> =
            previous.into_iter().flat_map(|info| &info.host_files.installed_files).collect();
        for file in layout.files() {
            let path = locate(root, &file.path)?;
            let was_ours = ours.contains(&file.path);
            let is_there = path.symlink_metadata().is_ok();
            let is_directory = file.kind == FileKind::Directory;
            if !is_there {
                check_writable(root, &path, &file.path)?;
                plan.brought.insert(file.path.clone());
                plan.owned.push(file.path.clone());
            } else if is_directory && !record::is_directory(root, &file.path)? {
                return Err(Error::new(format!(
                    "cannot create directory {}, which the image installs on the host: a file of that name exists; remove it first",
                    file.path
                )));
            } else if was_ours && !is_directory && path.is_dir() && !path.is_symlink() {
                return Err(Error::new(format!(
                    "cannot replace the directory {}, which the image now installs as a file; remove it first",
                    file.path
                )));
            } else if was_ours {
                plan.brought.insert(file.path.clone());
                plan.owned.push(file.path.clone());
            } else if known.is_shared(&path) {
                // A file that the user changed is not recorded: it would be removed with the last container.
                let found = checksum(&path)?;
                if !is_directory && !found.is_some_and(|found| known.is_ours(&path, &found)) {
                    plan.brought.insert(file.path.clone());
                }
                plan.owned.push(file.path.clone());
            } else if !is_directory {
                plan.left.push(file.path.clone());
            }
        }
        Ok(plan)
    }

    /// Records files and checksums: for files from the image, the result of `brought`, and for files of another
    /// container what is on the host.
    pub fn record(
        &self,
        root: &Root,
        recorded: &mut RecordedFiles,
        brought: impl Fn(&TreePath) -> Result<Option<String>>,
    ) -> Result<()> {
        for path in &self.owned {
            let sum =
                if self.brought.contains(path) { brought(path)? } else { checksum(&locate(root, path)?)? };
            recorded.installed_files.push(path.clone());
            recorded.installed_files_checksum.extend(sum.map(|sum| (path.clone(), sum)));
        }
        Ok(())
    }
}

/// Fails if the closest existing directory above the file is not writable.
fn check_writable(root: &Root, path: &Path, shown: &TreePath) -> Result<()> {
    let above = path.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok());
    let above = above.unwrap_or(root.path());
    let what = || format!("cannot create {shown}, which the image installs on the host");
    if !above.is_dir() {
        return Err(Error::new(format!("{} is not a directory", above.display()))).context(what);
    }
    access(above, AccessFlags::W_OK)
        .context(|| format!("cannot write {}", above.display()))
        .context(|| format!("{}; nothing was changed", what()))
}
