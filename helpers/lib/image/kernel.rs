//! The directories of an image that the kernel's file systems are mounted on.
//!
//! Runtimes make devices and links in `/dev` of a root file system before it is the payload's root, and crun and runc
//! look it up by its path then. If it is a symlink, it is followed on the host: whatever it leads to there gets these
//! files, and loses one called `ptmx`. So of an image whose configuration is made here, these are directories, or
//! missing.

use crate::error::{Error, Result};
use crate::image::tree::{FileKind, Tree};
use crate::paths::KERNEL;

/// Fails if one of these is anything but a directory.
pub fn check(tree: &dyn Tree) -> Result<()> {
    KERNEL.iter().try_for_each(|path| match tree.kind(path.trim_start_matches('/'))? {
        None | Some(FileKind::Directory) => Ok(()),
        Some(kind) => Err(refusal(path, &shown(&kind))),
    })
}

fn shown(kind: &FileKind) -> String {
    match kind {
        FileKind::Directory => "a directory".into(),
        FileKind::Regular => "a regular file".into(),
        FileKind::Symlink(target) => format!("a symlink to {:?}", target.to_string_lossy()),
        FileKind::Special => "a device, a FIFO or a socket".into(),
    }
}

fn refusal(path: &str, what: &str) -> Error {
    Error::new(format!(
        "its {path} is {what}, not a directory, and runtimes would write to wherever that leads on this host; build the image with a directory there, or with nothing"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tree::Directory;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn places_of_the_kernels_are_directories_or_missing() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Directory(dir.path().to_path_buf());
        assert!(check(&tree).is_ok());
        for name in ["dev", "proc", "sys"] {
            let path = dir.path().join(name);
            for target in ["/etc/sudoers.d", "v/link", "none", "proc", "../../dev", "."] {
                symlink(target, &path).unwrap();
                let error = check(&tree).unwrap_err().to_string();
                let expected = format!("its /{name} is a symlink to {target:?}, not a directory, and ");
                assert!(error.starts_with(&expected), "{error}");
                fs::remove_file(&path).unwrap();
            }
            fs::write(&path, "").unwrap();
            assert!(check(&tree).unwrap_err().to_string().contains("is a regular file"));
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(check(&tree).is_ok());
        }
    }
}
