//! The files of images: reading them in the store, and checking them out.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

use ostree::gio::{self, FileInfo, FileQueryInfoFlags, FileType, prelude::*};
use ostree::{RepoCheckoutAtOptions, RepoFile, glib};

use super::attributes::Attributes;
use super::repository::{NEVER, Store};
use super::size::Size;
use super::space::{self, Space};
use super::staging;
use super::{checkout, links};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::limits::{self, WalkBudget};
use crate::image::tree::{Executable, FileKind, Tree, TreeEntry};
use crate::system::copy::{self, Budget, Limits};
use crate::system::directory::Directory;
use crate::system::files;

/// File attributes that a walk needs.
const ATTRIBUTES: &str =
    "standard::name,standard::type,standard::size,standard::symlink-target,unix::mode,unix::uid,unix::gid";

/// An image in the store, as a [`Tree`]: the files of its commit. A checkout is made of hard links, but for files that
/// programs read only if they have one.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The store that holds the image.
    pub store: &'a Store,
    /// The image.
    pub image: &'a Image,
}

impl Tree for Stored<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let what = || format!("cannot read {path} of {}", self.image.name);
        let (root, _) = self.store.repo.read_commit(self.image.commit.as_str(), NEVER).context(what)?;
        read(&self.store.repo, &root, path).context(what)
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        let what = || format!("cannot read {path} of {}", self.image.name);
        let (root, _) = self.store.repo.read_commit(self.image.commit.as_str(), NEVER).context(what)?;
        let Some(stream) = stream(&self.store.repo, &root, path).context(what)? else { return Ok(None) };
        Digest::of_reader(stream).context(what).map(Some)
    }

    fn kind(&self, path: &str) -> Result<Option<FileKind>> {
        let what = || format!("cannot examine {path} of {}", self.image.name);
        let (root, _) = self.store.repo.read_commit(self.image.commit.as_str(), NEVER).context(what)?;
        let file = root.resolve_relative_path(path);
        if file.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) == FileType::Unknown {
            return Ok(None);
        }
        let info = file.query_info(ATTRIBUTES, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER);
        kind(&file, &info.context(what)?).map(Some).context(what)
    }

    fn executable(&self, path: &str) -> Result<Option<Executable>> {
        let what = || format!("cannot read {path} of {}", self.image.name);
        let (root, _) = self.store.repo.read_commit(self.image.commit.as_str(), NEVER).context(what)?;
        let Some(stream) = stream(&self.store.repo, &root, path).context(what)? else { return Ok(None) };
        let file = root.resolve_relative_path(path);
        let info = file.query_info(ATTRIBUTES, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER);
        let mode = info.context(what)?.attribute_uint32("unix::mode");
        Executable::read(mode, stream).map(Some).context(what)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        let what = || format!("cannot read {path} of {}", self.image.name);
        let (root, _) = self.store.repo.read_commit(self.image.commit.as_str(), NEVER).context(what)?;
        let directory = root.resolve_relative_path(path);
        let mut entries = Vec::new();
        if directory.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) == FileType::Directory {
            walk(&directory, Path::new(""), &mut entries, &mut WalkBudget::default()).context(what)?;
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        let what = || format!("cannot check out {} to {}", self.image.name, destination.display());
        check_out(self.store, self.image.commit.as_str(), destination).context(what)
    }
}

/// Like [`Stored`], but a checkout shares nothing with the store, and may be on another file system: for what travels.
#[derive(Clone, Copy)]
pub struct Copied<'a>(pub Stored<'a>);

impl Tree for Copied<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.0.read(path)
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        self.0.digest(path)
    }

    fn kind(&self, path: &str) -> Result<Option<FileKind>> {
        self.0.kind(path)
    }

    fn executable(&self, path: &str) -> Result<Option<Executable>> {
        self.0.executable(path)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        self.0.walk(path)
    }

    /// By way of a checkout in the store, so that it is the same in every respect.
    fn checkout(&self, destination: &Path) -> Result<()> {
        let what = || format!("cannot copy {} to {}", self.0.image.name, destination.display());
        let temporary = files::temporary_directory(&self.0.store.temporary_directory(), staging::PREFIX)?;
        let rootfs = temporary.path().join("rootfs");
        self.0.checkout(&rootfs)?;
        std::fs::create_dir(destination).context(what)?;
        let from = Directory::open(&rootfs).context(what)?;
        let to = Directory::open(destination).context(what)?;
        // What the image may hold was decided when it was pulled.
        let limits = Limits { entries: u64::MAX, depth: usize::MAX, bytes: u64::MAX };
        let mut budget = Budget::new(limits, Space::new(destination, 0));
        copy::copy_whole(&from, &to, &mut budget).context(what)
    }
}

/// Checks out a commit by hard links. Copies would need as much space as the image, and would differ from the store's
/// files if those are repaired.
fn check_out(store: &Store, commit: &str, destination: &Path) -> Result<()> {
    let space = space::of(&store.repo)?;
    Size::of(&store.repo, commit)?.fits(&space)?;
    match link(store, commit, destination) {
        Err(e) if e.matches(gio::IOErrorEnum::TooManyLinks) => {
            files::remove_tree(destination)?;
            links::check_out(store, commit, destination, &space)?;
        }
        linked => linked.context(|| {
            "cannot link its files; if the store is damaged, 'syscontainer-verify --store --repair' mends it".into()
        })?,
    }
    checkout::finish(destination, &space)
}

fn link(store: &Store, commit: &str, destination: &Path) -> Result<(), glib::Error> {
    let fail = |e: io::Error| glib::Error::new(gio::IOErrorEnum::Failed, &e.to_string());
    let parent = File::open(destination.parent().unwrap_or(destination)).map_err(fail)?;
    let name = destination.file_name().unwrap_or_default();
    let options = RepoCheckoutAtOptions { no_copy_fallback: true, ..Default::default() };
    store.repo.checkout_at(Some(&options), parent.as_raw_fd(), name, commit, NEVER)
}

impl Store {
    /// The files of an image.
    pub fn tree<'a>(&'a self, image: &'a Image) -> Stored<'a> {
        Stored { store: self, image }
    }

    /// The files of an image, of which checkouts are copies.
    pub fn copied_tree<'a>(&'a self, image: &'a Image) -> Copied<'a> {
        Copied(self.tree(image))
    }
}

/// Content of a regular file below the root of a commit; `None` if there is no such file.
pub fn read(repo: &ostree::Repo, root: &gio::File, path: &str) -> Result<Option<Vec<u8>>> {
    let Some(stream) = stream(repo, root, path)? else { return Ok(None) };
    let mut content = Vec::new();
    let length = stream
        .take(limits::READ as u64 + 1)
        .read_to_end(&mut content)
        .context(|| "cannot read its content".into())?;
    limits::check_size(length, limits::READ)?;
    Ok(Some(content))
}

/// Like [`read`], however large it is.
fn stream(repo: &ostree::Repo, root: &gio::File, path: &str) -> Result<Option<impl Read + use<>>> {
    let file = root.resolve_relative_path(path);
    let file = file.downcast::<RepoFile>().map_err(|_| Error::new("it is not a file of the store"))?;
    if !file.query_exists(NEVER) {
        return Ok(None);
    }
    if file.query_file_type(FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER) != FileType::Regular {
        return Err(Error::new("it is not a regular file"));
    }
    let what = || "cannot read its content".to_string();
    if is_fifo(file.upcast_ref()).context(what)? {
        return Err(Error::new("it is not a regular file"));
    }
    let (stream, _, _) = repo.load_file(&file.checksum(), NEVER).context(what)?;
    Ok(Some(stream.ok_or_else(|| Error::new("it has none")).context(what)?.into_read()))
}

fn walk(
    directory: &gio::File,
    below: &Path,
    entries: &mut Vec<TreeEntry>,
    budget: &mut WalkBudget,
) -> Result<()> {
    let children = directory.enumerate_children(ATTRIBUTES, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, NEVER);
    for info in children.context(|| format!("directory {}", below.display()))? {
        let info = info.context(|| format!("directory {}", below.display()))?;
        let path = below.join(info.name());
        budget.take(&path)?;
        let child = directory.child(info.name());
        let kind = kind(&child, &info).context(|| path.display().to_string())?;
        if kind == FileKind::Directory {
            walk(&child, &path, entries, budget)?;
        }
        let number = |attribute| info.attribute_uint32(attribute);
        let (mode, uid, gid) = (number("unix::mode") & 0o7777, number("unix::uid"), number("unix::gid"));
        entries.push(TreeEntry { path, kind, mode, uid, gid });
    }
    Ok(())
}

/// What a file is in a checkout.
fn kind(file: &gio::File, info: &FileInfo) -> Result<FileKind, glib::Error> {
    Ok(match info.file_type() {
        FileType::Directory => FileKind::Directory,
        FileType::Regular if info.size() == 0 && is_fifo(file)? => FileKind::Special,
        FileType::Regular => FileKind::Regular,
        FileType::SymbolicLink => FileKind::Symlink(info.symlink_target().unwrap_or_default()),
        _ => FileKind::Special,
    })
}

/// Whether a file stands for a FIFO.
fn is_fifo(file: &gio::File) -> Result<bool, glib::Error> {
    let file = file.downcast_ref::<RepoFile>();
    Ok(file
        .map(|file| file.xattrs(NEVER))
        .transpose()?
        .is_some_and(|xattrs| Attributes::are_of_fifo(&xattrs)))
}

#[cfg(test)]
mod tests;
