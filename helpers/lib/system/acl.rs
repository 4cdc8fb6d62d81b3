//! POSIX access control lists of directories, as the kernel has them in an extended attribute.
//!
//! A list may let users and groups write who are in no mode: the group's bits of a mode are then the list's mask, which
//! does not say whom it applies to.

use std::path::Path;

use rustix::fs::getxattr;
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// The attribute, and the version of its format.
const ATTRIBUTE: &str = "system.posix_acl_access";
const VERSION: u32 = 2;
/// As large as the kernel lets an attribute be.
const LIMIT: usize = 64 << 10;
/// Tags of entries for users and groups that are named, and of the mask.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
/// Tag of the entry for the group of the file.
const OWN_GROUP: u16 = 0x04;
/// Permission to write.
const WRITE: u16 = 0o2;

/// What a list adds to a mode.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Whether the group of the file may write to it.
    pub group_writes: bool,
    /// Users, and then groups, that are named and may write to it.
    pub users: Vec<u32>,
    pub groups: Vec<u32>,
}

impl Acl {
    /// The list of a file; `None` if it has none, so that its mode says everything.
    pub fn of(path: &Path) -> Result<Option<Acl>> {
        let what = || format!("cannot read the access control list of {}", path.display());
        let mut value = vec![0; LIMIT];
        match getxattr(path, ATTRIBUTE, &mut value) {
            Ok(length) => Acl::parse(&value[..length]).map(Some).context(what),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(e) => Err(std::io::Error::from(e)).context(what),
        }
    }

    /// A version, and entries of a tag, permissions and an ID, all little-endian.
    fn parse(value: &[u8]) -> Result<Acl> {
        let unknown = || Error::new("it has an unknown format");
        let (version, entries) = value.split_at_checked(4).ok_or_else(unknown)?;
        if version != VERSION.to_le_bytes() || entries.len() % 8 != 0 {
            return Err(unknown());
        }
        let entries = entries.chunks_exact(8).map(|entry| {
            let (tag, permissions) = (&entry[..2], &entry[2..4]);
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            (u16::from_le_bytes([tag[0], tag[1]]), u16::from_le_bytes([permissions[0], permissions[1]]), id)
        });
        let entries: Vec<(u16, u16, u32)> = entries.collect();
        let mask =
            entries.iter().find(|(tag, ..)| *tag == MASK).map_or(WRITE, |(_, permissions, _)| *permissions);
        let writers = |wanted: u16| {
            let writers = entries
                .iter()
                .filter(move |(tag, permissions, _)| *tag == wanted && permissions & mask & WRITE != 0);
            writers.map(|(.., id)| *id).collect::<Vec<u32>>()
        };
        Ok(Acl { group_writes: !writers(OWN_GROUP).is_empty(), users: writers(USER), groups: writers(GROUP) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute with these entries.
    fn attribute(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn who_may_write_is_found() {
        let entries =
            [(0x01, 7, u32::MAX), (USER, 7, 1777), (USER, 5, 1000), (OWN_GROUP, 5, u32::MAX), (GROUP, 6, 50)];
        let with_mask =
            |mask| attribute(&[&entries[..], &[(MASK, mask, u32::MAX), (0x20, 5, u32::MAX)]].concat());
        let found = Acl::parse(&with_mask(7)).unwrap();
        assert_eq!(found, Acl { group_writes: false, users: vec![1777], groups: vec![50] });
        assert_eq!(Acl::parse(&with_mask(5)).unwrap(), Acl::default());
        let group = attribute(&[(0x01, 7, u32::MAX), (OWN_GROUP, 7, u32::MAX), (0x20, 5, u32::MAX)]);
        assert!(Acl::parse(&group).unwrap().group_writes);
        for bad in [&[][..], &[2, 0, 0], &[3, 0, 0, 0], &[2, 0, 0, 0, 1]] {
            assert!(Acl::parse(bad).is_err());
        }
    }
}
