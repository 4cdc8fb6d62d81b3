//! Checking out a commit that has objects without room for more hard links. An inode has some 65,000 names at most on
//! many file systems, in one directory maybe some hundreds, and whoever makes an image decides how many names an object has
//! in it: also one that is in many images.
//!
//! libostree copies a file for each name that it cannot link, which nobody counts. Here an object whose inode takes no
//! more names gets a new one, if there is space for it; the old one keeps the names that it has. So there are no
//! more copies than inodes are needed.

use std::io;
use std::path::{Path, PathBuf};

use ostree::ObjectType;
use rustix::fs::{self, AtFlags, FileType, Gid, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use super::attributes::Attributes;
use super::dirtree;
use super::on_disk;
use super::repository::Store;
use super::space::{FILE, Space};
use super::staging;
use crate::digest;
use crate::error::{Context, Error, Result};
use crate::system::copy;
use crate::system::directory::{Directory, kind};
use crate::system::files;

/// Checks out a commit by hard links only. Nothing is at `destination` yet.
pub fn check_out(store: &Store, commit: &str, destination: &Path, space: &Space) -> Result<()> {
    let linker = Linker::new(store, space)?;
    let (content, metadata) =
        dirtree::root(&store.repo, commit).context(|| format!("cannot read {commit}"))?;
    let what = || format!("cannot create {}", destination.display());
    let parent = Directory::open(destination.parent().unwrap_or(destination)).context(what)?;
    let name = destination.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    linker.directory(&parent, name, &content, &metadata)
}

/// Makes directories of hard links.
pub struct Linker<'a> {
    store: &'a Store,
    objects: Directory,
    /// Where copies are made, on the same file system.
    temporary: TempDir,
    space: &'a Space,
}

impl<'a> Linker<'a> {
    /// One that takes no more than this space.
    pub fn new(store: &'a Store, space: &'a Space) -> Result<Linker<'a>> {
        let objects = store.path.join("objects");
        let objects = Directory::open(&objects).context(|| format!("cannot open {}", objects.display()))?;
        let temporary = files::temporary_directory(&store.temporary_directory(), staging::PREFIX)?;
        Ok(Linker { store, objects, temporary, space })
    }

    /// Makes a directory with this content and metadata in another one.
    pub fn directory(&self, parent: &Directory, name: &str, content: &str, metadata: &str) -> Result<()> {
        let what = || format!("cannot create {}", parent.path_of(name.as_ref()).display());
        check(name).context(what)?;
        // Another checkout may find that its own fit at the same time.
        self.space.take(FILE)?;
        let made = parent.make_child(name.as_ref(), 0o700).context(what)?;
        let (files, directories) = dirtree::load(&self.store.repo, content)?;
        for (name, checksum) in &files {
            let what = || format!("cannot link {}", made.path_of(name.as_ref()).display());
            self.file(&made, name, &digest::hex(checksum)).context(what)?;
        }
        for (name, content, metadata) in &directories {
            self.directory(&made, name, &digest::hex(content), &digest::hex(metadata))?;
        }
        let metadata = self.store.repo.load_variant(ObjectType::DirMeta, metadata).context(what)?;
        let attributes = Attributes::of_directory(&metadata).context(what)?;
        for (name, value) in attributes.named() {
            fs::fsetxattr(&made, name, value, XattrFlags::empty()).context(what)?;
        }
        made.set_owner(attributes.uid, attributes.gid, attributes.mode).context(what)
    }

    fn file(&self, directory: &Directory, name: &str, checksum: &str) -> Result<()> {
        check(name)?;
        let (prefix, rest) = checksum.split_at(2);
        let object = PathBuf::from(prefix).join(format!("{rest}.file"));
        match fs::linkat(&self.objects, &object, directory, name, AtFlags::empty()) {
            Err(Errno::MLINK) => self.renew(&object, directory, name),
            linked => linked.context(|| format!("object {checksum}")),
        }
    }

    /// Gives an object a new inode, which gets a name in a directory first: the next one to ask may be another program.
    fn renew(&self, object: &Path, directory: &Directory, name: &str) -> Result<()> {
        let what = || format!("cannot copy {}", self.objects.path_of(object.as_os_str()).display());
        let copy = self.temporary.path().join("copy");
        let stat = fs::statat(&self.objects, object, AtFlags::SYMLINK_NOFOLLOW).context(what)?;
        if kind(&stat) == FileType::Symlink {
            self.space.take(FILE)?;
            copy_link(&self.objects, object, &copy, &stat).context(what)?;
        } else {
            let take = |bytes| self.space.take_whole(bytes);
            let made = copy::duplicate(&self.objects, object.as_os_str(), &copy, take).context(what)?;
            // Whatever happens, it has its content before it has the name of the object.
            made.sync_all().context(|| format!("cannot sync {}", copy.display()))?;
        }
        fs::linkat(fs::CWD, &copy, directory, name, AtFlags::empty()).context(what)?;
        fs::renameat(fs::CWD, &copy, &self.objects, object).context(|| "cannot replace it".into())
    }
}

/// Refuses a name that is more than that: objects are data.
fn check(name: &str) -> Result<()> {
    let is_one = !matches!(name, "" | "." | "..") && !name.contains('/');
    if is_one { Ok(()) } else { Err(Error::new(format!("{name:?} is not a file name"))) }
}

/// Makes a symlink at `copy` that is like an object, with its attributes.
fn copy_link(objects: &Directory, object: &Path, copy: &Path, stat: &Stat) -> io::Result<()> {
    fs::symlink(fs::readlinkat(objects, object, Vec::new())?, copy)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fs::chownat(fs::CWD, copy, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    for (name, value) in on_disk::attributes(objects, object.as_os_str(), stat)?.named() {
        fs::lsetxattr(copy, name, value, XattrFlags::empty())?;
    }
    Ok(())
}
