//! Which files of the host are a container's: decided before anything is written.

use std::collections::BTreeSet;
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
    /// Paths that the container owns, alone or with others, in order.
    pub owned: Vec<String>,
    /// Of these, the ones whose content is what the image brings.
    pub brought: BTreeSet<String>,
    /// Files that are on the host already, which are left alone.
    pub left: Vec<String>,
}

impl Plan {
    /// Decides which are the container's: `previous` is what it has now, `known` what other containers have. Nothing is written,
    /// but whatever would fail later fails here.
    pub fn new(layout: &Layout, root: &Root, previous: Option<&Info>, known: &Known) -> Result<Plan> {
        let mut plan = Plan::default();
        for file in layout.files() {
            let path = locate(root, &TreePath::new(&file.path))?;
            let was_ours = previous.is_some_and(|info| info.host_files.contains(&file.path));
            let is_there = path.symlink_metadata().is_ok();
            let is_directory = file.kind == FileKind::Directory;
            match is_there {
                false => {
                    check_writable(root, &path, &file.path)?;
                    plan.brought.insert(file.path.clone());
                    plan.owned.push(file.path.clone());
                }
                true if is_directory && !record::is_directory(root, &TreePath::new(&file.path))? => {
                    return Err(Error::new(format!(
                        "cannot make directory {}, which the image brings for the host: a file of that name is there; remove it first",
                        file.path
                    )));
                }
                true if was_ours && !is_directory && path.is_dir() && !path.is_symlink() => {
                    return Err(Error::new(format!(
                        "cannot replace the directory {}, which the image brings as a file now; remove it first",
                        file.path
                    )));
                }
                true if was_ours => {
                    plan.brought.insert(file.path.clone());
                    plan.owned.push(file.path.clone());
                }
                true if known.is_shared(&path) => {
                    // What the user made of it is not recorded: it would go with the last container.
                    let found = checksum(&path)?;
                    if !is_directory && !found.is_some_and(|found| known.is_ours(&path, &found)) {
                        plan.brought.insert(file.path.clone());
                    }
                    plan.owned.push(file.path.clone());
                }
                true if is_directory => {}
                true => plan.left.push(file.path.clone()),
            }
        }
        Ok(plan)
    }

    /// Records files and checksums: of what the image brings, as `brought` says, and of what another container brought
    /// already.
    pub fn record(
        &self,
        root: &Root,
        recorded: &mut RecordedFiles,
        brought: impl Fn(&str) -> Result<Option<String>>,
    ) -> Result<()> {
        for path in &self.owned {
            let sum = match self.brought.contains(path) {
                true => brought(path)?,
                false => checksum(&locate(root, &TreePath::new(path))?)?,
            };
            recorded.installed_files.push(path.clone());
            recorded.installed_files_checksum.extend(sum.map(|sum| (path.clone(), sum)));
        }
        Ok(())
    }
}

/// Asks the directory that exists, below which the file will be.
fn check_writable(root: &Root, path: &Path, shown: &str) -> Result<()> {
    let above = path.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok());
    let above = above.unwrap_or(root.path());
    let what = || format!("cannot create {shown}, which the image brings for the host");
    if !above.is_dir() {
        return Err(Error::new(format!("{} is no directory", above.display()))).context(what);
    }
    access(above, AccessFlags::W_OK)
        .context(|| format!("cannot write {}", above.display()))
        .context(|| format!("{}; nothing was changed", what()))
}
