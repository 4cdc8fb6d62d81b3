//! Room for what is mounted in a directory of the host that is mounted itself: runtimes make what is missing there, where
//! they can.

use std::path::Path;

use rustix::fs::{FileType, StatVfsMountFlags};

use crate::error::{Context, Error, Result};
use crate::system::directory::{self, Directory};

/// Fails if the place `below` in the directory `source` is missing, and cannot be made. A link or a file on the way is
/// somebody else's to judge.
pub fn check(source: &Path, below: &Path) -> Result<()> {
    // Without it, nothing is mounted at all.
    let Ok(mut directory) = Directory::open(source) else { return Ok(()) };
    for name in below {
        let what = || format!("cannot look at {}", directory.path_of(name).display());
        match directory.stat_of(name).context(what)?.as_ref().map(directory::kind) {
            None => return check_writable(&directory, source, below),
            Some(FileType::Directory) => directory = directory.child(name).context(what)?,
            Some(_) => break,
        }
    }
    Ok(())
}

fn check_writable(directory: &Directory, source: &Path, below: &Path) -> Result<()> {
    let what = || format!("cannot look at the file system of {}", directory.path().display());
    if !rustix::fs::fstatvfs(directory).context(what)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    Err(Error::new(format!(
        "there is no {} in {}, and it cannot be made on a read-only file system; make it, or mount that elsewhere",
        below.display(),
        source.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::mounts;
    use std::fs;

    #[test]
    fn what_is_missing_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("there")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for below in ["there", "there/not", "file", "file/x", "none/at/all"] {
            check(dir.path(), below.as_ref()).unwrap();
        }
        check(&dir.path().join("none"), "x".as_ref()).unwrap();
    }

    #[test]
    fn but_not_on_a_read_only_file_system() {
        let is_read_only = |path: &Path| {
            let found = path.is_dir().then(|| rustix::fs::statvfs(path).ok()).flatten();
            found.is_some_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
        };
        let table = mounts::table().unwrap();
        let Some(mount) = table.iter().find(|mount| is_read_only(&mount.point)) else {
            return eprintln!("skipped: nothing is read-only here");
        };
        let refused = check(&mount.point, "none/x".as_ref()).unwrap_err().to_string();
        let expected = format!("there is no none/x in {}, and it cannot be made", mount.point.display());
        assert!(refused.starts_with(&expected), "{refused}");
        check(&mount.point, Path::new("")).unwrap();
    }
}
