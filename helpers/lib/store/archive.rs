//! Tar archives, read one member after the other: ustar, long names as GNU tar writes them, and PAX records.
//!
//! The crate tar parses headers. Everything else is read here, in the same way as by container engines: that crate
//! splits PAX records at newlines, which values may contain (capabilities are binary), and reads names of any length
//! into memory.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{EntryType, Header};

use super::limits;
use super::mtime::ModificationTime;
use crate::error::{Context, Error, Result};

/// Size of a header in bytes; content is padded to a multiple of it.
const BLOCK: usize = 512;
/// How many bytes of a path are shown in messages.
const SHOWN_MAX: usize = 128;

/// A member of an archive, as described by its header and the records before that.
pub struct Member {
    /// Type of the file.
    pub kind: EntryType,
    /// Path as it was packed.
    pub path: Vec<u8>,
    /// Target of a hard link or symlink.
    pub target: Vec<u8>,
    /// User ID of the owner.
    pub uid: u64,
    /// Group ID.
    pub gid: u64,
    /// Permissions, and whatever else the field contains.
    pub mode: u32,
    /// Length of the content that follows.
    pub size: u64,
    /// When it was last modified.
    pub mtime: ModificationTime,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// An archive. Reading from it yields the content of the member that was returned last.
pub struct Archive<R> {
    inner: R,
    /// Bytes left of the content, and of the padding of its last block.
    left: u64,
    padding: u64,
}

/// What the records before a header say about a member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    pax: Option<Pax>,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    mtime: Option<ModificationTime>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<R: Read> Archive<R> {
    /// Reads an archive from its start.
    pub fn new(inner: R) -> Archive<R> {
        Archive { inner, left: 0, padding: 0 }
    }

    /// The part that has not been read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Returns the next member, whether the content of the last one was read or not.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        let mut before = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                if before.path.is_some() || before.target.is_some() || before.pax.is_some() {
                    return Err(Error::new("its last entry is missing"));
                }
                return Ok(None);
            };
            let size = header.entry_size().context(|| "invalid size".into())?;
            match header.entry_type() {
                EntryType::GNULongName => before.path = Some(until_nul(self.extension(size)?)),
                EntryType::GNULongLink => before.target = Some(until_nul(self.extension(size)?)),
                EntryType::XHeader => before.pax = Some(Pax::parse(&self.extension(size)?)?),
                EntryType::XGlobalHeader => {
                    // Container engines ignore global records, too.
                    self.extension(size)?;
                }
                _ => return self.entry(&header, size, before).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, before: Extensions) -> Result<Member> {
        let pax = before.pax.unwrap_or_default();
        let path = before.path.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let target = before.target.or(pax.target);
        let target = target.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let kind = match header.entry_type() {
            // Old archives do not have a type for directories.
            EntryType::Regular if header.as_bytes()[156] == 0 && path.ends_with(b"/") => EntryType::Directory,
            other => other,
        };
        // Members without content may have a size nevertheless, such as that of a hard link's target.
        let has_content = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        let size = if has_content { pax.size.unwrap_or(size) } else { 0 };
        self.expect(size);
        let what = |field: &str| format!("entry {}: invalid {field}", shown(&path));
        Ok(Member {
            kind,
            target: target.unwrap_or_default(),
            uid: pax.uid.map_or_else(|| header.uid(), Ok).context(|| what("user ID"))?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok).context(|| what("group ID"))?,
            mode: header.mode().context(|| what("mode"))?,
            size,
            // A time that cannot be read is none.
            mtime: pax
                .mtime
                .unwrap_or_else(|| ModificationTime::of_seconds(header.mtime().unwrap_or_default())),
            xattrs: pax.xattrs,
            path,
        })
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Reads the next header; `None` at the end, with or without a block of zeros.
    fn header(&mut self) -> Result<Option<Header>> {
        let what = || "cannot read a header".to_string();
        io::copy(self, &mut io::sink()).context(what)?;
        if self.left > 0 {
            return Err(Error::new("it is truncated within an entry"));
        }
        io::copy(&mut self.inner.by_ref().take(self.padding), &mut io::sink()).context(what)?;
        self.expect(0);
        let mut block = Vec::new();
        self.inner.by_ref().take(BLOCK as u64).read_to_end(&mut block).context(what)?;
        if block.is_empty() || block.len() == BLOCK && block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if block.len() < BLOCK {
            return Err(Error::new("it is truncated within a header"));
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        // The checksum is that of the header with blanks in place of the checksum.
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(Error::new("the checksum of a header is wrong"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > limits::EXTENSION {
            let limit = limits::EXTENSION;
            return Err(Error::new(format!("a name or PAX record is longer than {limit} bytes")));
        }
        self.expect(size);
        let mut content = Vec::new();
        self.read_to_end(&mut content).context(|| "cannot read a name or PAX record".into())?;
        Ok(content)
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.by_ref().take(self.left).read(buffer)?;
        self.left -= length as u64;
        Ok(length)
    }
}

impl Pax {
    fn parse(mut records: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or_else(|| Error::new("malformed PAX record"))?;
            records = rest;
            let number = || -> Result<Option<u64>> {
                let text = std::str::from_utf8(value).context(|| "malformed PAX record".into())?;
                if text.is_empty() {
                    return Ok(None);
                }
                text.parse().map(Some).context(|| format!("PAX record: {} is not a number", shown(value)))
            };
            // An empty value revokes a record, see pax(1).
            let text = || (!value.is_empty()).then(|| value.to_vec());
            match key {
                b"path" => pax.path = text(),
                b"linkpath" => pax.target = text(),
                b"uid" => pax.uid = number()?,
                b"gid" => pax.gid = number()?,
                b"size" => pax.size = number()?,
                b"mtime" => {
                    let time = ModificationTime::of_record(value);
                    let malformed = || Error::new(format!("PAX record: {} is not a time", shown(value)));
                    pax.mtime = if value.is_empty() { None } else { Some(time.ok_or_else(malformed)?) };
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::new("sparse files are not supported"));
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        match text() {
                            Some(value) => pax.xattrs.insert(name.to_vec(), value),
                            None => pax.xattrs.remove(name),
                        };
                    }
                }
            }
        }
        Ok(pax)
    }
}

/// The key and the value of the first record, `LENGTH KEY=VALUE\n` where the length counts itself, and the records
/// after it.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let text = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], &records[length..]))
}

/// A path as it is shown in messages: quoted, and truncated if it is long.
pub fn shown(path: &[u8]) -> String {
    match path.get(..SHOWN_MAX) {
        Some(start) if path.len() > SHOWN_MAX => format!("{:?}...", String::from_utf8_lossy(start)),
        _ => format!("{:?}", String::from_utf8_lossy(path)),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each record is looked at once, however many there are.
    #[test]
    fn records_are_read_in_linear_time_and_the_last_one_counts() {
        let mut records = String::new();
        for n in 0..30_000 {
            let rest = format!(" SCHILY.xattr.user.{:05}={n}\n", n % 20_000);
            records.push_str(&format!("{}{rest}", rest.len() + 2));
        }
        records.push_str("24 SCHILY.xattr.user.00001=\n".replace("24", "28").as_str());
        let pax = Pax::parse(records.as_bytes()).unwrap();
        assert_eq!(pax.xattrs.len(), 19_999);
        assert_eq!(pax.xattrs[&b"user.00002"[..]], b"20002");
        assert!(!pax.xattrs.contains_key(&b"user.00001"[..]));
    }
}
