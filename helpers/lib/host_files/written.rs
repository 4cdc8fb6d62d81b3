//! What these programs last wrote to files of the host that are not as every deployment recorded them: `.host-files.json`
//! beside the deployments.
//!
//! What a deployment recorded never changes. Where containers share a file and one of them is updated, the file is not as the others
//! recorded it any more, and when that one is gone, as nobody did. What is in here was not changed by the user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::container::deployment::Deployments;
use crate::container::entries::{Entry, Record};
use crate::error::{Context, Result};
use crate::paths::TreePath;
use crate::program::log;
use crate::system::{files, record};

/// Checksums by path in the tree. There are several only while a file is replaced, or where that was cut short: the last of them
/// may not be there yet.
type Sums = BTreeMap<TreePath, Vec<String>>;

/// The record of one tree; whoever changes it holds [`crate::system::lock::host_files`].
#[derive(Debug, Default)]
pub struct Written {
    file: PathBuf,
    sums: Sums,
    /// `None` if it cannot be read.
    on_disk: Option<Sums>,
}

impl Written {
    /// What is recorded. A record that cannot be read is as good as none: files are left alone then.
    pub fn read(deployments: &Deployments) -> Result<Written> {
        let file = deployments.entry(&Entry::Record(Record::HostFiles));
        let on_disk =
            match record::load(&file, "some files that containers share count as changed on this host") {
                Ok(sums) => Some(sums.unwrap_or_default()),
                Err(e) => {
                    log::warning(&e.to_string());
                    None
                }
            };
        Ok(Written { file, sums: on_disk.clone().unwrap_or_default(), on_disk })
    }

    /// Paths in the tree that something is recorded of.
    pub fn paths(&self) -> Vec<TreePath> {
        self.sums.keys().cloned().collect()
    }

    /// Whether this was written to a file.
    pub fn contains(&self, path: &TreePath, sum: &str) -> bool {
        self.sums.get(path).is_some_and(|sums| sums.iter().any(|written| written == sum))
    }

    /// What is going to be written to a file; what is there stays recorded until then.
    pub fn add(&mut self, path: &TreePath, sum: &str) {
        let sums = self.sums.entry(path.clone()).or_default();
        sums.retain(|written| written != sum);
        sums.push(sum.to_owned());
    }

    /// The checksum that counts of a file as it is found.
    pub fn last(&self, path: &TreePath, found: &str) -> Option<&str> {
        let sums = self.sums.get(path)?;
        sums.iter().find(|written| *written == found).or(sums.last()).map(String::as_str)
    }

    /// Keeps one checksum of a file.
    pub fn set(&mut self, path: &TreePath, sum: String) {
        self.sums.insert(path.clone(), vec![sum]);
    }

    /// Forgets a file.
    pub fn forget(&mut self, path: &TreePath) {
        self.sums.remove(path);
    }

    /// Whether it is another by now than on disk.
    fn is_changed(&self) -> bool {
        self.on_disk.as_ref() != Some(&self.sums)
    }

    /// Makes it last; there is no file where nothing is recorded.
    pub fn save(&mut self) -> Result<()> {
        if self.sums.is_empty() {
            // Of a program that was killed.
            let rest = files::temporary(&self.file);
            files::remove_file(&rest).context(|| format!("cannot remove {}", rest.display()))?;
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
