//! Host files that come from an image: laying them out in a deployment, and what will be recorded about them.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;

use crate::error::{Context, Result};
use crate::host_files::changes::Facts;
use crate::host_files::record::{self, DIRECTORY};
use crate::image::layout::{HostFile, Layout};
use crate::image::tree::{FileKind, Tree};
use crate::system::directory::{self, Directory, Links};
use crate::system::files;

/// Lays files out in the deployment `directory` as they will be on the host; `rootfs` is the checked out image.
pub fn stage(layout: &Layout, rootfs: &Path, directory: &Path) -> Result<()> {
    if layout.files().is_empty() {
        return Ok(());
    }
    let rootfs = Directory::open(rootfs).context(|| format!("cannot read {}", rootfs.display()))?;
    for file in layout.files() {
        let target = record::staged(directory, &file.path);
        let what = || format!("cannot create {}", target.display());
        // Directories of the host that the image does not bring.
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).context(what)?;
        }
        let is_linked = match (&file.kind, &file.content, file.source()) {
            (FileKind::Directory, ..) => fs::create_dir_all(&target).map(|()| false),
            (_, Some(content), _) => fs::write(&target, content).map(|()| false),
            (_, None, Some(source)) => link(&rootfs, &source, &target),
            (_, None, None) => Ok(false),
        };
        // Mode and owner of a hard link are those of the store's file, which must not change.
        if !is_linked.context(what)? {
            files::set_owner(&target, file.uid, file.gid, file.mode).context(what)?;
        }
    }
    Ok(())
}

/// Makes a hard link, or a copy where the image is on another file system, as with `--rootfs=`. Returns whether it is a
/// link.
fn link(rootfs: &Directory, source: &Path, target: &Path) -> io::Result<bool> {
    let above = source.parent().unwrap_or(Path::new(""));
    let above = rootfs.find_directory(above, Links::Refused)?.ok_or(ErrorKind::NotFound)?;
    let name = source.file_name().unwrap_or_default();
    match above.hard_link(name, target) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == ErrorKind::CrossesDevices => {}
        Err(e) => return Err(e),
    }
    let found = above.stat_of(name)?.ok_or(ErrorKind::NotFound)?;
    if directory::kind(&found) == FileType::Symlink {
        std::os::unix::fs::symlink(above.link_target(name)?, target)?;
    } else {
        let mut content = above.file(name.as_ref(), Links::Refused)?.ok_or(ErrorKind::NotFound)?;
        io::copy(&mut content, &mut fs::File::create_new(target)?)?;
    }
    Ok(false)
}

/// Returns the checksum that will be recorded for a file of the image `tree`.
pub fn checksum(file: &HostFile, tree: &dyn Tree) -> Result<Option<String>> {
    Ok(match (&file.kind, &file.content, file.source()) {
        (FileKind::Directory, ..) => Some(DIRECTORY.to_owned()),
        (FileKind::Symlink(target), ..) => Some(record::sum(target.as_os_str().as_bytes())),
        (_, Some(content), _) => Some(record::sum(content.as_bytes())),
        (_, None, Some(source)) => {
            tree.digest(&source.to_string_lossy())?.map(|digest| digest.hex().to_owned())
        }
        (_, None, None) => None,
    })
}

/// Returns the owner and mode that a file will have.
pub fn facts(file: &HostFile) -> Facts {
    Facts::new(file.uid, file.gid, file.mode, matches!(file.kind, FileKind::Symlink(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::info::Values;
    use crate::image::layout::Substitution;
    use crate::image::manifest;
    use crate::image::problems::Problems;
    use crate::image::tree;

    #[test]
    fn what_is_recorded_is_what_is_staged() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, deployment) = (dir.path().join("rootfs"), dir.path().join("web.0"));
        let etc = rootfs.join("exports/hostfs/etc");
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("plain"), "$NAME").unwrap();
        fs::write(etc.join("template"), "$NAME").unwrap();
        std::os::unix::fs::symlink("plain", etc.join("link")).unwrap();
        let tree = tree::Directory(rootfs.clone());
        let manifest = manifest::parse(r#"{"installedFilesTemplate": ["/etc/template"]}"#).unwrap();
        let values = Values::from([("NAME".into(), "web".into())]);
        let substitution = Substitution { values: &values, secrets: &Default::default() };
        let layout = Layout::read(&tree, &manifest, &substitution, &mut Problems::default()).unwrap();
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        stage(&layout, &rootfs, &deployment).unwrap();
        for file in layout.files() {
            let staged = record::staged(&deployment, &file.path);
            let recorded = checksum(file, &tree).unwrap();
            assert_eq!(record::checksum(&staged).unwrap(), recorded, "{}", file.path);
            assert_eq!(Facts::read(&staged), Some(facts(file)), "{}", file.path);
        }
        let read = |name: &str| fs::read_to_string(deployment.join("hostfs/etc").join(name)).unwrap();
        assert_eq!((read("plain"), read("template")), ("$NAME".into(), "web".into()));
    }
}
