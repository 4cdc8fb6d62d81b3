//! The identity of a directory of deployments: a random number in a file of it, by which a directory is known that is not the one
//! that it was, whatever its path.

use std::path::{Path, PathBuf};

use crate::container::entries::{Entry, Record};
use crate::digest;
use crate::error::{Context, Result};
use crate::system::{files, random};

/// Bytes of an identity.
const BYTES: usize = 16;

/// Gives a directory an identity, unless it has one.
pub fn make(directory: &Path) -> Result<()> {
    if read(directory)?.is_some() {
        return Ok(());
    }
    let id = digest::hex(&random::bytes::<BYTES>()?);
    files::replace(&path_of(directory), format!("{id}\n").as_bytes(), 0o600)?;
    files::sync_directory(directory)
}

/// The identity of a directory; `None` if it has none that is valid, or does not exist.
pub fn read(directory: &Path) -> Result<Option<String>> {
    let path = path_of(directory);
    let text = files::read_bounded(&path, 4 * BYTES).context(|| format!("cannot read {}", path.display()))?;
    let id = String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned();
    let is_valid = id.len() == 2 * BYTES && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(is_valid.then_some(id))
}

fn path_of(directory: &Path) -> PathBuf {
    directory.join(Entry::Record(Record::Identity).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        assert_eq!(read(&dir.path().join("none")).unwrap(), None);
        make(dir.path()).unwrap();
        let first = read(dir.path()).unwrap();
        assert!(first.is_some());
        make(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), first);
        // As after a power failure on some file systems.
        std::fs::write(path_of(dir.path()), [0; 33]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        make(dir.path()).unwrap();
        assert!(read(dir.path()).unwrap().is_some_and(|id| Some(id) != first));
    }
}
