//! Whether git has the same sources that the image will contain.
//!
//! git is not run: the configuration of a repository may name programs, and it comes with the sources. What git knows of
//! them is in the index.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use sha1::{Digest, Sha1};

use super::finding::{LintReport, Place};
use super::git_index::{IndexEntry, read};
use super::rules;
use super::source_tree::{self, explained};
use super::target::Sources;
use crate::error::{Error, Result};
use crate::system::directory::{Directory, Links, kind};

/// Maximum size of an index in bytes.
const INDEX_MAX: usize = 64 << 20;
/// Maximum size in bytes of a file whose content is compared.
const FILE_MAX: usize = 16 << 20;
/// How many bytes are compared in all, and how many of them each file counts for at least.
const BYTES_MAX: usize = 64 << 20;
const BYTES_PER_FILE: usize = 4096;

/// Applies the rules for git. If it is unknown what git has, a note says so.
pub fn check(source: &Sources, report: &mut LintReport) {
    let Some(repository) = Repository::find(source.path()) else {
        let message = "the directory is not in a git repository";
        report.add(&rules::NO_GIT, Place::file(source.path().display().to_string()), message);
        return;
    };
    match repository.index() {
        Ok(index) => changed(source, &repository, &index, report),
        Err(error) => {
            report
                .notes
                .push(format!("{error}, so it is unknown which files have changes that are not staged"));
        }
    }
}

/// A repository that sources are in.
struct Repository {
    directory: Directory,
    /// Where the sources are in it.
    below: PathBuf,
}

impl Repository {
    /// Looks for a repository, from a directory upwards.
    fn find(sources: &Path) -> Option<Repository> {
        let path = sources.canonicalize().ok()?;
        path.ancestors().find_map(|above| {
            let directory = Directory::open(above).ok()?;
            let found = directory.find(Path::new(".git"), Links::OnTheWay).ok()??;
            let is_one = match kind(&found) {
                FileType::Directory => {
                    directory.find(Path::new(".git/HEAD"), Links::OnTheWay).ok()?.is_some()
                }
                // Of a worktree or a submodule.
                FileType::RegularFile => true,
                _ => false,
            };
            let below = path.strip_prefix(above).ok()?.to_path_buf();
            is_one.then_some(Repository { directory, below })
        })
    }

    fn index(&self) -> Result<Vec<IndexEntry>> {
        let directory = self.directory.find_directory(Path::new(".git"), Links::OnTheWay);
        if !directory.is_ok_and(|directory| directory.is_some()) {
            // It may name any place.
            return Err(Error::new("the repository's .git is a file, which is not followed"));
        }
        let path = Path::new(".git/index");
        match source_tree::read(&self.directory, path, INDEX_MAX, Links::OnTheWay)? {
            Some(content) => read(&content),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a file differs from what is staged.
    fn differs(&self, entry: &IndexEntry, budget: &mut usize) -> Result<bool> {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        let mut spend = |bytes| match budget.checked_sub(bytes) {
            Some(left) => {
                *budget = left;
                Ok(())
            }
            None => Err(Error::new("there are too many files, or too large ones")),
        };
        spend(BYTES_PER_FILE)?;
        let found = explained(self.directory.find(path, Links::OnTheWay), &self.directory, path)?;
        let Some(found) = found else { return Ok(true) };
        if FileType::from_raw_mode(entry.mode) != kind(&found) {
            return Ok(true);
        }
        let (size, seconds) = (found.st_size as u64, found.st_mtime as u64);
        if size as u32 != entry.size {
            return Ok(true);
        }
        let nanoseconds = found.st_mtime_nsec as u32;
        let is_as_staged =
            seconds as u32 == entry.seconds && (entry.nanoseconds == 0 || nanoseconds == entry.nanoseconds);
        if is_as_staged {
            return Ok(false);
        }
        spend(size as usize)?;
        let content = match kind(&found) {
            FileType::RegularFile => {
                source_tree::read(&self.directory, path, FILE_MAX, Links::OnTheWay)?.unwrap_or_default()
            }
            FileType::Symlink => {
                let target = source_tree::link_target(&self.directory, path)?;
                target.unwrap_or_default().as_os_str().as_bytes().to_vec()
            }
            _ => return Ok(false),
        };
        let name = Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content);
        Ok(name.finalize().as_slice() != entry.name)
    }
}

fn changed(source: &Sources, repository: &Repository, index: &[IndexEntry], report: &mut LintReport) {
    let dockerfile = source.dockerfile().map(|file| Path::new(&file.file).file_name().unwrap_or_default());
    let names = source.files().into_iter().map(PathBuf::from).chain(dockerfile.map(PathBuf::from));
    let (mut budget, mut unknown) = (BYTES_MAX, None);
    for name in names {
        let path = repository.below.join(&name);
        let entries =
            index.iter().filter(|entry| Path::new(OsStr::from_bytes(&entry.path)).starts_with(&path));
        let mut differs = entries.map(|entry| repository.differs(entry, &mut budget));
        match differs.find(|differs| !matches!(differs, Ok(false))) {
            Some(Ok(_)) => {
                let shown = source.path().join(&name).display().to_string();
                report.add(&rules::UNSTAGED, Place::file(shown), "the file has changes that are not staged");
            }
            Some(Err(error)) => unknown = Some(error),
            None => {}
        }
    }
    report
        .notes
        .extend(unknown.map(|error| format!("not all files are compared with what is staged: {error}")));
}
