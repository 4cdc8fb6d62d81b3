//! Putting back what a deployment should have at a path, from the store: by a rename, so that a payload that runs has either.

use std::ffi::OsStr;
use std::path::Path;

use ostree::ObjectType;
use rustix::fs::{self, AtFlags, FileType, XattrFlags};

use super::attributes::Attributes;
use super::checkout;
use super::comparison::{Difference, Problem, Wanted};
use super::integrity::{self, ObjectKind, ObjectName};
use super::links::Linker;
use super::on_disk;
use super::repository::Store;
use super::space;
use super::staging;
use crate::error::{Context, Error, Result};
use crate::system::copy;
use crate::system::directory::{Directory, Links, kind};
use crate::system::files;

/// Puts back what is wrong at one path of a root file system. What is not known, or would be lost, is left as it is.
pub fn restore(store: &Store, rootfs: &Path, difference: &Difference) -> Result<()> {
    let what = || format!("cannot restore {}", rootfs.join(relative(&difference.path)).display());
    let root = Directory::open(rootfs).context(what)?;
    let restore = Restore { store, root: &root };
    match &difference.problem {
        Problem::Missing(wanted) | Problem::Replaced(wanted) => restore.put(&difference.path, wanted),
        Problem::Changed(Wanted::Directory(_, metadata)) => restore.metadata(&difference.path, metadata),
        Problem::Changed(wanted @ Wanted::File(_)) => restore.put(&difference.path, wanted),
        Problem::Object(object) => match object.split_once('.') {
            Some((checksum, "file")) => restore.put(&difference.path, &Wanted::File(checksum.to_owned())),
            // It was mended in the store, and is in no deployment.
            _ => Ok(()),
        },
        Problem::Extra => {
            Err(Error::new("the image has nothing of that name; remove it by hand, if nobody needs it"))
        }
        Problem::Unreadable => Err(Error::new(difference.detail.clone())),
    }
    .context(what)
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

struct Restore<'a> {
    store: &'a Store,
    root: &'a Directory,
}

impl Restore<'_> {
    fn put(&self, path: &Path, wanted: &Wanted) -> Result<()> {
        let path = relative(path);
        let what = || "cannot open its directory".to_owned();
        let parent =
            self.root.directory(path.parent().unwrap_or(Path::new("")), Links::Refused).context(what)?;
        let name = path.file_name().ok_or_else(|| Error::new("it is the root directory"))?;
        let temporary = files::temporary_directory(&self.store.temporary_directory(), staging::PREFIX)?;
        let made = temporary.path().join("made");
        match wanted {
            Wanted::File(checksum) => self.file(path, checksum, &made)?,
            Wanted::Directory(content, metadata) => self.directory(path, (content, metadata), &made)?,
        }
        if parent
            .stat_of(name)
            .context(|| "cannot examine it".into())?
            .is_some_and(|it| kind(&it) == FileType::Directory)
        {
            return Err(Error::new("it is a directory, with what may be in it; remove that by hand"));
        }
        let time = parent.stat().context(|| "cannot examine its directory".into())?;
        fs::renameat(fs::CWD, &made, &parent, name).context(|| "cannot put it there".into())?;
        checkout::restore_time(&parent, &time).context(|| "cannot set the time of its directory".into())
    }

    /// Makes a name of an object, or a copy where files have inodes of their own.
    fn file(&self, path: &Path, checksum: &str, made: &Path) -> Result<()> {
        let object = ObjectName::of(ObjectKind::File, checksum);
        if let Some(wrong) = integrity::check(self.store, Some(&[object.clone()].into()))?.remove(&object) {
            return Err(Error::new(format!("its object {object} is damaged: {wrong}")));
        }
        let directory = self.store.path.join("objects").join(&checksum[..2]);
        let directory =
            Directory::open(&directory).context(|| format!("cannot open {}", directory.display()))?;
        let (name, what) = (format!("{}.file", &checksum[2..]), || "cannot link its object".to_owned());
        let name: &OsStr = name.as_ref();
        let stat = directory.stat_of(name).context(what)?.ok_or_else(|| Error::new("its object is gone"))?;
        checkout::set_time(&directory, name, &stat).context(what)?;
        if checkout::is_fifo(&directory, name).context(what)? {
            return checkout::make_fifo(&directory, name, &stat, made).context(what);
        }
        if checkout::has_own_inode(path) && kind(&stat) == FileType::RegularFile {
            let space = space::of(&self.store.repo)?;
            return copy::duplicate(&directory, name, made, |bytes| space.take_whole(bytes)).map(|_| ());
        }
        fs::linkat(&directory, name, fs::CWD, made, AtFlags::empty()).context(what)
    }

    fn directory(&self, path: &Path, (content, metadata): (&str, &str), made: &Path) -> Result<()> {
        let what = || "cannot make it".to_owned();
        let above = Directory::open(made.parent().unwrap_or(made)).context(what)?;
        let space = space::of(&self.store.repo)?;
        let linker = Linker::new(self.store, &space)?;
        let name = made.file_name().and_then(OsStr::to_str).unwrap_or_default();
        linker.directory(&above, name, content, metadata)?;
        checkout::finish_below(made, path, &space)
    }

    /// Gives a directory its owner, mode and attributes again.
    fn metadata(&self, path: &Path, metadata: &str) -> Result<()> {
        let what = || "cannot set its owner, mode and attributes".to_owned();
        let directory = self.root.directory(relative(path), Links::Refused).context(what)?;
        let variant = self.store.repo.load_variant(ObjectType::DirMeta, metadata).context(what)?;
        let wanted = Attributes::of_directory(&variant).context(what)?;
        let stat = directory.stat().context(what)?;
        let found = on_disk::attributes(&directory, OsStr::new("."), &stat).context(what)?;
        for (name, _) in found.named().filter(|(name, _)| wanted.named().all(|(other, _)| other != *name)) {
            fs::fremovexattr(&directory, name).context(what)?;
        }
        for (name, value) in wanted.named() {
            fs::fsetxattr(&directory, name, value, XattrFlags::empty()).context(what)?;
        }
        directory.set_owner(wanted.uid, wanted.gid, wanted.mode).context(what)
    }
}

/// Has everything written to disk that was put back.
pub fn sync(rootfs: &Path) -> Result<()> {
    files::sync_file_system(rootfs)
}
