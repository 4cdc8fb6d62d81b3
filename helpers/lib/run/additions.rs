//! What a root file system needs that its image lacks. That is decided by the files of the image, which stay as they are, and
//! made in the overlay over them by who mounts it for the payload, so that it is mounted once.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::system::files;

/// Mode of what is made for something to be mounted there.
const MODE: u32 = 0o644;

/// Something to be made; the fields are JSON keys. Nothing in a path is a symlink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Addition {
    /// Text at the end of a file.
    Entry {
        /// Path in the container.
        path: PathBuf,
        /// What is added.
        text: String,
    },
    /// A directory, unless there is something.
    Directory {
        /// Path in the container.
        path: PathBuf,
        /// User that it belongs to.
        uid: u32,
        /// Group that it belongs to.
        gid: u32,
    },
    /// A symlink, unless there is something.
    Link {
        /// Path in the container.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// A regular file, in the place of whatever is none.
    File {
        /// Path in the container.
        path: PathBuf,
    },
}

impl Addition {
    /// Makes it in `rootfs`.
    pub fn make(&self, rootfs: &Path) -> Result<()> {
        let path = self.path();
        let there = rootfs.join(path.strip_prefix("/").unwrap_or(path));
        let what = || format!("cannot add {} to its root file system", path.display());
        let is_there = |there: &Path| there.symlink_metadata().is_ok();
        match self {
            Addition::Entry { text, .. } => {
                let file = OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW).open(there);
                file.and_then(|mut file| file.write_all(text.as_bytes())).context(what)
            }
            Addition::Directory { .. } | Addition::Link { .. } if is_there(&there) => Ok(()),
            Addition::Directory { uid, gid, .. } => {
                let made = fs::create_dir_all(&there);
                made.and_then(|()| chown(&there, Some(*uid), Some(*gid))).context(what)
            }
            Addition::Link { target, .. } => symlink(target, there).context(what),
            Addition::File { .. } => make_file(&there).context(what),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Addition::Entry { path, .. }
            | Addition::Directory { path, .. }
            | Addition::Link { path, .. }
            | Addition::File { path } => path,
        }
    }
}

fn make_file(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    let what = || "cannot create it".to_owned();
    path.parent().map_or(Ok(()), fs::create_dir_all).context(what)?;
    files::remove(path)?;
    let made = fs::File::create_new(path).context(what)?;
    made.set_permissions(Permissions::from_mode(MODE)).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_there_stays_and_the_rest_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let own = fs::metadata(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), "a\n").unwrap();
        symlink("/nowhere", dir.path().join("etc/hosts")).unwrap();
        let path = |path: &str| PathBuf::from(path);
        let entry = Addition::Entry { path: path("/etc/passwd"), text: "b\n".into() };
        let all = [
            Addition::Directory { path: path("/w/a"), uid: own.uid(), gid: own.gid() },
            Addition::Link { path: path("/etc/mtab"), target: path("/proc/mounts") },
            Addition::File { path: path("/etc/hosts") },
            Addition::File { path: path("/x/etc/hosts") },
        ];
        entry.make(dir.path()).unwrap();
        for _ in 0..2 {
            all.iter().for_each(|addition| addition.make(dir.path()).unwrap());
        }
        assert_eq!(fs::read_to_string(dir.path().join("etc/passwd")).unwrap(), "a\nb\n");
        assert!(dir.path().join("w/a").is_dir() && dir.path().join("x/etc/hosts").is_file());
        assert_eq!(fs::read_link(dir.path().join("etc/mtab")).unwrap(), path("/proc/mounts"));
        let made = fs::symlink_metadata(dir.path().join("etc/hosts")).unwrap();
        assert!(made.is_file() && made.permissions().mode() & 0o7777 == MODE);
        // Nothing follows a link.
        fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        symlink("hosts", dir.path().join("etc/passwd")).unwrap();
        let error = entry.make(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot add /etc/passwd to its root file system: "), "{error}");
    }
}
