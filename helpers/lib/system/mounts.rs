//! Mount points as this process sees them: `mountinfo` in proc(5).
//!
//! Removing a directory must not remove the files of another file system that is mounted in it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

const TABLE: &str = "/proc/self/mountinfo";

/// Finds a mount point at or below `path`.
pub fn find(path: &Path) -> Result<Option<PathBuf>> {
    // The paths in the table have no symlinks. Nothing is mounted in a directory that does not exist.
    let Ok(path) = fs::canonicalize(path) else { return Ok(None) };
    let table = fs::read(TABLE).context(|| format!("cannot read {TABLE}"))?;
    let points = table.split(|byte| *byte == b'\n').filter_map(mount_point);
    Ok(points.into_iter().find(|point| point.starts_with(&path)))
}

/// Fails if anything is mounted at or below `path`.
pub fn refuse(path: &Path) -> Result<()> {
    match find(path)? {
        Some(point) => Err(Error::new(format!("{} is a mount point; unmount that first", point.display()))),
        None => Ok(()),
    }
}

/// The fifth field of a line. Blanks, newlines and backslashes are written as octal escapes.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let (mut path, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let octal = if *first == b'\\' { after.get(..3) } else { None };
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    Some(PathBuf::from(OsString::from_vec(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mount_points() {
        let point = |line: &str| mount_point(line.as_bytes());
        assert_eq!(point("22 1 0:4 / /proc rw,nosuid - proc proc rw"), Some("/proc".into()));
        assert_eq!(point(r"22 1 0:4 / /a\040b\134\011 rw - x x rw"), Some("/a b\\\t".into()));
        assert_eq!(point(r"22 1 0:4 / /a\0 rw - x x rw"), Some(r"/a\0".into()));
        assert_eq!(point(""), None);
        assert_eq!(find(Path::new("/proc")).unwrap(), Some("/proc".into()));
        assert!(refuse(Path::new("/proc")).is_err());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()).unwrap(), None);
        assert_eq!(find(&dir.path().join("none")).unwrap(), None);
    }
}
