//! What these programs last wrote to host files that differ from what some deployment recorded: `.host-files.json` next
//! to the deployments.
//!
//! The records of a deployment never change. If containers share a file and one of them is updated, the file differs
//! from what the others recorded, and once the updated one is removed, from all records. A checksum in here says that
//! these programs wrote the file, not the user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::container::entries::{Entry, Record};
use crate::error::Result;
use crate::paths::TreePath;
use crate::program::log;
use crate::system::{files, record};

/// Checksums by path in the tree. A file has several only while it is replaced, or if that was interrupted: the last of
/// them may not have been written yet.
type Sums = BTreeMap<TreePath, Vec<String>>;

/// The record of one tree. Changes require [`crate::system::lock::host_files`].
#[derive(Debug, Default)]
pub struct Written {
    file: PathBuf,
    sums: Sums,
    /// What was read or saved last; `None` if the file cannot be read.
    on_disk: Option<Sums>,
}

impl Written {
    /// Reads the record. If it cannot be read, warns and takes it as empty: files that it would name are left alone
    /// then.
    pub fn read(deployments: &Deployments) -> Result<Written> {
        let file = deployments.entry(&Entry::Record(Record::HostFiles));
        let on_disk =
            match record::load(&file, "some files that containers share are treated as changed on this host")
            {
                Ok(sums) => Some(sums.unwrap_or_default()),
                Err(e) => {
                    log::warning(&e.to_string());
                    None
                }
            };
        Ok(Written { file, sums: on_disk.clone().unwrap_or_default(), on_disk })
    }

    /// Paths of all files that are recorded.
    pub fn paths(&self) -> Vec<TreePath> {
        self.sums.keys().cloned().collect()
    }

    /// Whether these programs wrote this content to a file.
    pub fn contains(&self, path: &TreePath, sum: &str) -> bool {
        self.sums.get(path).is_some_and(|sums| sums.iter().any(|written| written == sum))
    }

    /// Records what is about to be written to a file, in addition to what was recorded before.
    pub fn add(&mut self, path: &TreePath, sum: &str) {
        let sums = self.sums.entry(path.clone()).or_default();
        sums.retain(|written| written != sum);
        sums.push(sum.to_owned());
    }

    /// The recorded checksum that applies to a file with the checksum `found`: the same, or else the last one.
    pub fn last(&self, path: &TreePath, found: &str) -> Option<&str> {
        let sums = self.sums.get(path)?;
        sums.iter().find(|written| *written == found).or(sums.last()).map(String::as_str)
    }

    /// Records a single checksum for a file.
    pub fn set(&mut self, path: &TreePath, sum: String) {
        self.sums.insert(path.clone(), vec![sum]);
    }

    /// Removes a file from the record.
    pub fn forget(&mut self, path: &TreePath) {
        self.sums.remove(path);
    }

    /// Whether the record differs from the one on disk.
    fn is_changed(&self) -> bool {
        self.on_disk.as_ref() != Some(&self.sums)
    }

    /// Saves the record; an empty one is saved by removing the file.
    pub fn save(&mut self) -> Result<()> {
        if self.sums.is_empty() {
            // Left by a program that was killed.
            files::remove(&files::temporary(&self.file))?;
        }
        if !self.is_changed() {
            return Ok(());
        }
        if self.sums.is_empty() {
            record::remove(&self.file)?;
            files::sync_directory(self.file.parent().unwrap_or(Path::new("/")))?;
        } else {
            record::save(&self.file, &self.sums)?;
        }
        self.on_disk = Some(self.sums.clone());
        Ok(())
    }
}
