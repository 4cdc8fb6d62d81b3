//! Where declarations are, and which one counts.
//!
//! As with units: the first directory of [`DECLARATIONS`] that has a file takes precedence, an empty file or a link to
//! /dev/null masks it in the others, and drop-ins of all directories are merged. Everything is read as root while the host
//! boots, so nothing is opened that might not answer, and nothing is read without a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::declaration::declared::Declaration;
use crate::declaration::image;
use crate::declaration::parse::{self, Fault, Parsed};
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{DECLARATIONS, Root, TreePath};
use crate::system::files;

pub use crate::declaration::source::{Place, Source};

/// Maximum size of one file in bytes.
pub const FILE_MAX: usize = 64 << 10;
/// Maximum size of all files of a declaration together.
pub const TOTAL_MAX: usize = 256 << 10;
/// Maximum number of drop-ins of a declaration.
pub const DROP_INS_MAX: usize = 256;

/// Directory of the declarations of packages.
const VENDOR: &str = DECLARATIONS[2];
/// What ends the names of declarations and of drop-ins.
const SUFFIX: &str = ".conf";
/// What masks a file.
const NULL: &str = "/dev/null";

/// Declarations that were found.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that are not masked, by name.
    pub found: BTreeMap<Name, Source>,
    /// Files that are skipped, since no container can be called like them.
    pub odd: Vec<Error>,
    /// Directories that cannot be read. What is declared there is not known.
    pub unreadable: Vec<Error>,
}

/// All declarations below `root`.
pub fn list(root: &Root) -> Listed {
    list_all(root, &DECLARATIONS.map(TreePath::from))
}

/// The declarations in one directory, with the drop-ins that are there.
pub fn list_in(root: &Root, directory: &TreePath) -> Listed {
    list_all(root, std::slice::from_ref(directory))
}

fn list_all(root: &Root, directories: &[TreePath]) -> Listed {
    let (mut listed, mut paths) = (Listed::default(), BTreeMap::new());
    for directory in directories {
        for (name, path) in in_directory(root, directory, &mut listed) {
            paths.entry(name).or_insert(path);
        }
    }
    for (name, path) in paths.into_iter().filter(|(_, path)| !is_masked(root, path)) {
        let source = with_drop_ins(root, &name, path, directories);
        listed.found.insert(name, source);
    }
    listed
}

/// The files of the declaration of `name`, if there is one that is not masked.
pub fn find(root: &Root, name: &Name) -> Result<Option<Source>> {
    for directory in DECLARATIONS.map(TreePath::from) {
        let file = format!("{name}{SUFFIX}");
        let path = directory.join(&file);
        let place = place(root, &directory).context(|| format!("cannot read {directory}"))?;
        match place.join(&file).symlink_metadata() {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(e) => return Err(e).context(|| format!("cannot read {path}")),
            Ok(_) if is_masked(root, &path) => return Ok(None),
            Ok(_) => return Ok(Some(with_drop_ins(root, name, path, &DECLARATIONS.map(TreePath::from)))),
        }
    }
    Ok(None)
}

/// The declaration in one file, with the drop-ins beside it.
pub fn at(root: &Root, path: &TreePath) -> Result<(Name, Source)> {
    let name = path.as_path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let usage = |why: &str| Error::usage(format!("cannot take {path} for a declaration: {why}"));
    let stem = name.strip_suffix(SUFFIX).ok_or_else(|| usage("its name does not end in '.conf'"))?;
    if is_template(stem) {
        let why = format!("it is a template; link {stem}INSTANCE{SUFFIX} to it");
        return Err(usage(&why));
    }
    let name: Name = stem.parse().map_err(|e: Error| usage(&e.to_string()))?;
    let directory = path.parent().unwrap_or_else(|| TreePath::from("/"));
    let source = with_drop_ins(root, &name, path.clone(), &[directory]);
    Ok((name, source))
}

/// Reads a declaration. Errors begin with the file and the line.
pub fn read(root: &Root, name: &Name, source: &Source) -> Result<Declaration> {
    let parsed = examine(root, name, source);
    match parsed.errors.first() {
        None => Ok(parsed.declaration),
        Some(fault) => Err(Error::new(fault.to_string())),
    }
}

/// Reads a declaration, and finds everything that is wrong with it.
pub fn examine(root: &Root, name: &Name, source: &Source) -> Parsed {
    let (mut texts, mut faults, mut left) = (Vec::new(), Vec::new(), TOTAL_MAX);
    let mut fail = |path: &TreePath, text: String| {
        faults.push(Fault { path: path.clone(), line: None, text });
    };
    if source.drop_ins.len() > DROP_INS_MAX {
        fail(&source.path, format!("it has more than {DROP_INS_MAX} drop-ins"));
    }
    for path in std::iter::once(&source.path).chain(source.drop_ins.iter().take(DROP_INS_MAX)) {
        match read_file(root, path) {
            Ok(text) if text.len() <= left => {
                left -= text.len();
                texts.push((path.clone(), text));
            }
            Ok(_) => {
                let limit = TOTAL_MAX >> 10;
                fail(path, format!("with it, the files are larger than the limit of {limit} KiB in all"));
                break;
            }
            Err(e) => fail(path, e.to_string()),
        }
    }
    let mut parsed = parse::parse(name, source, &texts);
    parsed.declaration.image_file = image::file(root, &parsed.declaration.choices.image);
    if !faults.is_empty() {
        // Without a file, what is missing in the others says nothing.
        parsed.errors.retain(|fault| fault.line.is_some());
        parsed.errors.splice(0..0, faults);
    }
    parsed
}

fn read_file(root: &Root, path: &TreePath) -> Result<Vec<u8>> {
    let text = files::read_bounded(&place(root, path)?, FILE_MAX)?;
    text.ok_or_else(|| Error::new("there is no such file, or it is a link to one that is missing"))
}

/// Where a path leads in the tree, links followed as programs inside it see them.
fn place(root: &Root, path: &TreePath) -> Result<PathBuf> {
    Ok(root.join(&TreePath::new(files::resolve_inside(root.path(), path.as_path())?)))
}

/// Whether a file is empty or a link to /dev/null. One that cannot be looked at is not: whoever reads it says why.
fn is_masked(root: &Root, path: &TreePath) -> bool {
    let Ok(resolved) = files::resolve_inside(root.path(), path.as_path()) else { return false };
    let is_empty = || {
        let metadata = fs::metadata(root.join(&TreePath::new(&resolved)));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
    };
    resolved == Path::new(NULL) || is_empty()
}

/// The declarations in one directory, masked ones as well. Templates, which declare nothing, and hidden files are left out.
fn in_directory(root: &Root, directory: &TreePath, listed: &mut Listed) -> BTreeMap<Name, TreePath> {
    let mut found = BTreeMap::new();
    let file_names = match file_names(root, directory) {
        Ok(file_names) => file_names,
        Err(e) => {
            listed.unreadable.push(Error::new(format!("{e}, skipping the declarations in it")));
            return found;
        }
    };
    for file_name in file_names {
        let Some(stem) = file_name.strip_suffix(SUFFIX).filter(|stem| !is_template(stem)) else { continue };
        match stem.parse::<Name>() {
            Ok(name) => drop(found.insert(name, directory.join(&file_name))),
            Err(e) => listed.odd.push(Error::new(format!("{e}, skipping {directory}/{file_name}"))),
        }
    }
    found
}

/// Whether this is the name of a template, whose instances have names.
fn is_template(stem: &str) -> bool {
    stem.strip_suffix('@').is_some_and(|prefix| prefix.parse::<Name>().is_ok())
}

/// The names of files in a directory that end in `.conf`, sorted; none if it does not exist.
fn file_names(root: &Root, directory: &TreePath) -> Result<BTreeSet<String>> {
    let what = || format!("cannot read {directory}");
    let entries = match fs::read_dir(place(root, directory).context(what)?) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.context(what)?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        // A name that is not UTF-8 is none that a container can have, and is told of.
        let name = entry.context(what)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name.ends_with(SUFFIX) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The drop-ins in these directories that count. Those of an instance take precedence over those of its template.
fn with_drop_ins(root: &Root, name: &Name, path: TreePath, directories: &[TreePath]) -> Source {
    let template = name.instance().map(|_| format!("{}@", name.prefix()));
    let owners = [Some(name.as_str().to_owned()), template];
    let mut found: BTreeMap<String, TreePath> = BTreeMap::new();
    for owner in owners.into_iter().flatten() {
        for directory in directories {
            let directory = directory.join(format!("{owner}{SUFFIX}.d"));
            // Another file of that name is nothing, as to systemd.
            if !place(root, &directory).is_ok_and(|place| place.is_dir()) {
                continue;
            }
            // One that cannot be read is in the way when it is read.
            let Ok(names) = file_names(root, &directory) else {
                found.insert(String::new(), directory);
                continue;
            };
            for name in names {
                let path = directory.join(&name);
                found.entry(name).or_insert(path);
            }
        }
    }
    let is_vendor = path.starts_with(&TreePath::from(VENDOR));
    let place = if is_vendor { Place::Vendor } else { Place::Host };
    let drop_ins = found.into_values().filter(|path| !is_masked(root, path)).collect();
    Source { place, path, drop_ins }
}

#[cfg(test)]
mod tests;
