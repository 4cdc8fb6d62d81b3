//! The index of a git repository, gitformat-index(5): what is staged.

use crate::error::{Error, Result};

/// A file that is staged.
#[derive(Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Path in the repository.
    pub path: Vec<u8>,
    /// Type and permissions.
    pub mode: u32,
    /// The name of the content: its SHA-1, after a header.
    pub name: [u8; 20],
    /// Size of the file in bytes, and when it was modified, as they were then.
    pub size: u32,
    pub seconds: u32,
    pub nanoseconds: u32,
}

/// Sizes of what an entry begins with.
const FIXED: usize = 62;
/// Bits of an entry's flags.
const EXTENDED: u16 = 0x4000;
const LENGTH: u16 = 0xfff;
/// How many bytes all paths may have, which version 4 compresses.
const PATHS_MAX: usize = 64 << 20;

/// Reads an index. Its extensions are left out.
pub fn read(content: &[u8]) -> Result<Vec<IndexEntry>> {
    parse(content).ok_or_else(|| Error::new("the repository's index has a format that is not known here"))
}

fn parse(content: &[u8]) -> Option<Vec<IndexEntry>> {
    let version = number(content, 4)?;
    if content.get(..4)? != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let (mut at, mut path) = (12, Vec::new());
    let (mut entries, mut left) = (Vec::new(), PATHS_MAX);
    for _ in 0..number(content, 8)? {
        let entry = content.get(at..)?;
        let flags = u16::from_be_bytes(entry.get(60..62)?.try_into().ok()?);
        let fixed = if flags & EXTENDED != 0 { FIXED + 2 } else { FIXED };
        let mut rest = entry.get(fixed..)?;
        let kept = if version == 4 { kept(path.len(), &mut rest)? } else { 0 };
        let length = rest.iter().position(|byte| *byte == 0)?;
        path.truncate(kept);
        path.extend_from_slice(&rest[..length]);
        left = left.checked_sub(path.len())?;
        // Otherwise, names of contents have another size.
        if flags & LENGTH != LENGTH.min(u16::try_from(path.len()).unwrap_or(LENGTH)) {
            return None;
        }
        let used = entry.len() - rest.len() + length;
        // Before version 4, one to eight zeros end an entry.
        at += if version == 4 { used + 1 } else { (used + 8) & !7 };
        entries.push(IndexEntry {
            path: path.clone(),
            mode: number(entry, 24)?,
            name: entry.get(40..60)?.try_into().ok()?,
            size: number(entry, 36)?,
            seconds: number(entry, 8)?,
            nanoseconds: number(entry, 12)?,
        });
    }
    Some(entries)
}

fn number(content: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(content.get(at..at + 4)?.try_into().ok()?))
}

/// How much of the path before it the path of an entry begins with.
fn kept(length: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut dropped = 0usize;
    for (index, byte) in rest.iter().enumerate() {
        // Each further byte begins where shorter numbers end.
        dropped = (dropped.checked_mul(128)?).checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return length.checked_sub(dropped);
        }
        dropped = dropped.checked_add(1)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], version: u32, before: usize) -> Vec<u8> {
        let mut out = vec![0; FIXED];
        out[8..12].copy_from_slice(&7u32.to_be_bytes());
        out[24..28].copy_from_slice(&0o100_644u32.to_be_bytes());
        out[36..40].copy_from_slice(&9u32.to_be_bytes());
        out[40] = 5;
        out[60..62].copy_from_slice(&(path.len() as u16).to_be_bytes());
        if version == 4 {
            out.push(before as u8);
        }
        out.extend(path);
        out.push(0);
        while version != 4 && out.len() % 8 != 0 {
            out.push(0);
        }
        out
    }

    fn index(version: u32, entries: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b"DIRC".to_vec();
        out.extend(version.to_be_bytes());
        out.extend((entries.len() as u32).to_be_bytes());
        entries.iter().for_each(|entry| out.extend(entry));
        out.extend([0; 20]);
        out
    }

    #[test]
    fn every_version_is_read() {
        for version in [2, 3, 4] {
            let content = index(version, &[entry(b"a", version, 0), entry(b"bcd", version, 1)]);
            let entries = read(&content).unwrap();
            assert_eq!(
                entries.iter().map(|e| &*e.path).collect::<Vec<_>>(),
                [&b"a"[..], b"bcd"],
                "{version}"
            );
            let first = &entries[0];
            assert_eq!((first.mode, first.size, first.seconds, first.name[0]), (0o100_644, 9, 7, 5));
            for length in 0..content.len() - 28 {
                assert!(read(&content[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn never_panics() {
        let good = index(4, &[entry(b"a", 4, 0), entry(b"bcd", 4, 1)]);
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = read(&bad);
            }
        }
        assert!(read(b"DIRC").is_err() && read(&[0xff; 100]).is_err());
    }
}
