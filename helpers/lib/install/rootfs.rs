//! Root file systems that are used in place: the directories that `--rootfs=` names.

use std::fs;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::image::check::Checked;
use crate::install::draft;
use crate::oci::mountpoints;
use crate::paths::{Root, TreePath};
use crate::system::files;

/// The root file system in the directory that `--rootfs=` names, as programs inside the tree see it: the directory itself, or
/// `rootfs` in it. It is in the tree, whether it is named as it is there or as it is from here, and so is what links lead to.
pub fn find(root: &Root, directory: &Path) -> Result<TreePath> {
    let what = || format!("cannot use the root file system {}", directory.display());
    let resolve = |path: &TreePath| files::resolve_inside(root.path(), path.as_path()).map(TreePath::new);
    let named = root.inside(&std::path::absolute(directory).context(what)?);
    let directory = resolve(&named).context(what)?;
    fs::metadata(root.join(&directory)).context(what)?;
    let inner = resolve(&directory.join("rootfs")).context(what)?;
    if root.join(&inner).is_dir() {
        if !inner.starts_with(&directory) {
            let why = format!("rootfs in it is a symlink to {inner}; name that directory, if it is meant");
            return Err(Error::new(why)).context(what);
        }
        return Ok(inner);
    }
    if root.join(&resolve(&directory.join("usr")).context(what)?).is_dir() {
        return Ok(directory);
    }
    Err(Error::new("there is neither a directory rootfs nor a directory usr in it")).context(what)
}

/// Checks a root file system that is not ours. Nothing is written to it here; the runtime creates missing mount points,
/// if it can, or makes them in the overlay that is over it.
pub fn check_mount_points(rootfs: &Path, rendered: &Checked, warn: &dyn Fn(&str)) -> Result<()> {
    let Some((_, config)) = &rendered.config else { return Ok(()) };
    let missing = mountpoints::missing(rootfs, config, &draft::mount_files(rendered))?;
    if missing.is_empty() || rendered.has_scratch() {
        return Ok(());
    }
    let list = missing.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let what = format!("the root file system {} lacks the mount points {list}", rootfs.display());
    match nix::unistd::access(rootfs, nix::unistd::AccessFlags::W_OK) {
        Ok(()) => warn(&format!("{what}; the runtime will make them")),
        Err(_) => return Err(Error::new(format!("{what}, and it is read-only; make them there"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tree_names_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        let root = Root::new(&tree);
        fs::create_dir_all(tree.join("srv/web/usr")).unwrap();
        fs::create_dir_all(tree.join("srv/app/rootfs")).unwrap();
        fs::create_dir_all(outside.join("usr")).unwrap();
        std::os::unix::fs::symlink("/srv/web", tree.join("srv/link")).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("srv/out")).unwrap();
        for (named, found) in [
            ("/srv/web", "/srv/web"),
            ("/srv/link", "/srv/web"),
            ("/srv/app", "/srv/app/rootfs"),
            ("/../srv/web/../app/", "/srv/app/rootfs"),
        ] {
            assert_eq!(find(&root, named.as_ref()).unwrap(), TreePath::new(found), "{named}");
            let from_here = tree.join(named.trim_start_matches('/'));
            assert_eq!(find(&root, &from_here).unwrap(), TreePath::new(found), "{named}");
        }
        let host = |named: &Path| find(&Root::default(), named).unwrap();
        let real = TreePath::new(tree.canonicalize().unwrap());
        assert_eq!(host(&tree.join("srv/app")), real.join("srv/app/rootfs"));
        assert_eq!(host(&tree.join("srv/out")), TreePath::new(outside.canonicalize().unwrap()));
        let why = |named: &Path| find(&root, named).unwrap_err().to_string();
        for named in [Path::new("/srv/out"), outside.as_path(), Path::new("/srv/../../outside")] {
            assert!(why(named).contains("No such file or directory"), "{}", why(named));
        }
        std::os::unix::fs::symlink("/srv/app/rootfs", tree.join("srv/web/rootfs")).unwrap();
        assert!(why("/srv/web".as_ref()).contains("rootfs in it is a symlink to /srv/app/rootfs"));
        fs::remove_dir_all(tree.join("srv/web/usr")).unwrap();
        fs::remove_file(tree.join("srv/web/rootfs")).unwrap();
        assert!(why("/srv/web".as_ref()).contains("neither a directory rootfs nor"));
    }
}
