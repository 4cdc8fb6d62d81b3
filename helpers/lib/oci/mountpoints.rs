//! Mount points inside a root file system.
//!
//! Runtimes would create missing ones at every start, in a tree whose files belong to the store. So checkout creates
//! them once and records them. Symlinks are followed as the container sees them, never out of the root file system.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::oci::config::Normalised;
use crate::oci::mount::Mount;
use crate::paths::TreePath;
use crate::system::files;

/// What a file system is mounted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PointKind {
    Directory,
    File,
}

/// Mount points that are files, which the configuration alone does not show.
#[derive(Debug, Default)]
pub struct FileMounts {
    /// Further files in the container that something is mounted on.
    pub extra: Vec<PathBuf>,
    /// Bind sources on the host that are files, or will be.
    pub sources: BTreeSet<PathBuf>,
}

/// Creates the missing mount points of `config`, and its working directory. Returns what was created, as the container
/// sees it, in order.
pub fn create(rootfs: &Path, config: &Normalised, files: &FileMounts) -> Result<Vec<TreePath>> {
    let mut created = Vec::new();
    for (path, kind) in needed(rootfs, config, files)? {
        make(rootfs, &path, kind, &mut created)
            .context(|| format!("cannot create mount point {}", path.display()))?;
    }
    Ok(created.iter().map(TreePath::new).collect())
}

/// Returns what [`create`] would create, except parent directories.
pub fn missing(rootfs: &Path, config: &Normalised, files: &FileMounts) -> Result<Vec<PathBuf>> {
    let needed = needed(rootfs, config, files)?.into_iter().map(|(path, _)| path);
    Ok(needed.filter(|path| rootfs.join(below_root(path)).symlink_metadata().is_err()).collect())
}

/// Returns paths without symlinks of what has to exist in the root file system itself.
fn needed(rootfs: &Path, config: &Normalised, files: &FileMounts) -> Result<Vec<(PathBuf, PointKind)>> {
    let mounts = config.mounts().filter_map(|mount| wanted(mount, files));
    let mut wanted: Vec<(PathBuf, PointKind)> = mounts.collect();
    wanted.extend(files.extra.iter().map(|path| (path.clone(), PointKind::File)));
    if let Some(cwd) = config.working_directory() {
        wanted.push((Path::new("/").join(cwd), PointKind::Directory));
    }
    let (mut needed, mut points) = (Vec::new(), HashSet::new());
    for (path, kind) in wanted {
        let path = files::resolve_inside(rootfs, &path)?;
        // A path below a mount point is not in the root file system.
        if !path.ancestors().any(|above| points.contains(above)) {
            points.insert(path.clone());
            needed.push((path, kind));
        }
    }
    Ok(needed)
}

fn wanted(mount: Mount<'_>, files: &FileMounts) -> Option<(PathBuf, PointKind)> {
    let is_file = mount
        .bind_source()
        .is_some_and(|source| files.sources.contains(source) || source.exists() && !source.is_dir());
    Some((mount.destination()?, if is_file { PointKind::File } else { PointKind::Directory }))
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn make(rootfs: &Path, path: &Path, kind: PointKind, created: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut parents: Vec<&Path> = path.ancestors().filter(|p| *p != Path::new("/")).collect();
    let last = (kind == PointKind::File && !parents.is_empty()).then(|| parents.remove(0));
    for directory in parents.into_iter().rev() {
        make_one(rootfs, directory, created, &|path| fs::create_dir(path))?;
    }
    last.map_or(Ok(()), |file| make_one(rootfs, file, created, &|path| fs::File::create_new(path).map(drop)))
}

/// Makes a file or directory, unless it exists. A directory of the image keeps its modification time.
fn make_one(
    rootfs: &Path,
    path: &Path,
    created: &mut Vec<PathBuf>,
    make: &dyn Fn(&Path) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let above = path.parent().unwrap_or(Path::new("/"));
    let parent = fs::File::open(rootfs.join(below_root(above)))?;
    let modified = parent.metadata()?.modified()?;
    match make(&rootfs.join(below_root(path))) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    if !created.iter().any(|path| path == above) {
        parent.set_modified(modified)?;
    }
    created.push(path.to_path_buf());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::json;

    #[test]
    fn makes_what_is_missing_once_and_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path();
        fs::create_dir_all(rootfs.join("run")).unwrap();
        fs::create_dir_all(rootfs.join("var")).unwrap();
        std::os::unix::fs::symlink("/run", rootfs.join("var/run")).unwrap();
        std::os::unix::fs::symlink("../../../../../../tmp/out", rootfs.join("climb")).unwrap();
        let config = Config::new(json!({
            "process": {"cwd": "/work"},
            "mounts": [
                {"destination": "/dev", "type": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts"},
                {"destination": "/var/run/x/", "type": "bind", "source": "/nonexistent"},
                {"destination": "/etc/resolv.conf", "type": "bind", "source": "/proc/self/status"},
                {"destination": "/climb/y", "type": "tmpfs"},
            ]
        }))
        .normalised();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let modified = |path: &str| rootfs.join(path).metadata().unwrap().modified().unwrap();
        for path in ["run", "."] {
            fs::File::open(rootfs.join(path)).unwrap().set_modified(old).unwrap();
        }
        let made = create(
            rootfs,
            &config,
            &FileMounts { extra: vec!["/run/notify".into()], ..FileMounts::default() },
        )
        .unwrap();
        let expected = [
            "/dev",
            "/run/x",
            "/etc",
            "/etc/resolv.conf",
            "/tmp",
            "/tmp/out",
            "/tmp/out/y",
            "/run/notify",
            "/work",
        ];
        assert_eq!(made, expected.map(TreePath::from));
        assert_eq!((modified("run"), modified(".")), (old, old));
        assert!(modified("tmp") > old);
        assert!(rootfs.join("etc/resolv.conf").is_file() && rootfs.join("tmp/out/y").is_dir());
        assert!(!rootfs.join("dev/pts").exists());
        assert_eq!(create(rootfs, &config, &FileMounts::default()).unwrap(), []);
    }

    #[test]
    fn symlink_loops_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("a")).unwrap();
        let config = Config::new(json!({"mounts": [{"destination": "/a/b"}]})).normalised();
        assert!(create(dir.path(), &config, &FileMounts::default()).is_err());
    }

    #[test]
    fn paths_that_lead_on_and_on_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        // Each of them is short.
        for n in 0..20 {
            let target = format!("{}{}", "x/../".repeat(100), n + 1);
            std::os::unix::fs::symlink(target, dir.path().join(n.to_string())).unwrap();
        }
        for config in
            [json!({"mounts": [{"destination": "/0"}]}), json!({"process": {"cwd": "/a".repeat(100_000)}})]
        {
            let config = Config::new(config).normalised();
            let error = create(dir.path(), &config, &FileMounts::default()).unwrap_err().to_string();
            assert!(error.contains("too many components") && error.len() < 200, "{error}");
        }
    }
}
