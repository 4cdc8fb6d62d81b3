//! Trees of other systems, `--root=DIR`.
//!
//! A program here reaches what is in one by its path. Links in it lead where they lead on this host, which is elsewhere than
//! in the tree if they are absolute: then this host's own units would be changed, or its files be read.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};
use crate::name::Name;
use crate::paths::{
    self, ATTACHED, DEPLOYMENTS, LOCKS, PREINSTALLED, REGISTRATIONS, RUN, Root, STALE, STORAGE, STUBS,
    SYSTEM_PRESETS, TMPFILES, TMPFILES_PATH, TreePath, UNITDIR, VOLUMES,
};
use crate::system::files;
use crate::system::systemd::links::LINKS;

/// Directories that programs use there.
const USED: [&str; 18] = [
    ATTACHED,
    REGISTRATIONS[0],
    REGISTRATIONS[2],
    DEPLOYMENTS,
    PREINSTALLED,
    RUN,
    LOCKS,
    STALE,
    STUBS,
    SYSTEM_PRESETS,
    TMPFILES,
    TMPFILES_PATH[2],
    UNITDIR,
    VOLUMES,
    "/etc/containers",
    LINKS,
    "/run/systemd/generator",
    "/usr/share/containers",
];
/// What the directories end with in which `systemctl enable` creates links.
const LINKED: [&str; 3] = [".wants", ".requires", ".upholds"];
/// Directories of the store with others in them that libostree writes to, and removes files from.
const IN_STORE: [&str; 2] = ["ostree/objects", "ostree/refs"];
/// How deep names of refs are looked at.
const REF_DEPTH: usize = 8;

/// The tree below a directory. Refuses one in which a directory that is used is a link out of it.
pub fn open(directory: OsString) -> Result<Root, String> {
    let what = || format!("cannot use the tree {}", Path::new(&directory).display());
    // Paths that are named are compared with it.
    let absolute = std::path::absolute(&directory).map_err(|e| format!("{}: {e}", what()))?;
    let root = Root::new(absolute.components().collect::<PathBuf>());
    check(&root).map_err(|e| format!("{}: {e}", what()))?;
    Ok(root)
}

/// Fails if a path leads elsewhere on this host than in the tree.
pub fn check_path(root: &Root, path: &TreePath) -> Result<()> {
    match real(root) {
        Some(real) => check_links(root, &real, path),
        None => Ok(()),
    }
}

/// Where a path leads in the tree, as this process sees it. On the host, the kernel finds that.
pub fn place(root: &Root, path: &TreePath) -> Result<PathBuf> {
    if root.is_host() {
        return Ok(root.join(path));
    }
    Ok(root.join(&TreePath::new(files::resolve_inside(root.path(), path.as_path())?)))
}

/// The path of a tree without symlinks; `None` if there is none yet, or if it is this host.
fn real(root: &Root) -> Option<PathBuf> {
    if root.is_host() {
        return None;
    }
    fs::canonicalize(root.path()).ok().filter(|real| real != Path::new("/"))
}

/// Fails if a link leads elsewhere than in the tree.
fn check(root: &Root) -> Result<()> {
    let Some(real) = real(root) else { return Ok(()) };
    let mut used = USED.map(TreePath::from).into_iter().chain([paths::deployments()]);
    used.try_for_each(|used| check_links(root, &real, &used))?;
    // Only now is all of this in the tree.
    let mut links = links_of_units(root).chain(links_of_deployments(root)).chain(links_of_store(root));
    links.try_for_each(|link| check_links(root, &real, &root.inside(&link)))
}

/// Fails if a link on the way leads elsewhere, or what is at its end does.
fn check_links(root: &Root, real: &Path, path: &TreePath) -> Result<()> {
    let links = files::trace(root.path(), path.as_path(), &|_| false)?.links;
    for link in links.iter().map(TreePath::new) {
        let place = TreePath::new(files::resolve_inside(root.path(), link.as_path())?);
        // It may lead to nothing yet, but not to nothing elsewhere.
        let found = files::resolve_inside(Path::new("/"), &Root::new(real).join(&link))?;
        if found != Root::new(real).join(&place) {
            return Err(Error::new(format!(
                "{link} is a symlink that leads out of it from here; make it a relative one"
            )));
        }
    }
    Ok(())
}

/// Links in place of the directories in which `systemctl enable` creates links.
fn links_of_units(root: &Root) -> impl Iterator<Item = PathBuf> {
    let is_linked = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        LINKED.iter().any(|suffix| name.ends_with(suffix))
    };
    links(root.join(LINKS), 1).filter(is_linked).map(DirEntry::into_path)
}

/// Links among deployments, and in them. That of a container says which one is current, and is only read.
fn links_of_deployments(root: &Root) -> impl Iterator<Item = PathBuf> {
    let is_other = |entry: &DirEntry| {
        entry.depth() > 1 || entry.file_name().to_str().is_none_or(|name| name.parse::<Name>().is_err())
    };
    let directories = [root.join(&paths::deployments()), root.join(PREINSTALLED)];
    directories
        .into_iter()
        .flat_map(|directory| links(directory, 2))
        .filter(is_other)
        .map(DirEntry::into_path)
}

/// Links in place of directories and files of the store. Its objects may be some.
fn links_of_store(root: &Root) -> impl Iterator<Item = PathBuf> {
    let storage = root.join(&paths::deployments().join(STORAGE));
    let [objects, refs] = IN_STORE.map(|directory| storage.join(directory));
    links(storage, 2).chain(links(objects, 1)).chain(links(refs, REF_DEPTH)).map(DirEntry::into_path)
}

/// Links below a directory, down to a depth. What cannot be read is not used, either.
fn links(directory: PathBuf, depth: usize) -> impl Iterator<Item = DirEntry> {
    let entries = WalkDir::new(directory).min_depth(1).max_depth(depth).into_iter();
    entries.flatten().filter(DirEntry::path_is_symlink)
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
            ("etc/tmpfiles.d", "../../outside/none", false),
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

    /// What is in the directories that are used leads out of the tree no more than they do.
    #[test]
    fn nothing_in_them_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        for path in ["var/lib/containers/atomic/web.0", "etc/systemd/system", "usr/lib/containers/atomic"] {
            fs::create_dir_all(tree.join(path)).unwrap();
        }
        let atomic = "var/lib/containers/atomic";
        for path in [
            format!("{atomic}/.storage"),
            format!("{atomic}/.storage/ostree"),
            format!("{atomic}/.storage/ostree/.lock"),
            format!("{atomic}/.storage/ostree/tmp"),
            format!("{atomic}/.storage/ostree/objects"),
            format!("{atomic}/.storage/ostree/objects/00"),
            format!("{atomic}/.storage/ostree/refs/heads"),
            format!("{atomic}/.storage/ostree/refs/heads/ociimage"),
            format!("{atomic}/.web.state"),
            format!("{atomic}/.web.reserve"),
            format!("{atomic}/web.1"),
            format!("{atomic}/web.0/info"),
            "usr/lib/containers/atomic/web.0".into(),
            "run/syscontainers/.locks".into(),
            "run/syscontainers/attached".into(),
            "run/syscontainers/stale".into(),
            "etc/systemd/system/multi-user.target.wants".into(),
            "etc/systemd/system/a.service.requires".into(),
            "etc/systemd/system/a.service.upholds".into(),
        ] {
            let link = tree.join(&path);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            for target in [&outside, &outside.join("file"), Path::new("/none")] {
                symlink(target, &link).unwrap();
                let why = open(tree.clone().into()).unwrap_err();
                assert!(why.contains(&format!(": /{path} is a symlink that leads out of it")), "{why}");
                fs::remove_file(&link).unwrap();
            }
            assert!(open(tree.clone().into()).is_ok(), "{path}");
        }
        // These are only read, as links.
        symlink("/var/lib/containers/atomic/web.0", tree.join(atomic).join("web")).unwrap();
        symlink("/dev/null", tree.join("etc/systemd/system/a.service")).unwrap();
        open(tree.clone().into()).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn paths_of_a_tree_are_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(open("./none/os/".into()).unwrap().path(), here.join("none/os"));
        assert!(open("/.".into()).unwrap().is_host());
    }
}
