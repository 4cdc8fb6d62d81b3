//! Archives at sources, which anybody may have written, and may still write.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use super::blob::{self, Unpacked};
use super::limits;
use crate::error::{Context, Result};
use crate::system::directory::{Directory, Links};

/// How long an archive is read: longer than the largest one takes on a slow disk.
const TIME: Duration = Duration::from_secs(600);

/// The content of an archive, of which there is only so much, for so long.
pub struct Content {
    inner: Unpacked<BufReader<File>>,
    left: u64,
    end: Instant,
}

/// Opens an archive, which is a regular file; nothing is waited for.
pub fn open(path: &Path) -> Result<Content> {
    let what = || format!("cannot read {}", path.display());
    let resolved = path.canonicalize().context(what)?;
    open_resolved(&resolved).context(what)
}

/// Opens an archive by a path in which there are no links.
pub fn open_resolved(path: &Path) -> Result<Content> {
    let root = Directory::open(Path::new("/")).context(|| "/".into())?;
    let what = || "it cannot be opened".to_string();
    let file = root.file(path.strip_prefix("/").unwrap_or(path), Links::Refused).context(what)?;
    let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).context(what)?;
    let left = limits::unpacked(file.metadata().context(what)?.len());
    let inner = blob::decompress(file).context(what)?;
    Ok(Content { inner, left, end: Instant::now() + TIME })
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.end {
            return Err(io::Error::other(format!("reading it takes longer than {} seconds", TIME.as_secs())));
        }
        let length = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::other(format!("it is larger than 2 GiB and than {} times its file", limits::RATIO))
        })?;
        Ok(length)
    }
}
