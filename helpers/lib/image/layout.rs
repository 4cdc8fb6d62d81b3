//! Files that an image installs on the host, `/exports/hostfs`: which ones there are, and where they go.
//!
//! The manifest may rename files and directories, and name files that are templates. Directories that the host has keep
//! their mode and owner; those that are created get the image's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::container::info::Values;
use crate::error::{Context, Error, Result};
use crate::image::limits;
use crate::image::manifest::{self, Manifest};
use crate::image::problems::Problems;
use crate::image::secrets;
use crate::image::template::{self, Format};
use crate::image::tree::{FileKind, Tree, TreeEntry};
use crate::paths::TreePath;
use crate::steps;

/// Directory of the image that contains them.
pub const HOSTFS: &str = "exports/hostfs";

/// A file, directory or symlink for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// Path on the host.
    pub path: TreePath,
    /// Path below [`HOSTFS`]; `None` for a directory that only a renamed file needs.
    source: Option<PathBuf>,
    /// Never [`FileKind::Special`].
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Content of a template with its variables replaced; `None` for files that are taken as they are.
    pub content: Option<String>,
}

/// All files for the host, directories before what is in them.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    files: Vec<HostFile>,
    used: BTreeSet<String>,
    readable: BTreeSet<String>,
    renames: BTreeMap<String, String>,
}

/// The variables that are replaced in names and contents.
pub struct Substitution<'a> {
    /// Their values.
    pub values: &'a Values,
    /// Those whose values are secret.
    pub secrets: &'a BTreeSet<String>,
}

impl Layout {
    /// Finds out where everything goes, and renders names and templates; problems with placeholders are added to
    /// `problems`.
    pub fn read(
        tree: &dyn Tree,
        manifest: &Manifest,
        substitution: &Substitution,
        problems: &mut Problems,
    ) -> Result<Layout> {
        let what = || format!("invalid files in {HOSTFS}");
        let entries = tree.walk(HOSTFS)?;
        let renames = renames(manifest, substitution, problems).context(what)?;
        let mut readable: BTreeSet<String> =
            manifest.rename_files.values().flat_map(|text| template::variables(text)).collect();
        let mut used = readable.clone();
        let mut files = place(&entries, &renames).context(what)?;
        let templates: HashSet<PathBuf> =
            manifest.installed_files_template.iter().map(|p| normal(p)).collect();
        let (mut size, mut rendered_size) = (0, 0);
        for file in files.iter_mut().filter(|file| file.kind == FileKind::Regular) {
            if templates.contains(file.path.as_path()) {
                let template = read_template(tree, file)?;
                check_all(&mut size, template.text.len())?;
                let variables = template::variables(&template.text);
                if secrets::is_readable(file.mode, file.uid, file.gid) {
                    readable.extend(variables.iter().cloned());
                    problems.extend(secrets::uses(&template.name, &template.text, substitution.secrets));
                }
                used.extend(variables);
                let content = template.render(substitution.values, problems);
                check_all(&mut rendered_size, content.len())?;
                file.content = Some(content);
            }
        }
        let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
        let renames = renames.iter().map(|(from, to)| (shown(from), shown(to))).collect();
        Ok(Layout { files, used, readable, renames })
    }

    /// Old and new paths of what the manifest renames, with variables replaced.
    pub fn renames(&self) -> &BTreeMap<String, String> {
        &self.renames
    }

    /// Names of the variables that new names and templates use.
    pub fn used(&self) -> &BTreeSet<String> {
        &self.used
    }

    /// Names of the variables that are used where every user of the host can read them.
    pub fn readable(&self) -> &BTreeSet<String> {
        &self.readable
    }

    /// The files, directories before what is in them.
    pub fn files(&self) -> &[HostFile] {
        &self.files
    }
}

impl HostFile {
    /// Path in the image; `None` for a directory that only a renamed file needs, and the image does not have.
    pub fn source(&self) -> Option<PathBuf> {
        self.source.as_ref().map(|below| Path::new(HOSTFS).join(below))
    }
}

/// Returns a path without trailing and doubled slashes.
fn normal(path: &str) -> PathBuf {
    Path::new("/").join(path).components().collect()
}

/// Returns old and new paths of what the manifest renames, the latter with variables replaced.
fn renames(
    manifest: &Manifest,
    substitution: &Substitution,
    problems: &mut Problems,
) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let (mut renames, mut places) = (BTreeMap::new(), None);
    for (from, to) in &manifest.rename_files {
        let mut rendered = template::render(manifest::FILE, to, Format::Text, substitution.values, None);
        rendered.problems.extend(secrets::uses(manifest::FILE, to, substitution.secrets));
        if !rendered.problems.is_empty() {
            let places = places.get_or_insert_with(|| manifest.places());
            problems.extend(rendered.problems.into_iter().map(|problem| places.locate(from, problem)));
            continue;
        }
        let target = rendered.text;
        let absolute = Path::new(&target);
        let is_plain = absolute.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !absolute.is_absolute() || !is_plain || absolute == Path::new("/") || target.contains('\0') {
            return Err(Error::new(format!(
                "{} renames {from} to {target:?}, which is not an absolute path of a file",
                manifest::FILE
            )));
        }
        limits::check_path(absolute)?;
        if renames.insert(normal(from), absolute.components().collect()).is_some() {
            return Err(Error::new(format!("{} renames {from} twice", manifest::FILE)));
        }
    }
    Ok(renames)
}

/// Returns the files at their places, and the directories that they need. A directory whose content all went elsewhere
/// is left out.
fn place(entries: &[TreeEntry], renames: &BTreeMap<PathBuf, PathBuf>) -> Result<Vec<HostFile>> {
    let mut placed: BTreeMap<PathBuf, HostFile> = BTreeMap::new();
    let mut directories: BTreeMap<PathBuf, &TreeEntry> = BTreeMap::new();
    for (index, entry) in steps::counted(entries.iter().enumerate()) {
        let shown = entry.path.to_string_lossy().into_owned();
        if entry.path.to_str().is_none_or(|path| path.chars().any(char::is_control)) {
            return Err(Error::new(format!("the name {shown:?} is not printable text")));
        }
        let target = renamed(&Path::new("/").join(&entry.path), renames);
        limits::check_path(&target)?;
        match &entry.kind {
            FileKind::Special => {
                return Err(Error::new(format!("/{shown} is not a file, directory or symlink")));
            }
            FileKind::Directory => {
                // What is in it follows it.
                let is_empty = !entries.get(index + 1).is_some_and(|next| next.path.starts_with(&entry.path));
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
    for path in above(placed.keys()) {
        let directory = host_file(&path, directories.get(&path).copied());
        let there = placed.entry(path.clone()).or_insert(directory);
        if there.kind != FileKind::Directory {
            return Err(Error::new(format!("{} is a file and a directory", path.display())));
        }
    }
    Ok(placed.into_values().collect())
}

/// Returns the directories that files are in, and those that these are in.
fn above<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in paths {
        // Above one that was found, all were.
        for directory in path.ancestors().skip(1).filter(|path| *path != Path::new("/")) {
            if !found.insert(directory.to_path_buf()) {
                break;
            }
            steps::count(1);
        }
    }
    found
}

/// Returns `entry` at its place; without one, a directory with the usual mode.
fn host_file(path: &Path, entry: Option<&TreeEntry>) -> HostFile {
    let path = TreePath::new(path);
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

/// Returns the new path of a file. The longest path that is renamed counts: its own, or that of a directory above it.
fn renamed(path: &Path, renames: &BTreeMap<PathBuf, PathBuf>) -> PathBuf {
    for above in path.ancestors() {
        if let Some(target) = renames.get(above) {
            let below = path.strip_prefix(above).expect("it is an ancestor");
            return target.join(below).components().collect();
        }
    }
    path.to_path_buf()
}

/// Adds to the size of all templates.
fn check_all(sum: &mut usize, size: usize) -> Result<()> {
    *sum += size;
    limits::check_size(*sum, limits::HOST_TEMPLATES)
        .context(|| "cannot replace variables in all of installedFilesTemplate".into())
}

/// A host file whose content is a template.
struct FileTemplate {
    /// Path in the image.
    name: String,
    text: String,
}

fn read_template(tree: &dyn Tree, file: &HostFile) -> Result<FileTemplate> {
    let source = file.source().expect("a regular file is one of the image's");
    let name = source.to_string_lossy().into_owned();
    let content = tree.read(&name)?.ok_or_else(|| Error::new(format!("cannot read {name}: it is gone")))?;
    limits::check_size(content.len(), limits::HOST_TEMPLATE)
        .context(|| format!("cannot replace variables in {name}"))?;
    let text = String::from_utf8(content)
        .map_err(|_| Error::new(format!("cannot replace variables in {name}: it is not UTF-8")))?;
    Ok(FileTemplate { name, text })
}

impl FileTemplate {
    fn render(&self, values: &Values, problems: &mut Problems) -> String {
        let rendered = template::render(&self.name, &self.text, Format::Text, values, None);
        problems.extend(rendered.problems);
        rendered.text
    }
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
        Ok(place(entries, &renames)?.into_iter().map(|file| file.path.to_string()).collect())
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
        let facts: Vec<_> =
            files.iter().map(|f| (f.path.as_path().to_str().unwrap(), f.mode, f.uid)).collect();
        assert_eq!(facts, [("/srv", 0o755, 0), ("/srv/opt", 0o750, 1), ("/srv/opt/x", 0o640, 1)]);
    }

    #[test]
    fn refuses_what_is_not_a_file() {
        assert!(paths(&[entry("pipe", FileKind::Special)], &[]).is_err());
        assert!(paths(&[entry("a\nb", FileKind::Regular)], &[]).is_err());
    }

    #[test]
    fn what_is_far_away_is_refused() {
        let deep: PathBuf = (0..limits::DEPTH + 2).map(|_| "d").collect();
        assert!(paths(&[entry(deep.to_str().unwrap(), FileKind::Regular)], &[]).is_err());
        assert!(
            paths(&[entry("a", FileKind::Regular)], &[("/a", &format!("/{}", "x".repeat(1025)))]).is_err()
        );
    }

    #[test]
    fn templates_have_one_limit_whatever_they_become() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join(HOSTFS);
        std::fs::create_dir_all(&files).unwrap();
        // Long names become nothing.
        let name = "E".repeat(1023);
        std::fs::write(files.join("0"), format!("${name}").repeat(limits::HOST_TEMPLATE >> 10)).unwrap();
        let read = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("/{n}")).collect();
            for name in names.iter().filter(|name| *name != "/0") {
                let _ = std::fs::hard_link(files.join("0"), files.join(&name[1..]));
            }
            let text = serde_json::json!({"installedFilesTemplate": names}).to_string();
            let manifest = manifest::parse(&text).unwrap();
            let values = Values::from([(name.clone(), String::new())]);
            let substitution = Substitution { values: &values, secrets: &BTreeSet::new() };
            let tree = crate::image::tree::Directory(dir.path().to_path_buf());
            Layout::read(&tree, &manifest, &substitution, &mut Problems::default())
        };
        let most = limits::HOST_TEMPLATES / limits::HOST_TEMPLATE;
        assert_eq!(read(most).unwrap().files().len(), most);
        let error = read(most + 1).unwrap_err().to_string();
        let expected = "all of installedFilesTemplate: it is larger than the limit of 16384 KiB";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn each_file_is_looked_at_once() {
        for name in ["many files", "many directories"] {
            steps::assert_linear(name, |size| {
                let kind = if name == "many files" { FileKind::Regular } else { FileKind::Directory };
                let mut entries = vec![entry("etc", FileKind::Directory)];
                entries.extend((0..size).map(|n| entry(&format!("etc/{n:05}"), kind.clone())));
                assert_eq!(paths(&entries, &[("/etc", "/opt/x")]).unwrap().len(), size + 2);
            });
        }
    }
}
