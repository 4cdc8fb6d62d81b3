//! The files of images: reading them in the store, and checking them out.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;

use ostree::gio::{self, FileInfo, FileQueryInfoFlags, FileType, prelude::*};
use ostree::{RepoCheckoutAtOptions, RepoFile};

use super::image::Image;
use super::repository::{NEVER, Store};
use crate::error::{Context, Error, Result};
use crate::image::tree::{Entry, Kind};

/// File attributes that a walk needs.
const ATTRIBUTES: &str =
    "standard::name,standard::type,standard::symlink-target,unix::mode,unix::uid,unix::gid";
/// Largest file of an image that is read into memory.
const READ_MAX: u64 = 16 << 20;

impl Store {
    /// Hard-links the image's tree to `destination`, which must not exist yet; its parent must.
    pub fn checkout(&self, image: &Image, destination: &Path) -> Result<()> {
        let what = || format!("cannot check out {} to {}", image.name, destination.display());
        let parent = File::open(destination.parent().unwrap_or(destination)).context(what)?;
        let name = destination.file_name().ok_or_else(|| Error::new("it has no name")).context(what)?;
        // Copies would take as much space as the image, and would differ from the store's files once those are repaired.
        let options = RepoCheckoutAtOptions { no_copy_fallback: true, ..Default::default() };
        self.repo.checkout_at(Some(&options), parent.as_raw_fd(), name, &image.commit, NEVER).context(what)
    }

    /// Reads a regular file of the image's tree; returns `None` if there is no such file. Symlinks are not followed.
    pub fn read(&self, image: &Image, path: &str) -> Result<Option<Vec<u8>>> {
        let what = || format!("cannot read {path} of {}", image.name);
        let (root, _) = self.repo.read_commit(&image.commit, NEVER).context(what)?;
        self.content(&root, path).context(what)
    }

    /// As [`Store::read`], below the root of any commit.
    pub(super) fn content(&self, root: &gio::File, path: &str) -> Result<Option<Vec<u8>>> {
        let file = root.resolve_relative_path(path);
        let file = file.downcast::<RepoFile>().map_err(|_| Error::new("it is not a file of the store"))?;
        if !file.query_exists(NEVER) {
            return Ok(None);
        }
        if file.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) != FileType::Regular {
            return Err(Error::new("it is not a regular file"));
        }
        let what = || "cannot read its content".to_string();
        let (stream, _, _) = self.repo.load_file(&file.checksum(), NEVER).context(what)?;
        let stream = stream.ok_or_else(|| Error::new("it has none")).context(what)?.into_read();
        let mut content = Vec::new();
        let length = stream.take(READ_MAX + 1).read_to_end(&mut content).context(what)?;
        if length as u64 > READ_MAX {
            return Err(Error::new(format!("it is larger than {} MiB", READ_MAX >> 20)));
        }
        Ok(Some(content))
    }

    /// Lists everything below a directory of the image's tree; nothing if there is no such directory.
    pub fn walk(&self, image: &Image, path: &str) -> Result<Vec<Entry>> {
        let what = || format!("cannot read {path} of {}", image.name);
        let (root, _) = self.repo.read_commit(&image.commit, NEVER).context(what)?;
        let directory = root.resolve_relative_path(path);
        let mut entries = Vec::new();
        if directory.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) == FileType::Directory {
            walk(&directory, Path::new(""), &mut entries).context(what)?;
        }
        Ok(entries)
    }
}

fn walk(directory: &gio::File, below: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    let children = directory.enumerate_children(ATTRIBUTES, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER);
    for info in children.context(|| format!("directory {}", below.display()))? {
        let info = info.context(|| format!("directory {}", below.display()))?;
        let path = below.join(info.name());
        let kind = kind(&info);
        if kind == Kind::Directory {
            walk(&directory.child(info.name()), &path, entries)?;
        }
        let number = |attribute| info.attribute_uint32(attribute);
        let (mode, uid, gid) = (number("unix::mode") & 0o7777, number("unix::uid"), number("unix::gid"));
        entries.push(Entry { path, kind, mode, uid, gid });
    }
    Ok(())
}

fn kind(info: &FileInfo) -> Kind {
    match info.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Regular => Kind::File,
        FileType::SymbolicLink => Kind::Symlink(info.symlink_target().unwrap_or_default()),
        _ => Kind::Special,
    }
}
