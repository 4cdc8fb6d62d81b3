//! Trees of other systems, `--root=DIR`.
//!
//! A program here reaches what is in one by its path. Links in it lead where they lead on this host, which is elsewhere than
//! in the tree if they are absolute: then this host's own units would be changed, or its files be read.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::paths::{
    ATTACHED, DEPLOYMENTS, PREINSTALLED, REGISTRATIONS, RUN, Root, STUBS, SYSTEM_PRESETS, TMPFILES,
    TMPFILES_PATH, TreePath, UNITDIR, VOLUMES,
};
use crate::system::files;

/// Directories that programs use there.
const USED: [&str; 15] = [
    ATTACHED,
    REGISTRATIONS[2],
    DEPLOYMENTS,
    PREINSTALLED,
    RUN,
    STUBS,
    SYSTEM_PRESETS,
    TMPFILES,
    TMPFILES_PATH[2],
    UNITDIR,
    VOLUMES,
    "/etc/containers",
    "/etc/systemd/system",
    "/run/systemd/generator",
    "/usr/share/containers",
];

/// The tree below a directory. Refuses one in which a directory that is used is a link out of it.
pub fn open(directory: OsString) -> Result<Root, String> {
    let root = Root::new(directory);
    check(&root).map_err(|e| format!("cannot use the tree {}: {e}", root.path().display()))?;
    Ok(root)
}

/// Fails if a link leads elsewhere than in the tree.
fn check(root: &Root) -> Result<()> {
    let Ok(real) = fs::canonicalize(root.path()) else { return Ok(()) };
    if real == Path::new("/") {
        return Ok(());
    }
    for used in USED {
        let links = files::trace(root.path(), Path::new(used), &|_| false)?.links;
        for link in links.iter().map(TreePath::new) {
            let place = files::resolve_inside(root.path(), link.as_path())?;
            let here = real.join(place.strip_prefix("/").unwrap_or(&place));
            if !leads_to(&root.join(&link), &here).context(|| format!("cannot examine {link}"))? {
                return Err(Error::new(format!(
                    "{link} is a symlink that leads out of it from here; make it a relative one"
                )));
            }
        }
    }
    Ok(())
}

/// Whether a link leads there on this host, too. One that leads nowhere may, if it is relative.
fn leads_to(link: &Path, expected: &Path) -> Result<bool, std::io::Error> {
    let is_relative = fs::read_link(link)?.is_relative();
    Ok(is_relative && fs::canonicalize(link).map_or(true, |found| found == expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        for path in ["data/containers", "usr/lib", "etc"] {
            fs::create_dir_all(tree.join(path)).unwrap();
        }
        fs::create_dir_all(outside.join("syscontainers")).unwrap();
        let refused = || open(tree.clone().into()).err();
        assert_eq!(refused(), None);
        for (path, target, is_good) in [
            ("var", "data", true),
            ("lib", "usr/lib", true),
            ("etc/syscontainers", "../data/none", true),
            ("etc/syscontainers", "../../outside/syscontainers", false),
            ("etc/syscontainers", "/data", false),
            ("etc/tmpfiles.d", "/none", false),
            ("run", "/none", false),
        ] {
            symlink(target, tree.join(path)).unwrap();
            let expected = (!is_good).then(|| {
                format!(
                    "cannot use the tree {}: /{path} is a symlink that leads out of it from here; make it a relative one",
                    tree.display()
                )
            });
            assert_eq!(refused(), expected, "{path} {target}");
            fs::remove_file(tree.join(path)).unwrap();
        }
        // There may be none yet.
        assert!(open(dir.path().join("none").into()).is_ok() && open("/".into()).is_ok());
    }
}
