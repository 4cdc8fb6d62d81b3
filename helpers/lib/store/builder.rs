//! The tree of one layer, built from the members of its archive.
//!
//! Nothing is unpacked: a name is a key in a tree object and never a path on this host, so no name can lead out of the
//! repository. What a tree cannot contain is refused, or skipped and counted.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use ostree::gio::MemoryInputStream;
use ostree::glib::{self, Bytes};
use ostree::prelude::*;
use ostree::{MutableTree, ObjectType, RepoFile};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::archive::{self, Member};
use super::attributes::{self, Attributes};
use super::commit;
use super::host::HostRepository;
use super::limits;
use super::merge;
use super::replaced::Replaced;
use super::repository::NEVER;
use super::space::{self, Space};
use crate::digest;
use crate::error::{Context, Error, Result};

/// Maximum size in bytes of files that are read into memory as a whole.
const WHOLE: u64 = 1 << 20;
/// How many bytes of larger files are read at once.
const CHUNK: usize = 256 << 10;
/// How many metadata objects of directories are remembered. Most directories of an image have one of few times.
const DIRECTORIES: usize = 10_000;
/// How many entries of trees, of some 200 bytes each, are kept in memory at least before the tree is written.
const ENTRIES: u64 = 50_000;
/// The part of all entries that is kept in memory if that is more, one in so many. A directory is written anew as a
/// whole, so that a large one must not be written too often.
const SHARE: u64 = 4;

/// The tree of a layer, being built.
pub struct Builder<'a> {
    repo: &'a ostree::Repo,
    /// The host's repository, whose objects are linked instead of being written again.
    host: Option<&'a HostRepository>,
    /// Objects that are damaged, and written again.
    replaced: &'a Replaced,
    root: MutableTree,
    space: Space,
    /// Checksums of directory metadata objects; only of those without other extended attributes than the time, since
    /// those may be large.
    directories: HashMap<Attributes, String>,
    /// Directories that have had no member of their own so far.
    implicit: BTreeSet<String>,
    /// Length of all paths that were ever in `implicit`.
    implicit_length: usize,
    /// The directory that was last looked up, with its path: most members are in that of the member before.
    last: Option<(Vec<String>, MutableTree)>,
    /// How many members and implicit directories each directory has, by hashes of their paths.
    sizes: HashMap<u64, u32>,
    /// Members and implicit directories.
    entries: u64,
    /// Those since the tree was last written.
    pending: u64,
    skipped: usize,
}

/// A complete tree.
pub struct BuiltTree {
    /// The tree, which has been written.
    pub root: RepoFile,
    /// Directories that have no member of their own in the archive.
    pub implicit: BTreeSet<String>,
    /// How many device nodes were skipped.
    pub skipped: usize,
}

impl<'a> Builder<'a> {
    /// Begins with an empty tree.
    pub fn new(
        repo: &'a ostree::Repo,
        host: Option<&'a HostRepository>,
        replaced: &'a Replaced,
    ) -> Result<Self> {
        let mut builder = Builder {
            repo,
            host,
            replaced,
            root: MutableTree::new(),
            space: space::of(repo)?,
            directories: HashMap::new(),
            implicit: BTreeSet::new(),
            implicit_length: 0,
            last: None,
            sizes: HashMap::new(),
            entries: 0,
            pending: 0,
            skipped: 0,
        };
        let metadata = builder.implicit_metadata()?;
        builder.root.set_metadata_checksum(&metadata);
        builder.implicit.insert(String::new());
        Ok(builder)
    }

    /// Adds a member of the archive, whose content can be read from `content`.
    pub fn add(&mut self, member: &Member, content: &mut impl Read) -> Result<()> {
        self.count()?;
        if self.pending > ENTRIES.max(self.entries / SHARE) {
            self.write_out()?;
        }
        let what = || format!("entry {}", archive::shown(&member.path));
        let path = components(&member.path).context(what)?;
        match member.kind {
            EntryType::Char | EntryType::Block => {
                self.skipped += 1;
                Ok(())
            }
            EntryType::Directory => self.directory(member, &path),
            EntryType::Regular | EntryType::Continuous => self.file(member, content, &path),
            EntryType::Fifo => self.fifo(member, &path),
            EntryType::Symlink => self.symlink(member, &path),
            EntryType::Link => self.hard_link(member, &path),
            other => Err(Error::new(format!("it is of unsupported type {:?}", char::from(other.as_byte())))),
        }
        .context(what)
    }

    /// Counts a member, or a directory that has none.
    fn count(&mut self) -> Result<()> {
        self.entries += 1;
        self.pending += 1;
        if self.entries > limits::ENTRIES_OF_LAYER {
            let limit = limits::ENTRIES_OF_LAYER;
            return Err(Error::new(format!("it has more than {limit} files and directories")));
        }
        Ok(())
    }

    /// Counts what is in a directory.
    fn count_in(&mut self, directory: &[String]) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        directory.hash(&mut hasher);
        let size = self.sizes.entry(hasher.finish()).or_default();
        *size += 1;
        if *size > limits::ENTRIES_OF_DIRECTORY {
            let limit = limits::ENTRIES_OF_DIRECTORY;
            return Err(Error::new(format!("its directory has more than {limit} files and directories")));
        }
        Ok(())
    }

    /// Writes the tree.
    pub fn finish(self) -> Result<BuiltTree> {
        self.space.check()?;
        let root = commit::write_tree(self.repo, &self.root)?;
        Ok(BuiltTree { root, implicit: self.implicit, skipped: self.skipped })
    }

    /// Writes what has been built so far, so that memory does not grow with the layer; libostree rereads what it needs.
    fn write_out(&mut self) -> Result<()> {
        self.space.check()?;
        self.last = None;
        let root = commit::write_tree(self.repo, &self.root)?;
        let content = root.tree_get_contents_checksum().unwrap_or_default();
        let metadata = root.tree_get_metadata_checksum().unwrap_or_default();
        self.root = MutableTree::from_checksum(self.repo, &content, &metadata);
        self.pending = 0;
        Ok(())
    }

    fn directory(&mut self, member: &Member, path: &[String]) -> Result<()> {
        let checksum = self.metadata(Attributes::of(member)?)?;
        let directory = match path.split_last() {
            Some((name, parents)) => {
                self.count_in(parents)?;
                merge::ensure_directory(&self.parent(parents)?, name)?
            }
            None => self.root.clone(),
        };
        directory.set_metadata_checksum(&checksum);
        if !self.implicit.is_empty() {
            self.implicit.remove(&key(path));
        }
        Ok(())
    }

    fn file(&mut self, member: &Member, content: &mut impl Read, path: &[String]) -> Result<()> {
        let attributes = Attributes::of(member)?;
        self.space.take(member.size.min(WHOLE))?;
        let checksum = if member.size <= WHOLE {
            self.write_whole(&attributes, content, member.size)
        } else {
            self.write_in_chunks(&attributes, content, member.size)
        };
        self.put(path, &checksum.context(|| "cannot write its content".into())?)
    }

    fn fifo(&mut self, member: &Member, path: &[String]) -> Result<()> {
        let attributes = Attributes::of_fifo(member)?;
        self.space.take(space::FILE)?;
        let checksum = self.write_object(attributes.file_header());
        self.put(path, &checksum.context(|| "cannot write its object".into())?)
    }

    fn write_whole(&self, attributes: &Attributes, content: &mut impl Read, size: u64) -> Result<String> {
        let mut object = attributes.file_header();
        let header = object.len();
        content.read_to_end(&mut object).context(|| "cannot read it".into())?;
        check_size((object.len() - header) as u64, size)?;
        self.write_object(object).context(|| "cannot write its object".into())
    }

    /// Writes a file's object, unless it exists. Its checksum is computed here, with the CPU's own instructions;
    /// libostree would write the file before it checks whether the object exists.
    fn write_object(&self, object: Vec<u8>) -> Result<String, glib::Error> {
        let checksum = digest::hex(&Sha256::digest(&object));
        self.replaced.make_room_for(self.repo, &checksum)?;
        if !self.repo.has_object(ObjectType::File, &checksum, NEVER)? && !self.link(&checksum) {
            let length = object.len() as u64;
            let stream = MemoryInputStream::from_bytes(&Bytes::from_owned(object));
            self.repo.write_content_trusted(&checksum, &stream, length, NEVER)?;
        }
        Ok(checksum)
    }

    /// Shares an object with the host's repository. Returns whether that worked.
    fn link(&self, checksum: &str) -> bool {
        self.host.is_some_and(|host| host.link(checksum))
    }

    /// Writes a file whose checksum is known at its end only.
    fn write_in_chunks(&self, attributes: &Attributes, content: &mut impl Read, size: u64) -> Result<String> {
        let what = || "cannot write its object".to_string();
        let Attributes { uid, gid, .. } = *attributes;
        let (mode, xattrs) = (attributes.file_mode(), attributes.xattrs_variant());
        let writer = self.repo.write_regfile(None, uid, gid, mode, size, Some(&xattrs)).context(what)?;
        let mut digest = Sha256::new_with_prefix(attributes.file_header());
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        loop {
            let length = content.read(&mut buffer).context(|| "cannot read it".into())?;
            if length == 0 {
                break;
            }
            self.space.take(length as u64)?;
            let (_, error) = writer.write_all(&buffer[..length], NEVER).context(what)?;
            error.map_or(Ok(()), Err).context(what)?;
            digest.update(&buffer[..length]);
            done += length as u64;
        }
        check_size(done, size)?;
        let checksum = digest::hex(&digest.finalize());
        self.replaced.make_room_for(self.repo, &checksum).context(what)?;
        if self.repo.has_object(ObjectType::File, &checksum, NEVER).context(what)? || self.link(&checksum) {
            // What was written goes with the writer. It would replace the object, and deployments would keep another.
            return Ok(checksum);
        }
        Ok(writer.finish(NEVER).context(what)?.to_string())
    }

    fn symlink(&mut self, member: &Member, path: &[String]) -> Result<()> {
        let attributes = Attributes::of(member)?;
        let target = String::from_utf8(member.target.clone()).context(|| "its target is not UTF-8".into())?;
        if target.is_empty() || target.len() >= limits::PATH || target.contains('\0') {
            return Err(Error::new("its target is empty, too long or contains a NUL character"));
        }
        self.space.take(target.len() as u64)?;
        let checksum = self.write_object(attributes.symlink_header(&target));
        self.put(path, &checksum.context(|| "cannot write it".into())?)
    }

    /// The same content has the same checksum, so checkouts have one inode for both names.
    fn hard_link(&mut self, member: &Member, path: &[String]) -> Result<()> {
        let what = || format!("it is a hard link to {}", archive::shown(&member.target));
        let target = components(&member.target).context(what)?;
        let found = target.split_last().and_then(|(name, parents)| {
            let directory = self.walk(parents)?;
            directory.lookup(name).ok()?.0
        });
        let checksum = found.ok_or_else(|| Error::new("which is not a file of this layer")).context(what)?;
        self.put(path, &checksum)
    }

    fn put(&mut self, path: &[String], checksum: &str) -> Result<()> {
        let (name, parents) =
            path.split_last().ok_or_else(|| Error::new("it would replace the root directory"))?;
        self.count_in(parents)?;
        merge::replace_file(&self.parent(parents)?, name, checksum)
    }

    fn walk(&self, path: &[String]) -> Option<MutableTree> {
        let mut directory = self.root.clone();
        for name in path {
            directory = directory.lookup(name).ok()?.1?;
        }
        Some(directory)
    }

    /// Returns the directory that a path is in. Archives may lack members for directories, so these are created; but
    /// symlinks are never followed.
    fn parent(&mut self, path: &[String]) -> Result<MutableTree> {
        if let Some((last, directory)) = &self.last {
            if last == path {
                return Ok(directory.clone());
            }
        }
        let mut directory = self.root.clone();
        for (depth, name) in path.iter().enumerate() {
            directory = match directory.lookup(name) {
                Ok((_, Some(below))) => below,
                Ok((Some(_), None)) => {
                    let parent = archive::shown(path[..=depth].join("/").as_bytes());
                    return Err(Error::new(format!("it is below {parent}, which is a file or a symlink")));
                }
                _ => self.create(&directory, &path[..=depth], name)?,
            };
        }
        self.last = Some((path.to_vec(), directory.clone()));
        Ok(directory)
    }

    /// Creates a directory that has had no member so far.
    fn create(&mut self, parent: &MutableTree, path: &[String], name: &str) -> Result<MutableTree> {
        self.count()?;
        self.count_in(&path[..path.len() - 1])?;
        let key = key(path);
        self.implicit_length += key.len();
        if self.implicit_length > limits::IMPLICIT {
            let limit = limits::IMPLICIT >> 20;
            let why = format!(
                "the paths of directories that have no entries of their own are more than {limit} MiB"
            );
            return Err(Error::new(why));
        }
        let metadata = self.implicit_metadata()?;
        let directory = merge::ensure_directory(parent, name)?;
        directory.set_metadata_checksum(&metadata);
        self.implicit.insert(key);
        Ok(directory)
    }

    fn implicit_metadata(&mut self) -> Result<String> {
        self.metadata(Attributes { uid: 0, gid: 0, mode: 0o755, xattrs: Vec::new() })
    }

    /// Writes the metadata object of a directory, unless it was written before.
    fn metadata(&mut self, attributes: Attributes) -> Result<String> {
        if let Some(checksum) = self.directories.get(&attributes) {
            return Ok(checksum.clone());
        }
        let variant = attributes.directory_variant();
        let checksum = self
            .repo
            .write_metadata(ObjectType::DirMeta, None, &variant, NEVER)
            .context(|| "cannot write directory metadata".into())?
            .to_hex();
        let is_small = attributes.xattrs.iter().all(|(name, _)| name.starts_with(attributes::OWN));
        if is_small && self.directories.len() < DIRECTORIES {
            self.directories.insert(attributes, checksum.clone());
        }
        Ok(checksum)
    }
}

fn check_size(found: u64, expected: u64) -> Result<()> {
    let why = || Error::new(format!("it ends after {found} of {expected} bytes"));
    if found == expected { Ok(()) } else { Err(why()) }
}

/// The names in a path; none if it is the root directory.
fn components(path: &[u8]) -> Result<Vec<String>> {
    if path.len() >= limits::PATH {
        return Err(Error::new("its path is too long"));
    }
    let path = std::str::from_utf8(path).context(|| "its path is not UTF-8".into())?;
    let mut names = Vec::new();
    for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if name == ".." || name.contains('\0') || name.len() > limits::NAME {
            return Err(Error::new(
                "its path contains '..', a NUL character, or a name of more than 255 bytes",
            ));
        }
        names.push(name.to_owned());
    }
    if names.len() > limits::DEPTH {
        return Err(Error::new(format!("its path has more than {} names", limits::DEPTH)));
    }
    Ok(names)
}

/// A directory in [`BuiltTree::implicit`].
fn key(path: &[String]) -> String {
    path.iter().flat_map(|name| ["/", name]).collect()
}

#[cfg(test)]
mod tests;
