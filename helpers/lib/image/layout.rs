//! Files that an image brings for the host, `/exports/hostfs`: which, and where they go.
//!
//! The manifest may rename files and directories, and have files substituted. Directories of the host that exist keep their
//! mode and owner; those that are made get the image's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::host_files::changes::Facts;
use crate::host_files::record;
use crate::image::manifest::Manifest;
use crate::image::template::{self, Problem, Target};
use crate::image::tree::{FileKind, Tree, TreeEntry};
use crate::image::variables::Values;
use crate::system::files;

/// Where they are in the image.
pub const HOSTFS: &str = "exports/hostfs";

/// A file for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// Its path on the host.
    pub path: String,
    /// Its path below [`HOSTFS`]; `None` for a directory that only a renamed file needs.
    source: Option<PathBuf>,
    /// What it is; no [`FileKind::Special`].
    pub kind: FileKind,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its content where that is substituted.
    pub content: Option<String>,
}

/// All files for the host, directories before what is in them.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    files: Vec<HostFile>,
    used: BTreeSet<String>,
    renames: BTreeMap<String, String>,
}

impl Layout {
    /// Finds out where everything goes; what cannot be substituted is added to `problems`.
    pub fn read(
        tree: &dyn Tree,
        manifest: &Manifest,
        values: &Values,
        problems: &mut Vec<Problem>,
    ) -> Result<Layout> {
        let what = || format!("invalid files in {HOSTFS}");
        let entries = tree.walk(HOSTFS)?;
        let renames = renames(manifest, values, problems).context(what)?;
        let mut used = manifest.rename_files.values().flat_map(|text| template::variables(text)).collect();
        let mut files = place(&entries, &renames).context(what)?;
        for file in files.iter_mut().filter(|file| file.kind == FileKind::Regular) {
            if manifest.installed_files_template.iter().any(|path| normal(path) == Path::new(&file.path)) {
                file.content = Some(substitute(tree, file, values, &mut used, problems)?);
            }
        }
        let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
        let renames = renames.iter().map(|(from, to)| (shown(from), shown(to))).collect();
        Ok(Layout { files, used, renames })
    }

    /// What the manifest renames to what, substituted.
    pub fn renames(&self) -> &BTreeMap<String, String> {
        &self.renames
    }

    /// Names of the variables that new names and contents use.
    pub fn used(&self) -> &BTreeSet<String> {
        &self.used
    }

    /// The files, directories before what is in them.
    pub fn files(&self) -> &[HostFile] {
        &self.files
    }

    /// Lays the files out in the deployment `directory` as they are to be on the host; `exports` is the checked out [`HOSTFS`].
    pub fn stage(&self, exports: &Path, directory: &Path) -> Result<()> {
        for file in &self.files {
            let target = record::staged(directory, &file.path);
            let what = || format!("cannot create {}", target.display());
            // Directories of the host that are no files of the image.
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).context(what)?;
            }
            match (&file.kind, &file.content, &file.source) {
                (FileKind::Directory, ..) => fs::create_dir_all(&target).context(what)?,
                (_, Some(content), _) => fs::write(&target, content).context(what)?,
                (_, None, Some(source)) if link(&exports.join(source), &target).context(what)? => {
                    // Mode and owner are the store's, whose file this is.
                    continue;
                }
                _ => {}
            }
            files::set_owner(&target, file.uid, file.gid, file.mode).context(what)?;
        }
        Ok(())
    }
}

impl HostFile {
    /// What would be recorded of it; `tree` is the image.
    pub fn checksum(&self, tree: &dyn Tree) -> Result<Option<String>> {
        let source = Path::new(HOSTFS).join(self.source.as_deref().unwrap_or(Path::new("")));
        Ok(match (&self.kind, &self.content) {
            (FileKind::Directory, _) => Some(record::DIRECTORY.to_owned()),
            (FileKind::Symlink(target), _) => Some(record::sum(target.as_os_str().as_bytes())),
            (_, Some(content)) => Some(record::sum(content.as_bytes())),
            _ => tree.read(&source.to_string_lossy())?.map(|content| record::sum(&content)),
        })
    }

    /// Owner and mode that it is to have.
    pub fn facts(&self) -> Facts {
        Facts::new(self.uid, self.gid, self.mode, matches!(self.kind, FileKind::Symlink(_)))
    }
}

/// A hard link; a copy where the image is on another file system, as with `--rootfs=`. Tells which it is.
fn link(source: &Path, target: &Path) -> std::io::Result<bool> {
    match fs::hard_link(source, target) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {}
        Err(e) => return Err(e),
    }
    if source.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, target)?;
    } else {
        fs::copy(source, target)?;
    }
    Ok(false)
}

/// A path without trailing and doubled slashes.
fn normal(path: &str) -> PathBuf {
    Path::new("/").join(path).components().collect()
}

/// What is renamed to what, the latter substituted.
fn renames(
    manifest: &Manifest,
    values: &Values,
    problems: &mut Vec<Problem>,
) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut renames = BTreeMap::new();
    for (from, to) in &manifest.rename_files {
        let mut found = Vec::new();
        let value = |name: &str| values.get(name).map(String::as_str);
        let target = template::render(crate::image::manifest::FILE, to, Target::Text, value, &mut found);
        if !found.is_empty() {
            problems.extend(found.into_iter().map(|problem| manifest.locate(to, problem)));
            continue;
        }
        let absolute = Path::new(&target);
        let is_plain = absolute.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !absolute.is_absolute() || !is_plain || absolute == Path::new("/") || target.contains('\0') {
            return Err(Error::new(format!(
                "{} renames {from} to {target:?}, which is no absolute path of a file",
                crate::image::manifest::FILE
            )));
        }
        if renames.insert(normal(from), absolute.components().collect()).is_some() {
            return Err(Error::new(format!("{} renames {from} twice", crate::image::manifest::FILE)));
        }
    }
    Ok(renames)
}

/// The files at their places, and the directories that they need. A directory whose content all went elsewhere is left out.
fn place(entries: &[TreeEntry], renames: &BTreeMap<PathBuf, PathBuf>) -> Result<Vec<HostFile>> {
    let mut placed: BTreeMap<PathBuf, HostFile> = BTreeMap::new();
    let mut directories: BTreeMap<PathBuf, &TreeEntry> = BTreeMap::new();
    for entry in entries {
        let shown = entry.path.to_string_lossy().into_owned();
        if entry.path.to_str().is_none_or(|path| path.chars().any(char::is_control)) {
            return Err(Error::new(format!("the name {shown:?} is no text")));
        }
        let target = renamed(&Path::new("/").join(&entry.path), renames);
        match &entry.kind {
            FileKind::Special => {
                return Err(Error::new(format!("/{shown} is no file, directory or symlink")));
            }
            FileKind::Directory => {
                let is_empty =
                    !entries.iter().any(|e| e.path != entry.path && e.path.starts_with(&entry.path));
                if is_empty {
                    placed.insert(target.clone(), host_file(&target, Some(entry)));
                }
                directories.entry(target).or_insert(entry);
            }
            _ => {
                if placed.insert(target.clone(), host_file(&target, Some(entry))).is_some() {
                    return Err(Error::new(format!("two files are renamed to {}", target.display())));
                }
            }
        }
    }
    let needed: BTreeSet<PathBuf> = placed
        .keys()
        .flat_map(|path| {
            path.ancestors().skip(1).filter(|path| *path != Path::new("/")).map(Path::to_path_buf)
        })
        .collect();
    for path in needed {
        let directory = host_file(&path, directories.get(&path).copied());
        let there = placed.entry(path.clone()).or_insert(directory);
        if there.kind != FileKind::Directory {
            return Err(Error::new(format!("{} is a file and a directory", path.display())));
        }
    }
    Ok(placed.into_values().collect())
}

/// `entry` at its place; without one, a directory as there are many.
fn host_file(path: &Path, entry: Option<&TreeEntry>) -> HostFile {
    let path = path.to_string_lossy().into_owned();
    match entry {
        Some(entry) => HostFile {
            path,
            source: Some(entry.path.clone()),
            kind: entry.kind.clone(),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            content: None,
        },
        None => HostFile {
            path,
            source: None,
            kind: FileKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            content: None,
        },
    }
}

/// The longest path that is renamed counts: a file's own, or that of a directory above it.
fn renamed(path: &Path, renames: &BTreeMap<PathBuf, PathBuf>) -> PathBuf {
    for above in path.ancestors() {
        if let Some(target) = renames.get(above) {
            let below = path.strip_prefix(above).unwrap_or(Path::new(""));
            return target.join(below).components().collect();
        }
    }
    path.to_path_buf()
}

fn substitute(
    tree: &dyn Tree,
    file: &HostFile,
    values: &Values,
    used: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> Result<String> {
    let source = Path::new(HOSTFS).join(file.source.as_deref().unwrap_or(Path::new("")));
    let name = source.to_string_lossy();
    let content = tree.read(&name)?.unwrap_or_default();
    let text = String::from_utf8(content)
        .map_err(|_| Error::new(format!("cannot substitute variables in {name}: it is not UTF-8")))?;
    used.extend(template::variables(&text));
    Ok(template::render(&name, &text, Target::Text, |name| values.get(name).map(String::as_str), problems))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: FileKind) -> TreeEntry {
        let mode = if kind == FileKind::Directory { 0o750 } else { 0o640 };
        TreeEntry { path: path.into(), kind, mode, uid: 1, gid: 2 }
    }

    fn paths(entries: &[TreeEntry], renames: &[(&str, &str)]) -> Result<Vec<String>> {
        let renames = renames.iter().map(|(from, to)| (PathBuf::from(from), PathBuf::from(to))).collect();
        Ok(place(entries, &renames)?.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn renames_files_and_directories_and_leaves_none_behind() {
        let entries = [
            entry("etc", FileKind::Directory),
            entry("etc/etcd", FileKind::Directory),
            entry("etc/etcd/a.conf", FileKind::Regular),
            entry("etc/etcd/b.conf", FileKind::Regular),
            entry("usr", FileKind::Directory),
            entry("usr/bin", FileKind::Directory),
            entry("usr/bin/ctl", FileKind::Regular),
            entry("var", FileKind::Directory),
            entry("var/empty", FileKind::Directory),
        ];
        let renames = [
            ("/etc/etcd", "/etc/two"),
            ("/etc/etcd/b.conf", "/srv/x/b"),
            ("/usr/bin/ctl", "/usr/local/ctl2"),
        ];
        assert_eq!(
            paths(&entries, &renames).unwrap(),
            [
                "/etc",
                "/etc/two",
                "/etc/two/a.conf",
                "/srv",
                "/srv/x",
                "/srv/x/b",
                "/usr",
                "/usr/local",
                "/usr/local/ctl2",
                "/var",
                "/var/empty"
            ]
        );
        assert!(paths(&entries, &[("/etc/etcd/a.conf", "/x"), ("/etc/etcd/b.conf", "/x")]).is_err());
        assert!(paths(&entries, &[("/etc/etcd/a.conf", "/x"), ("/etc/etcd/b.conf", "/x/y")]).is_err());
    }

    #[test]
    fn directories_have_the_images_mode_and_owner() {
        let entries = [entry("opt", FileKind::Directory), entry("opt/x", FileKind::Regular)];
        let renames = BTreeMap::from([(PathBuf::from("/opt"), PathBuf::from("/srv/opt"))]);
        let files = place(&entries, &renames).unwrap();
        let facts: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.mode, f.uid)).collect();
        assert_eq!(facts, [("/srv", 0o755, 0), ("/srv/opt", 0o750, 1), ("/srv/opt/x", 0o640, 1)]);
    }

    #[test]
    fn refuses_what_is_no_file() {
        assert!(paths(&[entry("pipe", FileKind::Special)], &[]).is_err());
        assert!(paths(&[entry("a\nb", FileKind::Regular)], &[]).is_err());
    }
}
