//! Operations on files; what is written is there completely or not at all.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FileType;
use tempfile::TempDir;

use crate::error::{Context, Error, Result};
use crate::system::directory::{self, Directory};
use crate::system::{kill_point, mounts, removal};

/// How many symlinks are followed in one path, as in the kernel.
const MAX_SYMLINKS: usize = 40;
/// How many components are looked at for one path, those of symlinks included: far more than a path has that a kernel
/// takes from one piece.
const MAX_COMPONENTS: usize = 1024;
/// Maximum size in bytes of a file that is read as a whole: far more than any of ours has, and what memory bears.
const MAX_SIZE: usize = 64 << 20;

/// Writes a file under a temporary name in the same directory and renames it into place. The umask does not affect
/// `mode`.
///
/// The content is on disk before the rename; call [`sync_directory`] for the name.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write_renamed(path, content, mode, true).context(|| format!("cannot write {}", path.display()))
}

/// Like [`replace`] but without a sync, for files that need not survive a power failure.
pub fn replace_volatile(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write_renamed(path, content, mode, false).context(|| format!("cannot write {}", path.display()))
}

/// Renames a file, and replaces any file of the new name.
pub fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::rename(from, to)?;
    kill_point::pass();
    Ok(())
}

/// The temporary name that a file has until it is complete.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write_renamed(path: &Path, content: &[u8], mode: u32, sync: bool) -> std::io::Result<()> {
    let temporary = temporary(path);
    let written = (|| {
        remove_file(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        if sync {
            file.sync_all()?;
        }
        kill_point::pass();
        rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to report.
        let _ = remove_file(&temporary);
    }
    written
}

/// Creates a file that only reserves space.
pub fn reserve(path: &Path, bytes: usize) -> Result<()> {
    let what = || format!("cannot reserve {bytes} bytes in {}", path.display());
    // Nothing that a link leads to is overwritten.
    remove_file(path).context(what)?;
    let mut file = File::create_new(path).context(what)?;
    // Neither a hole nor anything that can be compressed.
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let written = file.write_all(&noise.take(bytes).collect::<Vec<_>>()).and_then(|()| file.sync_all());
    if written.is_err() {
        // What is left of it would take the space that others lack.
        let _ = fs::remove_file(path);
    }
    written.context(what)
}

/// Creates a directory with `mode`, and its parents; directories that exist stay as they are.
pub fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let what = || format!("cannot create directory {}", path.display());
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context(what)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.context(what),
    }
}

/// Sets the owner of a file and, unless it is a symlink, its mode. The owner comes first, since changing it clears
/// setuid bits.
pub fn set_owner(path: &Path, uid: u32, gid: u32, mode: u32) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if path.is_symlink() {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
}

/// Like [`set_owner`], with the owner and mode of another file.
pub fn set_owner_like(path: &Path, like: &Metadata) -> Result<()> {
    set_owner(path, like.uid(), like.gid(), like.mode())
        .context(|| format!("cannot set mode and owner of {}", path.display()))
}

/// Removes a file, if it exists. Returns whether it did.
pub fn remove_file(path: &Path) -> std::io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            kill_point::pass();
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Like [`remove_file`], and says what it cannot remove.
pub fn remove(path: &Path) -> Result<bool> {
    remove_file(path).context(|| format!("cannot remove {}", path.display()))
}

/// Removes a file or a directory with everything in it, if it exists, as [`removal::remove`]. Fails if anything is mounted
/// there, before anything is removed.
pub fn remove_tree(path: &Path) -> Result<()> {
    let what = || format!("cannot remove {}", path.display());
    let Some(name) = path.file_name() else { return Err(Error::new("it has no name")).context(what) };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => mounts::refuse(path).context(what)?,
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).context(what),
    }
    // A relative path of one component has an empty parent.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = Directory::open(parent).context(what)?;
    removal::remove(&parent, name).map(|_| ())
}

/// Resolves the symlinks of a path inside the tree below `root`; components that do not exist stay as they are. Links
/// are followed as programs inside the tree see them, and never lead out of it.
pub fn resolve_inside(root: &Path, path: &Path) -> Result<PathBuf> {
    trace(root, path, &|_| false).map(|trace| trace.place)
}

/// Where a path leads in a tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// The path without symlinks.
    pub place: PathBuf,
    /// The symlinks that it leads through, themselves without symlinks in their paths.
    pub links: Vec<PathBuf>,
}

/// Like [`resolve_inside`], where other files than those of the tree are in the directories that are covered, and
/// nothing in these is a symlink.
pub fn trace(root: &Path, path: &Path, is_covered: &dyn Fn(&Path) -> bool) -> Result<Trace> {
    let (mut done, mut links) = (PathBuf::from("/"), Vec::new());
    let mut rest: Vec<_> = path.components().rev().map(own).collect();
    let mut looked_at = 0;
    while let Some(component) = rest.pop() {
        looked_at += 1;
        if looked_at > MAX_COMPONENTS {
            let shown: String = path.to_string_lossy().chars().take(60).collect();
            return Err(Error::new(format!("the path {shown:?}… has too many components")));
        }
        match component.as_os_str().to_str() {
            Some("/" | ".") => {}
            Some("..") => {
                done.pop();
            }
            _ => {
                let next = done.join(&component);
                let link = || fs::read_link(root.join(next.strip_prefix("/").unwrap_or(&next)));
                match (!is_covered(&done)).then(link) {
                    Some(Ok(target)) => {
                        links.push(next);
                        if links.len() > MAX_SYMLINKS {
                            return Err(Error::new(format!("too many symlinks in {}", path.display())));
                        }
                        if target.is_absolute() {
                            done = PathBuf::from("/");
                        }
                        rest.extend(target.components().rev().map(own));
                    }
                    _ => done = next,
                }
            }
        }
    }
    Ok(Trace { place: done, links })
}

fn own(component: Component<'_>) -> PathBuf {
    PathBuf::from(component.as_os_str())
}

/// Reads a regular file of ours, which nobody else may have replaced by what never ends; `None` if it does not exist.
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    read_bounded(path, MAX_SIZE).context(|| format!("cannot read {}", path.display()))
}

/// Reads a regular file of at most `limit` bytes; `None` if it does not exist. Nothing else that may be there is waited
/// for. Errors do not name the file.
pub fn read_bounded(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let what = || "cannot open it".to_string();
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // Opening a device may have effects.
        Ok(metadata) => refuse_irregular(&metadata)?,
        Err(e) => return Err(e).context(what),
    }
    // Another file may have taken its place.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).context(what)?;
    read_opened(file, limit).map(Some)
}

/// Reads an open file, if it is a regular one of at most `limit` bytes.
pub fn read_opened(mut file: File, limit: usize) -> Result<Vec<u8>> {
    let metadata = file.metadata().context(|| "its type is unknown".into())?;
    refuse_irregular(&metadata)?;
    if metadata.len() <= limit as u64 {
        // With a byte for the end, one read suffices.
        let mut content = Vec::with_capacity(metadata.len() as usize + 1);
        let mut bounded = (&mut file).take(limit as u64 + 1);
        bounded.read_to_end(&mut content).context(|| "its content cannot be read".into())?;
        if content.len() <= limit {
            return Ok(content);
        }
    }
    Err(Error::new(format!("it is larger than the limit of {} KiB", limit >> 10)))
}

fn refuse_irregular(metadata: &Metadata) -> Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(Error::new("it is not a regular file")) }
}

/// Like [`read_if_exists`], for a file that must be UTF-8.
pub fn read_text_if_exists(path: &Path) -> Result<Option<String>> {
    let text = read_if_exists(path)?.map(String::from_utf8).transpose();
    text.map_err(|_| Error::new(format!("cannot read {}: it is not UTF-8", path.display())))
}

/// Names of the entries of a directory, as far as they are UTF-8; none if the directory does not exist.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let what = || format!("cannot read {}", path.display());
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(what)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.context(what)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Whether a file was not modified for `span`; false if its time cannot be read, or is in the future.
pub fn is_older(path: &Path, span: Duration) -> bool {
    let time = path.symlink_metadata().and_then(|metadata| metadata.modified());
    time.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > span))
}

/// So many files count in [`own_size`], in directories that are so deep: more than images have, and not more than takes some
/// time, whoever made them.
const COUNTED: usize = 1 << 22;
const DEPTH: usize = 256;
/// How many names are read at a time.
const BATCH: usize = 1024;

/// Size in bytes of all files below `path` without other hard links, which is what removing it frees. What cannot be
/// read does not count.
pub fn own_size(path: &Path) -> u64 {
    let (mut size, mut left) = (0, COUNTED);
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.nlink() == 1 => return metadata.len(),
        Ok(metadata) if metadata.is_dir() => {}
        _ => return 0,
    }
    if let Ok(directory) = Directory::open(path) {
        add_size(&directory, 0, &mut left, &mut size);
    }
    size
}

fn add_size(directory: &Directory, depth: usize, left: &mut usize, size: &mut u64) {
    let Ok(mut entries) = directory.entries() else { return };
    while let Ok(names) = entries.read(BATCH.min(*left)) {
        if names.is_empty() {
            return;
        }
        *left -= names.len();
        for name in names {
            let Ok(Some(stat)) = directory.stat_of(&name) else { continue };
            match directory::kind(&stat) {
                FileType::Directory if depth < DEPTH => {
                    if let Ok(child) = directory.child_of_same_mount(&name) {
                        add_size(&child, depth + 1, left, size);
                    }
                }
                FileType::RegularFile if stat.st_nlink == 1 => *size += stat.st_size.unsigned_abs(),
                _ => {}
            }
        }
    }
}

/// Syncs the names in a directory to disk.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).context(|| format!("cannot sync {}", path.display()))
}

/// Syncs the file system that `path` is on.
pub fn sync_file_system(path: &Path) -> Result<()> {
    let what = || format!("cannot sync the file system of {}", path.display());
    let directory = File::open(path).context(what)?;
    nix::unistd::syncfs(directory).context(what)
}

/// Creates a directory that only this user can access, and that is removed when it is dropped.
pub fn temporary_directory(parent: &Path, prefix: &str) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).permissions(Permissions::from_mode(0o700));
    builder.tempdir_in(parent).context(|| format!("cannot create a directory in {}", parent.display()))
}

#[cfg(test)]
mod tests;
