//! A deployment beside the commit that it was made from: whether it has the same files, and whether these are the store's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use ostree::ObjectType;
use rustix::fs::{FileType, Stat};

use super::attributes::{self, Attributes};
use super::checkout;
use super::dirtree;
use super::integrity::{self, Damage, ObjectKind, ObjectName, Objects};
use super::on_disk;
use super::repository::Store;
use crate::commit::Commit;
use crate::digest;
use crate::error::{Context, Result};
use crate::system::directory::{Directory, kind, kind_name};

/// How many differences of a deployment are told.
const MOST: usize = 1000;

/// What is wrong at a path of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path in the image.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
    /// More about it, as a clause; empty if there is nothing.
    pub detail: String,
}

impl Difference {
    /// The object that is damaged, if that is what is wrong.
    pub fn object(&self) -> Option<&str> {
        match &self.problem {
            Problem::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// Kinds of differences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing.
    Missing(Wanted),
    /// There is something else.
    Replaced(Wanted),
    /// Its content, owner, mode or attributes are others.
    Changed(Wanted),
    /// The image has nothing of that name.
    Extra,
    /// It is an object of the store that is damaged.
    Object(String),
    /// It cannot be read.
    Unreadable,
}

/// What the commit has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A file, with the checksum of its object.
    File(String),
    /// A directory, with the checksums of its content and of its metadata.
    Directory(String, String),
}

/// A comparison with one commit.
pub struct Comparison<'a> {
    store: &'a Store,
    /// The store's objects.
    objects: Directory,
    /// What is damaged in the store.
    damaged: &'a Damage,
    /// What was made in the deployment besides.
    made: &'a BTreeSet<PathBuf>,
    /// Inodes of files that are no object's, with their checksums.
    known: HashMap<(u64, u64), Option<String>>,
    /// What was found.
    differences: Vec<Difference>,
    /// How many more there are.
    more: usize,
}

/// The result of a comparison.
pub struct Compared {
    /// What is wrong.
    pub differences: Vec<Difference>,
    /// How many more differences there are.
    pub more: usize,
}

/// Compares a root file system with a commit. `made` are paths that were made in it besides, as mount points are.
pub fn compare(
    store: &Store,
    commit: &Commit,
    rootfs: &Path,
    made: &BTreeSet<PathBuf>,
    damaged: &Damage,
) -> Result<Compared> {
    let what = || format!("cannot compare {} with commit {commit}", rootfs.display());
    let (content, metadata) = dirtree::root(&store.repo, commit.as_str()).context(what)?;
    let root = Directory::open(rootfs).context(what)?;
    let stat = root.stat().context(what)?;
    let objects = Objects::open(store)?.directory;
    let mut comparison =
        Comparison { store, objects, damaged, made, known: HashMap::new(), differences: Vec::new(), more: 0 };
    comparison.metadata(&root, OsStr::new("."), &stat, (&content, &metadata), Path::new("/"));
    comparison.directory(&root, &content, Path::new("/"));
    Ok(Compared { differences: comparison.differences, more: comparison.more })
}

impl Comparison<'_> {
    fn add(&mut self, path: &Path, problem: Problem, detail: String) {
        if self.differences.len() < MOST {
            self.differences.push(Difference { path: path.to_path_buf(), problem, detail });
        } else {
            self.more += 1;
        }
    }

    /// Compares what is in a directory, which is at `path` in the image.
    fn directory(&mut self, directory: &Directory, content: &str, path: &Path) {
        let object = ObjectName::of(ObjectKind::DirTree, content);
        let loaded = (!self.damaged.contains_key(&object)).then(|| dirtree::load(&self.store.repo, content));
        let (files, directories) = match loaded {
            Some(Ok(found)) => found,
            // What belongs there is not known.
            Some(Err(_)) | None => return self.add(path, Problem::Object(object.to_string()), String::new()),
        };
        let names = match directory.names(usize::MAX) {
            Ok(names) => names,
            Err(e) => return self.add(path, Problem::Unreadable, e.to_string()),
        };
        let mut wanted: BTreeMap<OsString, Wanted> = BTreeMap::new();
        for (name, checksum) in files {
            wanted.insert(name.into(), Wanted::File(digest::hex(&checksum)));
        }
        for (name, content, metadata) in directories {
            wanted.insert(name.into(), Wanted::Directory(digest::hex(&content), digest::hex(&metadata)));
        }
        for name in names.iter().filter(|name| !wanted.contains_key(*name)) {
            let path = path.join(name);
            if !self.made.contains(&path) {
                self.add(&path, Problem::Extra, String::new());
            }
        }
        for (name, wanted) in wanted {
            let path = path.join(&name);
            if let Err(e) = self.entry(directory, &name, &wanted, &path) {
                self.add(&path, Problem::Unreadable, e.to_string());
            }
        }
    }

    fn entry(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        wanted: &Wanted,
        path: &Path,
    ) -> std::io::Result<()> {
        let Some(stat) = directory.stat_of(name)? else {
            self.add(path, Problem::Missing(wanted.clone()), String::new());
            return Ok(());
        };
        match wanted {
            Wanted::Directory(content, metadata) if kind(&stat) == FileType::Directory => {
                let below = directory.child(name)?;
                let below_stat = below.stat()?;
                self.metadata(&below, OsStr::new("."), &below_stat, (content, metadata), path);
                self.directory(&below, content, path);
                Ok(())
            }
            Wanted::File(checksum) if kind(&stat) != FileType::Directory => {
                self.file(directory, name, &stat, checksum, path)
            }
            _ => {
                self.add(path, Problem::Replaced(wanted.clone()), format!("it is {}", kind_name(&stat)));
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        stat: &Stat,
        checksum: &str,
        path: &Path,
    ) -> std::io::Result<()> {
        let object = ObjectName::of(ObjectKind::File, checksum);
        let original = self.original(&object)?;
        let is_object = original.is_some_and(|it| (it.st_dev, it.st_ino) == (stat.st_dev, stat.st_ino));
        if is_object {
            if self.damaged.contains_key(&object) {
                self.add(path, Problem::Object(object.to_string()), String::new());
            }
            return Ok(());
        }
        if kind(stat) == FileType::Fifo {
            // An empty file stands for it in the store, with an attribute that a FIFO cannot have.
            return self.fifo(&object, path);
        }
        let inode = (stat.st_dev, stat.st_ino);
        let found = match self.known.get(&inode) {
            Some(known) => known.clone(),
            None => {
                let found = on_disk::checksum(directory, name, stat)?;
                self.known.insert(inode, found.clone());
                found
            }
        };
        let wanted = || Wanted::File(checksum.to_owned());
        match found {
            None => self.add(path, Problem::Replaced(wanted()), format!("it is {}", kind_name(stat))),
            Some(found) if found == *checksum => {}
            Some(_) => {
                self.add(path, Problem::Changed(wanted()), integrity::how(directory, name, stat, true));
            }
        }
        Ok(())
    }

    fn fifo(&mut self, object: &ObjectName, path: &Path) -> std::io::Result<()> {
        let is_missing = self.original(object)?.is_none();
        if !is_missing && !checkout::is_fifo(&self.objects, object.path().as_os_str())? {
            let wanted = Wanted::File(object.checksum.clone());
            self.add(path, Problem::Replaced(wanted), "it is a FIFO".into());
        }
        Ok(())
    }

    /// What is known of the object of a file; `None` if it is missing.
    fn original(&self, object: &ObjectName) -> std::io::Result<Option<Stat>> {
        self.objects.stat_of(object.path().as_os_str())
    }

    /// Compares owner, mode and attributes of a directory.
    fn metadata(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        stat: &Stat,
        (content, metadata): (&str, &str),
        path: &Path,
    ) {
        let object = ObjectName::of(ObjectKind::DirMeta, metadata);
        let variant = self.store.repo.load_variant(ObjectType::DirMeta, metadata);
        let wanted = variant.ok().filter(|_| !self.damaged.contains_key(&object));
        let Some(wanted) = wanted.and_then(|it| Attributes::of_directory(&it).ok()) else {
            return self.add(path, Problem::Object(object.to_string()), String::new());
        };
        let found = match on_disk::attributes(directory, name, stat) {
            Ok(found) => found,
            Err(e) => return self.add(path, Problem::Unreadable, e.to_string()),
        };
        let is_same = (found.uid, found.gid, found.mode) == (wanted.uid, wanted.gid, wanted.mode & 0o7777)
            && attributes::are_same(&found.xattrs, &wanted.xattrs);
        if !is_same {
            let wanted_here = Wanted::Directory(content.to_owned(), metadata.to_owned());
            let detail = format!(
                "owner {}:{} and mode {:04o} in place of {}:{} and {:04o}",
                found.uid,
                found.gid,
                found.mode,
                wanted.uid,
                wanted.gid,
                wanted.mode & 0o7777
            );
            self.add(path, Problem::Changed(wanted_here), detail);
        }
    }
}
