//! Attributes of files in layers, in the form of the repository's objects.

use ostree::glib::Variant;
use ostree::prelude::ToVariant;

use super::archive::Member;
use super::limits;
use super::mtime;
use crate::error::{Error, Result};

/// Prefix of our own attributes, which no archive may bring.
pub const OWN: &[u8] = b"trusted.syscontainers.";
/// Name of the attribute of a FIFO, which a repository cannot contain: an empty file stands for it, and every checkout makes
/// one in its place.
pub const FIFO: &str = "trusted.syscontainers.fifo";

/// Extended attributes, by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Owner, mode and extended attributes of a file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
    /// Extended attributes, by name, with the time; names end in NUL, as OSTree has them.
    pub xattrs: Xattrs,
}

impl Attributes {
    /// The attributes of a member of an archive.
    pub fn of(member: &Member) -> Result<Attributes> {
        let id = |value: u64, field: &str| {
            // The highest ID means "none" to the kernel.
            let id = u32::try_from(value).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| Error::new(format!("{field} {value} is out of range")))
        };
        let (uid, gid) = (id(member.uid, "user ID")?, id(member.gid, "group ID")?);
        Ok(Attributes { uid, gid, mode: member.mode & 0o7777, xattrs: xattrs_of(member)? })
    }

    /// Those of the file that stands for a FIFO.
    pub fn of_fifo(member: &Member) -> Result<Attributes> {
        let mut attributes = Attributes::of(member)?;
        // libostree does not store an empty value.
        attributes.xattrs.push((format!("{FIFO}\0").into_bytes(), b"1".to_vec()));
        attributes.xattrs.sort();
        Ok(attributes)
    }

    /// Whether a file with these extended attributes stands for a FIFO.
    pub fn are_of_fifo(xattrs: &Variant) -> bool {
        let found: Option<Xattrs> = xattrs.get();
        found.unwrap_or_default().iter().any(|(name, _)| name.strip_suffix(b"\0") == Some(FIFO.as_bytes()))
    }

    /// Those of a directory, from its metadata object.
    pub fn of_directory(metadata: &Variant) -> Result<Attributes> {
        let found: Option<(u32, u32, u32, Xattrs)> = metadata.get();
        let (uid, gid, mode, xattrs) =
            found.ok_or_else(|| Error::new("it is not the metadata of a directory"))?;
        Ok(Attributes { uid: u32::from_be(uid), gid: u32::from_be(gid), mode: u32::from_be(mode), xattrs })
    }

    /// Mode of a regular file, including the type.
    pub fn file_mode(&self) -> u32 {
        nix::libc::S_IFREG | self.mode
    }

    /// What a regular file's object has before the content, see ostree-core.h: the length, padded to eight bytes, of
    /// (uid, gid, mode, rdev, symlink target, xattrs), and these; numbers are in network byte order.
    pub fn file_header(&self) -> Vec<u8> {
        self.header(self.file_mode(), "")
    }

    /// The same of a symlink, which is its whole object. All of them have the same mode.
    pub fn symlink_header(&self, target: &str) -> Vec<u8> {
        self.header(nix::libc::S_IFLNK | 0o777, target)
    }

    fn header(&self, mode: u32, target: &str) -> Vec<u8> {
        let header = Variant::tuple_from_iter([
            self.uid.to_be().to_variant(),
            self.gid.to_be().to_variant(),
            mode.to_be().to_variant(),
            0u32.to_variant(),
            target.to_variant(),
            self.xattrs_variant(),
        ]);
        let header = header.data_as_bytes();
        [&(header.len() as u32).to_be_bytes()[..], &[0; 4], &header].concat()
    }

    /// The metadata object of a directory: (uid, gid, mode, xattrs), see ostree-core.h.
    pub fn directory_variant(&self) -> Variant {
        Variant::tuple_from_iter([
            self.uid.to_be().to_variant(),
            self.gid.to_be().to_variant(),
            (nix::libc::S_IFDIR | self.mode).to_be().to_variant(),
            self.xattrs_variant(),
        ])
    }

    /// The extended attributes as system calls take them.
    pub fn named(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.xattrs.iter().map(|(name, value)| (name.strip_suffix(b"\0").unwrap_or(name), value.as_slice()))
    }

    /// The extended attributes as libostree takes them.
    pub fn xattrs_variant(&self) -> Variant {
        let list: Vec<(&[u8], &[u8])> =
            self.xattrs.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
        list.to_variant()
    }
}

/// Whether two files have the same extended attributes, in whatever order.
pub fn are_same(one: &Xattrs, other: &Xattrs) -> bool {
    let sorted = |xattrs: &Xattrs| {
        let mut xattrs = xattrs.clone();
        xattrs.sort();
        xattrs
    };
    sorted(one) == sorted(other)
}

fn xattrs_of(member: &Member) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs = Vec::new();
    let mut size = 0;
    for (name, value) in &member.xattrs {
        // Labels are assigned by this host, overlayfs would obey its own attributes, and we ours.
        let is_refused =
            name == b"security.selinux" || name.starts_with(b"trusted.overlay.") || name.starts_with(OWN);
        if name.contains(&0) || is_refused {
            continue;
        }
        // libostree would include an empty one in the checksum, but not store it.
        if !value.is_empty() {
            size += name.len() + value.len();
            xattrs.push(([name, &b"\0"[..]].concat(), value.clone()));
        }
    }
    if size > limits::XATTRS {
        let limit = limits::XATTRS >> 10;
        return Err(Error::new(format!("its extended attributes are more than {limit} KiB")));
    }
    if let Some(time) = member.mtime.to_attribute() {
        xattrs.push((format!("{}\0", mtime::ATTRIBUTE).into_bytes(), time.into_bytes()));
    }
    xattrs.sort();
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::mtime::ModificationTime;
    use tar::EntryType;

    #[test]
    fn the_time_is_an_attribute_that_archives_cannot_bring() {
        let member = |mtime: u64| Member {
            kind: EntryType::Regular,
            path: Vec::new(),
            target: Vec::new(),
            uid: 0,
            gid: 0,
            mode: 0o644,
            size: 0,
            mtime: ModificationTime::of_seconds(mtime),
            xattrs: ["trusted.overlay.opaque", "trusted.syscontainers.mtime", "trusted.x", "user.x"]
                .map(|name| (name.into(), b"7".to_vec()))
                .into(),
        };
        let attributes = |mtime| Attributes::of(&member(mtime)).unwrap().xattrs;
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(attributes(0), [pair("trusted.x\0", "7"), pair("user.x\0", "7")]);
        let time = pair("trusted.syscontainers.mtime\0", "8");
        assert_eq!(attributes(8), [time, pair("trusted.x\0", "7"), pair("user.x\0", "7")]);
    }
}
