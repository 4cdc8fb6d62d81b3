//! Whether objects are what their names say: each is the checksum of what is in it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Stat};
use rustix::io::Errno;

use super::dirtree;
use super::mtime::{self, ModificationTime};
use super::on_disk;
use super::repository::Store;
use crate::digest;
use crate::error::{Context, Result};
use crate::system::directory::{Directory, Links, kind_name};

/// How many names are read at a time.
const BATCH: usize = 1024;
/// How many bytes at the beginning of a file are looked at to find out how it was damaged.
const HEAD: usize = 4096;

/// The kinds of objects that are checked, by the suffixes of their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A regular file or a symlink.
    File,
    /// The content of a directory.
    DirTree,
    /// Owner and mode of a directory.
    DirMeta,
    /// A commit.
    Commit,
}

impl ObjectKind {
    const ALL: [ObjectKind; 4] =
        [ObjectKind::File, ObjectKind::DirTree, ObjectKind::DirMeta, ObjectKind::Commit];

    fn suffix(self) -> &'static str {
        match self {
            ObjectKind::File => "file",
            ObjectKind::DirTree => "dirtree",
            ObjectKind::DirMeta => "dirmeta",
            ObjectKind::Commit => "commit",
        }
    }

    /// The same for libostree.
    pub(super) fn to_ostree(self) -> ostree::ObjectType {
        match self {
            ObjectKind::File => ostree::ObjectType::File,
            ObjectKind::DirTree => ostree::ObjectType::DirTree,
            ObjectKind::DirMeta => ostree::ObjectType::DirMeta,
            ObjectKind::Commit => ostree::ObjectType::Commit,
        }
    }
}

/// An object, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// What it is.
    pub kind: ObjectKind,
    /// Its checksum.
    pub checksum: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.checksum, self.kind.suffix())
    }
}

impl ObjectName {
    pub(super) fn of(kind: ObjectKind, checksum: impl Into<String>) -> ObjectName {
        ObjectName { kind, checksum: checksum.into() }
    }

    /// The object that a file in one of the directories of a repository is; `None` for what is not checked.
    fn of_file(directory: &str, name: &OsStr) -> Option<ObjectName> {
        let (rest, suffix) = name.to_str()?.split_once('.')?;
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        let checksum = format!("{directory}{rest}");
        (checksum.len() == 64 && checksum.bytes().all(|b| b.is_ascii_hexdigit()))
            .then_some(ObjectName { kind, checksum })
    }

    /// Path below the directory of objects.
    pub(super) fn path(&self) -> PathBuf {
        Path::new(&self.checksum[..2]).join(self.file_name())
    }

    fn file_name(&self) -> String {
        format!("{}.{}", &self.checksum[2..], self.kind.suffix())
    }
}

/// Objects that are damaged or missing, each with what is wrong with it.
pub type Damage = BTreeMap<ObjectName, String>;

/// Checks objects: these, or all.
pub fn check(store: &Store, only: Option<&BTreeSet<ObjectName>>) -> Result<Damage> {
    let objects = Objects::open(store)?;
    let mut damage = Damage::new();
    match only {
        Some(names) => {
            for name in names {
                objects.check(name, &mut damage)?;
            }
        }
        None => objects.check_all(&mut damage)?,
    }
    Ok(damage)
}

/// The directories of objects.
pub(super) struct Objects {
    pub(super) directory: Directory,
}

impl Objects {
    pub(super) fn open(store: &Store) -> Result<Objects> {
        let path = store.path.join("objects");
        let directory = Directory::open(&path).context(|| format!("cannot open {}", path.display()))?;
        Ok(Objects { directory })
    }

    fn check_all(&self, damage: &mut Damage) -> Result<()> {
        for number in 0..=u8::MAX {
            let prefix = format!("{number:02x}");
            let what = || format!("cannot read {}", self.directory.path_of(prefix.as_ref()).display());
            let Some(directory) = self.directory.enter(prefix.as_ref())? else { continue };
            let mut entries = directory.entries().context(what)?;
            loop {
                let names = entries.read(BATCH).context(what)?;
                if names.is_empty() {
                    break;
                }
                for name in names {
                    if let Some(object) = ObjectName::of_file(&prefix, &name) {
                        examine(&directory, &object, damage);
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self, object: &ObjectName, damage: &mut Damage) -> Result<()> {
        match self.directory.enter(object.checksum[..2].as_ref())? {
            Some(directory) => examine(&directory, object, damage),
            None => drop(damage.insert(object.clone(), MISSING.into())),
        }
        Ok(())
    }
}

/// Adds the remedy to why an image cannot be read as a whole.
pub fn damaged(name: &str, error: impl fmt::Display) -> String {
    format!(
        "it is damaged: {error}; 'syscontainer-verify --repair', or 'syscontainer-pull {name}', may mend it"
    )
}

/// Whether all objects of commits are there. What is in them is not looked at, which would take long.
pub(super) fn are_whole<'a>(store: &Store, commits: impl IntoIterator<Item = &'a str>) -> bool {
    let parts = parts(store, commits, &Damage::new());
    // Without a directory, nothing is known of what is in it.
    missing(store, &parts).is_ok_and(|missing| missing.is_empty())
}

/// Objects that are not there.
pub(super) fn missing(store: &Store, objects: &BTreeSet<ObjectName>) -> Result<Damage> {
    let (directory, mut damage) = (Objects::open(store)?.directory, Damage::new());
    for object in objects {
        match fs::statat(&directory, object.path(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => drop(damage.insert(object.clone(), MISSING.into())),
            found => drop(found.context(|| format!("cannot look for {object}"))?),
        }
    }
    Ok(damage)
}

/// What is wrong with an object that is not there.
pub(super) const MISSING: &str = "it is missing";

/// Notes what is wrong with an object, if anything is. One that cannot be read is damaged.
fn examine(directory: &Directory, object: &ObjectName, damage: &mut Damage) {
    let wrong = match try_examine(directory, object) {
        Ok(wrong) => wrong,
        Err(e) => Some(format!("it cannot be read: {e}")),
    };
    if let Some(wrong) = wrong {
        damage.insert(object.clone(), wrong);
    }
}

fn try_examine(directory: &Directory, object: &ObjectName) -> io::Result<Option<String>> {
    let name = object.file_name();
    let name: &OsStr = name.as_ref();
    let Some(stat) = directory.stat_of(name)? else { return Ok(Some(MISSING.into())) };
    if object.kind != ObjectKind::File {
        let is_right = on_disk::content(directory, name)? == object.checksum;
        return Ok((!is_right).then(|| how(directory, name, &stat, false)));
    }
    match on_disk::checksum(directory, name, &stat)? {
        None => Ok(Some(format!("it is {}", kind_name(&stat)))),
        Some(found) if found == object.checksum => Ok(None),
        Some(_) => Ok(Some(how(directory, name, &stat, true))),
    }
}

/// How a file was probably damaged, by what is left to be seen. One of an image `has_time` of its own.
pub fn how(directory: &Directory, name: &OsStr, stat: &Stat, has_time: bool) -> String {
    let wrong = match has_time {
        true => "its content, owner, mode or attributes are not what its checksum says",
        false => "its content is not what its checksum says",
    };
    let guess = guess(directory, name, stat, has_time).unwrap_or_default();
    if guess.is_empty() { wrong.to_owned() } else { format!("{wrong}; {guess}") }
}

fn guess(directory: &Directory, name: &OsStr, stat: &Stat, has_time: bool) -> io::Result<&'static str> {
    if kind_name(stat) != "a regular file" {
        return Ok("");
    }
    if stat.st_size == 0 {
        return Ok("it is empty, as after a power failure");
    }
    if is_zero(directory, name)? {
        return Ok("it begins with zeros, as after a power failure");
    }
    if !has_time {
        return Ok("");
    }
    let recorded = on_disk::attributes(directory, name, stat)?.xattrs.into_iter();
    let recorded = recorded.filter(|(name, _)| name.strip_suffix(b"\0") == Some(mtime::ATTRIBUTE.as_bytes()));
    let recorded = recorded.filter_map(|(_, value)| ModificationTime::of_record(&value)).next();
    // libostree's own are of the beginning of 1970, until they are checked out.
    let is_as_made = recorded.unwrap_or_default().is_of(stat) || (0..=1).contains(&stat.st_mtime);
    Ok(match is_as_made {
        false => "it was modified since, so somebody may have written to it by one of its names",
        true => "its time has not changed, so the disk or the memory may be faulty",
    })
}

fn is_zero(directory: &Directory, name: &OsStr) -> io::Result<bool> {
    let Some(file) = directory.file(name.as_ref(), Links::Refused)? else { return Ok(false) };
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head.iter().all(|byte| *byte == 0))
}

/// What commits consist of, as far as that can be told: what is in a directory that is damaged cannot.
pub fn parts<'a>(
    store: &Store,
    commits: impl IntoIterator<Item = &'a str>,
    damaged: &Damage,
) -> BTreeSet<ObjectName> {
    let (mut found, mut seen) = (BTreeSet::new(), HashSet::new());
    for commit in commits {
        let object = ObjectName::of(ObjectKind::Commit, commit);
        let root =
            (!damaged.contains_key(&object)).then(|| dirtree::root(&store.repo, commit).ok()).flatten();
        found.insert(object);
        if let Some((content, metadata)) = root {
            found.insert(ObjectName::of(ObjectKind::DirMeta, metadata));
            below(store, &content, damaged, &mut seen, &mut found);
        }
    }
    found
}

fn below(
    store: &Store,
    content: &str,
    damaged: &Damage,
    seen: &mut HashSet<String>,
    found: &mut BTreeSet<ObjectName>,
) {
    if !seen.insert(content.to_owned()) {
        return;
    }
    let object = ObjectName::of(ObjectKind::DirTree, content);
    let is_readable = !damaged.contains_key(&object);
    found.insert(object);
    let Some((files, directories)) = is_readable.then(|| dirtree::load(&store.repo, content).ok()).flatten()
    else {
        return;
    };
    found.extend(files.iter().map(|(_, checksum)| ObjectName::of(ObjectKind::File, digest::hex(checksum))));
    for (_, content, metadata) in &directories {
        found.insert(ObjectName::of(ObjectKind::DirMeta, digest::hex(metadata)));
        below(store, &digest::hex(content), damaged, seen, found);
    }
}
