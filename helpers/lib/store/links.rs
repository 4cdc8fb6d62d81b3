//! Room for hard links. An inode has some 65,000 names at most on many file systems, and whoever makes an image decides
//! how many names an object has in it: also one that is in many images. An object whose inode takes no more names gets
//! a new one; the old one keeps the names that it has.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ostree::RepoFile;
use ostree::gio::{self, FileInfo, FileQueryInfoFlags, FileType, prelude::*};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::repository::{NEVER, Store};
use super::space::Space;
use super::staging;
use crate::error::{Context, Result};
use crate::system::copy;
use crate::system::directory::Directory;
use crate::system::files;

/// No file system of ours permits fewer names; an object with fewer is not looked at.
const FEW: u64 = 1000;
/// Suffix of the names of regular files' objects.
const SUFFIX: &str = ".file";
/// File attributes that a walk needs.
const ATTRIBUTES: &str = "standard::name,standard::type";

/// An object that has a new inode.
pub struct Renewed {
    pub size: u64,
    /// How many names the old inode has, and the new one may have.
    pub limit: u64,
}

/// Gives new inodes to those objects of a store that take no more names. Returns them by their checksums.
pub fn renew(store: &Store, space: &Space) -> Result<HashMap<String, Renewed>> {
    let mut renewed = HashMap::new();
    let temporary = files::temporary_directory(&store.temporary_directory(), staging::PREFIX)?;
    let objects = store.path.join("objects");
    for prefix in files::names(&objects)? {
        let path = objects.join(&prefix);
        let what = || format!("cannot read {}", path.display());
        let directory = Directory::open(&path).context(what)?;
        for name in directory.names(usize::MAX).context(what)? {
            let text = name.to_string_lossy();
            let Some(rest) = text.strip_suffix(SUFFIX) else { continue };
            let found = std::fs::symlink_metadata(directory.path_of(&name)).context(what)?;
            let limit = found.nlink();
            // Symlinks are made anew where they cannot be linked.
            if !found.is_file() || limit < FEW || !is_exhausted(&directory, &name, temporary.path())? {
                continue;
            }
            let what = || format!("cannot copy {}", directory.path_of(&name).display());
            renew_one(&directory, &name, temporary.path(), space).context(what)?;
            renewed.insert(format!("{prefix}{rest}"), Renewed { size: found.len(), limit });
        }
    }
    Ok(renewed)
}

/// Whether a file can have no more names.
fn is_exhausted(directory: &Directory, name: &OsStr, temporary: &Path) -> Result<bool> {
    let probe = temporary.join("probe");
    match fs::linkat(directory, name, fs::CWD, &probe, AtFlags::empty()) {
        Err(Errno::MLINK) => Ok(true),
        Err(e) => Err(e).context(|| format!("cannot link {}", directory.path_of(name).display())),
        Ok(()) => files::remove(&probe).map(|_| false),
    }
}

fn renew_one(directory: &Directory, name: &OsStr, temporary: &Path, space: &Space) -> Result<()> {
    let copy = temporary.join("copy");
    let made = copy::duplicate(directory, name, &copy, |bytes| space.take_whole(bytes))?;
    // Whatever happens, it has its content before it has the name of the object.
    made.sync_all().context(|| format!("cannot sync {}", copy.display()))?;
    fs::renameat(fs::CWD, &copy, directory, name).context(|| "cannot replace it".into())
}

/// How many bytes are copied if a commit is checked out, since objects have more names in it than one inode may have.
pub fn copied(store: &Store, commit: &str, renewed: &HashMap<String, Renewed>) -> Result<u64> {
    let what = || format!("cannot read {commit}");
    let (root, _) = store.repo.read_commit(commit, NEVER).context(what)?;
    let mut names = HashMap::new();
    count(&root, renewed, &mut names).context(what)?;
    let copies = names.iter().filter_map(|(checksum, names)| {
        let Renewed { size, limit } = renewed.get(checksum)?;
        // One of the names is the object's.
        Some(names.saturating_sub(limit.saturating_sub(1)).saturating_mul(*size))
    });
    Ok(copies.fold(0, u64::saturating_add))
}

/// Counts the names that objects have in a directory, and below it.
fn count(
    directory: &gio::File,
    renewed: &HashMap<String, Renewed>,
    names: &mut HashMap<String, u64>,
) -> Result<()> {
    let what = || "cannot read a directory".to_owned();
    let flags = FileQueryInfoFlags::NOFOLLOW_SYMLINKS;
    for info in directory.enumerate_children(ATTRIBUTES, flags, NEVER).context(what)? {
        let info: FileInfo = info.context(what)?;
        let child = directory.child(info.name());
        match info.file_type() {
            FileType::Directory => count(&child, renewed, names)?,
            FileType::Regular => {
                let Ok(file) = child.downcast::<RepoFile>() else { continue };
                let checksum = file.checksum().to_string();
                if renewed.contains_key(&checksum) {
                    *names.entry(checksum).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
