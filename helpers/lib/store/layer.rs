//! Layers: tar archives, streamed into commits that hold them as they were packed, markers of whiteouts included.
//!
//! Nothing is unpacked to anywhere: a name is a key in a tree object and never a path on this host, so none can lead out
//! of the repository. What a tree cannot hold is refused, or left out and counted.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};

use ostree::gio::MemoryInputStream;
use ostree::gio::prelude::*;
use ostree::glib::{self, Bytes, Variant, VariantDict};
use ostree::{MutableTree, ObjectType};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::archive::{self, Archive, Entry};
use super::blob::{Meter, Told, decompress};
use super::commit::{self, Content};
use super::tree::{self, Layer};
use super::{NEVER, reference};
use crate::digest::{self, Digest};
use crate::error::{Context, Error, Result};

/// Keys of containers/image in the metadata of a layer's commit.
const SIZE: &str = "docker.size";
const UNCOMPRESSED_SIZE: &str = "docker.uncompressed_size";
const UNCOMPRESSED_DIGEST: &str = "docker.uncompressed_digest";
/// Ours: paths of implicit directories, see [`Layer`].
const IMPLICIT: &str = "syscontainers.implicit-directories";

/// Longest path, as the kernel has it, and longest name in one.
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;
/// Files up to this size are in memory as a whole.
const WHOLE: u64 = 1 << 20;
/// How much of longer ones is in memory.
const CHUNK: usize = 256 << 10;
/// How many entries of trees are in memory before what is built is written, some 200 bytes each.
const ENTRIES: usize = 50_000;

/// What a layer's blob must be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Digest of the blob as transported.
    pub digest: Digest,
    /// Digest of the archive in it.
    pub diff_id: Digest,
}

/// Finds a layer that was imported before.
pub fn find(repo: &ostree::Repo, expected: &Expected) -> Result<Option<Layer>> {
    let reference = reference::layer_ref(&expected.digest);
    let what = || format!("cannot read layer {reference}");
    let Some(commit) = repo.resolve_rev(&reference, true).context(what)? else { return Ok(None) };
    let (variant, _) = repo.load_commit(&commit).context(what)?;
    let metadata = VariantDict::new(Some(&variant.child_value(0)));
    let diff_id = metadata.lookup::<String>(UNCOMPRESSED_DIGEST).ok().flatten();
    if diff_id != Some(expected.diff_id.to_string()) {
        // Half of one, or another's: fetch it again.
        return Ok(None);
    }
    let implicit = metadata.lookup::<Vec<String>>(IMPLICIT).ok().flatten().unwrap_or_default();
    Ok(Some(Layer { commit: commit.to_string(), implicit: implicit.into_iter().collect() }))
}

/// Imports a layer as a commit of its own, so that what a later failure leaves need not be fetched again. Returns the
/// layer, and how many devices, fifos and sockets were left out.
pub fn import(
    repo: &ostree::Repo,
    blob: impl Read,
    expected: &Expected,
    progress: &dyn Fn(u64),
) -> Result<(Layer, usize)> {
    let what = || format!("cannot import layer {}", expected.digest);
    let reference = reference::layer_ref(&expected.digest);
    let write = || write(repo, blob, expected, progress);
    let (commit, (implicit, skipped)) = commit::publish(repo, &reference, write).context(what)?;
    Ok((Layer { commit, implicit }, skipped))
}

/// Paths of implicit directories, and how many entries were left out.
type Known = (BTreeSet<String>, usize);

/// Writes the layer's tree, if its blob is what it must be.
fn write(
    repo: &ostree::Repo,
    blob: impl Read,
    expected: &Expected,
    progress: &dyn Fn(u64),
) -> Result<Content<Known>> {
    let (packed, blob) = Meter::new(Told { inner: blob, tell: progress });
    let archive = decompress(blob).context(|| "cannot unpack it".into())?;
    let (unpacked, archive) = Meter::new(archive);
    let mut archive = Archive::new(archive);
    let mut builder = Builder::new(repo)?;
    let readable = || "not a readable tar archive".into();
    while let Some(entry) = archive.next_entry().context(readable)? {
        builder.add(&entry, &mut archive)?;
    }
    // What follows the archive's end counts for the digests; decompressors may stop before the blob ends.
    let rest = || "cannot read what follows the archive".to_string();
    let mut archive = archive.into_inner();
    io::copy(&mut archive, &mut io::sink()).context(rest)?;
    io::copy(&mut archive.into_inner().into_rest(), &mut io::sink()).context(rest)?;
    for (name, meter, digest) in
        [("digest", &packed, &expected.digest), ("diffID", &unpacked, &expected.diff_id)]
    {
        let found = meter.digest();
        if found != *digest {
            let why = format!("its {name} is {found}, not {digest}; nothing of it was kept");
            return Err(Error::new(why));
        }
    }
    builder.finish(expected, packed.count(), unpacked.count())
}

/// Owner, mode and extended attributes.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Metadata {
    uid: u32,
    gid: u32,
    mode: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    fn of(entry: &Entry) -> Result<Metadata> {
        let id = |value: u64, field: &str| {
            // The highest one means none to the kernel.
            let id = u32::try_from(value).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| Error::new(format!("{field} {value} is out of range")))
        };
        let (uid, gid) = (id(entry.uid, "user ID")?, id(entry.gid, "group ID")?);
        Ok(Metadata { uid, gid, mode: entry.mode & 0o7777, xattrs: xattrs_of(entry) })
    }

    /// Mode of a regular file, type included.
    fn file_mode(&self) -> u32 {
        nix::libc::S_IFREG | self.mode
    }

    /// What is before a regular file's content in its object, ostree-core.h: the length of (uid, gid, mode, rdev, symlink
    /// target, xattrs), padded to eight bytes, and these; numbers in network byte order.
    fn file_header(&self) -> Vec<u8> {
        let header = Variant::tuple_from_iter([
            self.uid.to_be().to_variant(),
            self.gid.to_be().to_variant(),
            self.file_mode().to_be().to_variant(),
            0u32.to_variant(),
            "".to_variant(),
            self.variant(),
        ]);
        let header = header.data_as_bytes();
        [&(header.len() as u32).to_be_bytes()[..], &[0; 4], &header].concat()
    }

    fn variant(&self) -> Variant {
        let list: Vec<(&[u8], &[u8])> =
            self.xattrs.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
        list.to_variant()
    }
}

/// Extended attributes; names end in NUL, as OSTree has them.
fn xattrs_of(entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut xattrs = Vec::new();
    for (name, value) in &entry.xattrs {
        // Labels are this host's to give, and overlayfs would take its own for instructions.
        if name.contains(&0) || name == b"security.selinux" || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        // libostree would count an empty one for the checksum, but not store it.
        if !value.is_empty() {
            xattrs.push(([name, &b"\0"[..]].concat(), value.clone()));
        }
    }
    xattrs.sort();
    xattrs
}

/// The tree of a layer, being built.
struct Builder<'a> {
    repo: &'a ostree::Repo,
    root: MutableTree,
    /// Checksums of directory metadata objects.
    directories: HashMap<Metadata, String>,
    implicit: BTreeSet<String>,
    /// Entries since the tree was written last.
    pending: usize,
    skipped: usize,
}

impl<'a> Builder<'a> {
    fn new(repo: &'a ostree::Repo) -> Result<Self> {
        let (root, directories) = (MutableTree::new(), HashMap::new());
        let implicit = BTreeSet::new();
        let mut builder = Builder { repo, root, directories, implicit, pending: 0, skipped: 0 };
        let metadata = builder.implicit_metadata()?;
        builder.root.set_metadata_checksum(&metadata);
        builder.implicit.insert(String::new());
        Ok(builder)
    }

    fn add(&mut self, entry: &Entry, content: &mut impl Read) -> Result<()> {
        self.pending += 1;
        if self.pending > ENTRIES {
            self.write_out()?;
        }
        let what = || format!("entry {}", archive::shown(&entry.path));
        let path = components(&entry.path).context(what)?;
        match entry.kind {
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.skipped += 1;
                Ok(())
            }
            EntryType::Directory => self.directory(entry, &path),
            EntryType::Regular | EntryType::Continuous => self.file(entry, content, &path),
            EntryType::Symlink => self.symlink(entry, &path),
            EntryType::Link => self.hard_link(entry, &path),
            other => Err(Error::new(format!("it is of unsupported type {:?}", char::from(other.as_byte())))),
        }
        .context(what)
    }

    /// Writes what is built so far, so that memory does not grow with the layer: libostree reads again what it needs of it.
    fn write_out(&mut self) -> Result<()> {
        let root = commit::write_tree(self.repo, &self.root)?;
        let content = root.tree_get_contents_checksum().unwrap_or_default();
        let metadata = root.tree_get_metadata_checksum().unwrap_or_default();
        self.root = MutableTree::from_checksum(self.repo, &content, &metadata);
        self.pending = 0;
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, path: &[String]) -> Result<()> {
        let metadata = Metadata::of(entry)?;
        let checksum = self.metadata(metadata)?;
        let directory = match path.split_last() {
            Some((name, parents)) => tree::ensure_directory(&self.parent(parents)?, name)?,
            None => self.root.clone(),
        };
        directory.set_metadata_checksum(&checksum);
        self.implicit.remove(&key(path));
        Ok(())
    }

    fn file(&mut self, entry: &Entry, content: &mut impl Read, path: &[String]) -> Result<()> {
        let metadata = Metadata::of(entry)?;
        let size = entry.size;
        let what = || "cannot write its content".to_string();
        let checksum = if size <= WHOLE {
            let mut object = metadata.file_header();
            let header = object.len();
            content.read_to_end(&mut object).context(what)?;
            check_size((object.len() - header) as u64, size)?;
            self.write_object(object).context(what)?
        } else {
            let (mode, xattrs) = (metadata.file_mode(), metadata.variant());
            let Metadata { uid, gid, .. } = metadata;
            let writer = self.repo.write_regfile(None, uid, gid, mode, size, Some(&xattrs)).context(what)?;
            let mut buffer = vec![0; CHUNK];
            let mut done = 0;
            loop {
                let length = content.read(&mut buffer).context(what)?;
                if length == 0 {
                    break;
                }
                let (_, error) = writer.write_all(&buffer[..length], NEVER).context(what)?;
                error.map_or(Ok(()), Err).context(what)?;
                done += length as u64;
            }
            check_size(done, size)?;
            writer.finish(NEVER).context(what)?.to_string()
        };
        self.put(path, &checksum)
    }

    /// Writes a file's object, unless it is there. Its checksum is made here, with the CPU's own instructions, where libostree
    /// would write the file first and then see.
    fn write_object(&self, object: Vec<u8>) -> Result<String, glib::Error> {
        let checksum = digest::hex(&Sha256::digest(&object));
        if !self.repo.has_object(ObjectType::File, &checksum, NEVER)? {
            let length = object.len() as u64;
            let stream = MemoryInputStream::from_bytes(&Bytes::from_owned(object));
            self.repo.write_content_trusted(&checksum, &stream, length, NEVER)?;
        }
        Ok(checksum)
    }

    fn symlink(&mut self, entry: &Entry, path: &[String]) -> Result<()> {
        let Metadata { uid, gid, xattrs, .. } = Metadata::of(entry)?;
        let target = String::from_utf8(entry.target.clone()).context(|| "its target is not UTF-8".into())?;
        if target.is_empty() || target.len() >= PATH_MAX || target.contains('\0') {
            return Err(Error::new("its target is empty, too long or holds a NUL character"));
        }
        let xattrs = Metadata { uid, gid, mode: 0, xattrs }.variant();
        let checksum = self
            .repo
            .write_symlink(None, uid, gid, Some(&xattrs), &target, NEVER)
            .context(|| "cannot write it".into())?;
        self.put(path, &checksum)
    }

    /// The same content has the same checksum, so checkouts have one inode for both.
    fn hard_link(&mut self, entry: &Entry, path: &[String]) -> Result<()> {
        let what = || format!("it is a hard link to {}", archive::shown(&entry.target));
        let target = components(&entry.target).context(what)?;
        let found = target.split_last().and_then(|(name, parents)| {
            let directory = self.walk(parents)?;
            directory.lookup(name).ok()?.0
        });
        let checksum = found.ok_or_else(|| Error::new("which is no file of this layer")).context(what)?;
        self.put(path, &checksum)
    }

    fn put(&mut self, path: &[String], checksum: &str) -> Result<()> {
        let (name, parents) =
            path.split_last().ok_or_else(|| Error::new("it would replace the root directory"))?;
        tree::replace_file(&self.parent(parents)?, name, checksum)
    }

    fn walk(&self, path: &[String]) -> Option<MutableTree> {
        let mut directory = self.root.clone();
        for name in path {
            directory = directory.lookup(name).ok()?.1?;
        }
        Some(directory)
    }

    /// The directory that a path is in. Archives may leave out the entries of directories, but nothing is put through a
    /// symlink.
    fn parent(&mut self, path: &[String]) -> Result<MutableTree> {
        let mut directory = self.root.clone();
        for (depth, name) in path.iter().enumerate() {
            directory = match directory.lookup(name) {
                Ok((_, Some(below))) => below,
                Ok((Some(_), None)) => {
                    let parent = archive::shown(path[..=depth].join("/").as_bytes());
                    return Err(Error::new(format!("it is below {parent}, which is a file or a symlink")));
                }
                _ => {
                    let metadata = self.implicit_metadata()?;
                    let below = tree::ensure_directory(&directory, name)?;
                    below.set_metadata_checksum(&metadata);
                    self.implicit.insert(key(&path[..=depth]));
                    below
                }
            };
        }
        Ok(directory)
    }

    fn implicit_metadata(&mut self) -> Result<String> {
        self.metadata(Metadata { uid: 0, gid: 0, mode: 0o755, xattrs: Vec::new() })
    }

    fn metadata(&mut self, metadata: Metadata) -> Result<String> {
        if let Some(checksum) = self.directories.get(&metadata) {
            return Ok(checksum.clone());
        }
        // (uid, gid, mode, xattrs), numbers in network byte order: ostree-core.h.
        let (uid, gid) = (metadata.uid.to_be(), metadata.gid.to_be());
        let mode = (nix::libc::S_IFDIR | metadata.mode).to_be();
        let variant = Variant::tuple_from_iter([
            uid.to_variant(),
            gid.to_variant(),
            mode.to_variant(),
            metadata.variant(),
        ]);
        let checksum = self
            .repo
            .write_metadata(ObjectType::DirMeta, None, &variant, NEVER)
            .context(|| "cannot write directory metadata".into())?
            .to_hex();
        self.directories.insert(metadata, checksum.clone());
        Ok(checksum)
    }

    fn finish(self, expected: &Expected, packed: u64, unpacked: u64) -> Result<Content<Known>> {
        let metadata = VariantDict::new(None);
        metadata.insert(SIZE, packed.to_string());
        metadata.insert(UNCOMPRESSED_SIZE, unpacked.to_string());
        metadata.insert(UNCOMPRESSED_DIGEST, expected.diff_id.to_string());
        metadata.insert(IMPLICIT, self.implicit.iter().cloned().collect::<Vec<_>>());
        let root = commit::write_tree(self.repo, &self.root)?;
        Ok(Content { root, metadata: metadata.end(), more: (self.implicit, self.skipped) })
    }
}

fn check_size(found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::new(format!("it ends after {found} of {expected} bytes")))
}

/// The names in a path; those of the root directory are none.
fn components(path: &[u8]) -> Result<Vec<String>> {
    if path.len() >= PATH_MAX {
        return Err(Error::new("its path is too long"));
    }
    let path = std::str::from_utf8(path).context(|| "its path is not UTF-8".into())?;
    let mut names = Vec::new();
    for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if name == ".." || name.contains('\0') || name.len() > NAME_MAX {
            return Err(Error::new(
                "its path climbs with '..', or holds a NUL character or a name of over 255 bytes",
            ));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// How [`Layer::implicit`] names a directory.
fn key(path: &[String]) -> String {
    path.iter().flat_map(|name| ["/", name]).collect()
}
