//! Which declarations are applied.

use std::path::{Path, PathBuf};

use crate::declaration::Declaration;
use crate::declaration::files::{self, Listed, Source};
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{DECLARATIONS, Root, TreePath};
use crate::program::log;
use crate::system::{privacy, tree};

/// Suffix of declarations and of their drop-ins.
const SUFFIX: &str = ".conf";

/// What an operand names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A container.
    Name(Name),
    /// A file or a directory.
    Path(PathBuf),
}

impl std::str::FromStr for Operand {
    type Err = Error;

    fn from_str(text: &str) -> Result<Operand> {
        // Never by what there is: units run this in `/`, and anybody may have put something beside what an administrator types.
        if text.contains('/') || matches!(text, "." | "..") || text.ends_with(SUFFIX) {
            return Ok(Operand::Path(PathBuf::from(text)));
        }
        text.parse().map(Operand::Name)
    }
}

/// A declaration that is to be applied.
pub struct Selected {
    /// The container that it declares.
    pub name: Name,
    /// Its main file; `None` if there is none.
    pub file: Option<TreePath>,
    /// What it says, or why that is not known.
    pub declaration: Result<Declaration>,
}

/// The declarations that operands name, all without any. Also returns what is wrong with operands, and which directories cannot be
/// read. Files that are skipped for their names are told of.
pub fn select(root: &Root, operands: &[Operand]) -> (Vec<Selected>, Vec<Error>) {
    if operands.is_empty() {
        let listed = told(files::list(root));
        let found = listed.found.into_iter().map(|(name, source)| read(root, name, source));
        return (found.collect(), listed.unreadable);
    }
    let (mut selected, mut errors) = (Vec::new(), Vec::new());
    for operand in operands {
        match operand {
            Operand::Name(name) => selected.push(named(root, name)),
            Operand::Path(path) => match below(root, path) {
                Ok((found, wrong)) => {
                    selected.extend(found);
                    errors.extend(wrong);
                }
                Err(e) => errors.push(e),
            },
        }
    }
    (selected, errors)
}

fn read(root: &Root, name: Name, source: Source) -> Selected {
    // Another attempt does not change it.
    let declaration = files::read(root, &name, &source).map_err(|e| Error::usage(e.to_string()));
    Selected { name, file: Some(source.path), declaration }
}

fn named(root: &Root, name: &Name) -> Selected {
    let declaration = match files::find(root, name) {
        Ok(Some(source)) => return read(root, name.clone(), source),
        Ok(None) => Err(Error::not_found(format!(
            "there is no declaration of {name}; write one to {}/{name}{SUFFIX}",
            DECLARATIONS[0]
        ))),
        Err(e) => Err(e),
    };
    Selected { name: name.clone(), file: None, declaration }
}

/// The declarations at a path: in the file itself, or in those of the directory.
fn below(root: &Root, path: &Path) -> Result<(Vec<Selected>, Vec<Error>)> {
    let what = || format!("cannot read {}", path.display());
    let path = std::path::absolute(path).context(what)?;
    if !path.starts_with(root.path()) {
        return Err(Error::new(format!("it is not in the tree {}", root.path().display()))).context(what);
    }
    let inside = root.inside(&path);
    let place = tree::place(root, &inside).context(what)?;
    let metadata = std::fs::metadata(place).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no {}", path.display())),
        _ => Error::new(format!("{}: {e}", what())),
    })?;
    if !metadata.is_dir() {
        let (name, source) = files::at(root, &inside)?;
        return Ok((vec![at(root, name, source)], Vec::new()));
    }
    let listed = told(files::list_in(root, &inside));
    let found = listed.found.into_iter().map(|(name, source)| at(root, name, source));
    Ok((found.collect(), listed.unreadable))
}

/// Tells which files are skipped: another file does not keep declarations from being applied.
fn told(listed: Listed) -> Listed {
    listed.odd.iter().for_each(|e| log::warning(&e.to_string()));
    listed
}

/// Refuses files that others may change: what a declaration says is done as root.
fn check_owner(root: &Root, source: &Source) -> Result<()> {
    let mut paths = std::iter::once(&source.path).chain(&source.drop_ins);
    paths.try_for_each(|path| privacy::check_inside(root, path.as_path())).map_err(|e| {
        Error::new(format!(
            "{e}, and what it says is done as root; copy it to a directory that only root may write to, such as {}",
            DECLARATIONS[0]
        ))
    })
}

/// The declaration in a file. In the directories of declarations, it is the one that counts for its name.
fn at(root: &Root, name: Name, source: Source) -> Selected {
    let path = source.path.clone();
    let what = || format!("cannot use {path}");
    if DECLARATIONS.iter().any(|directory| path.parent() == Some(TreePath::from(*directory))) {
        return named(root, &name);
    }
    let refused = match files::find(root, &name) {
        Err(e) => Err(e),
        Ok(Some(other)) => Err(Error::new(format!("{name} is declared in {}, which counts", other.path))),
        Ok(None) => check_owner(root, &source),
    };
    if let Err(why) = refused {
        return Selected { name, file: Some(path.clone()), declaration: Err(why).context(what) };
    }
    let mut selected = read(root, name, source);
    if selected.declaration.as_ref().is_ok_and(|declaration| !declaration.unit.is_empty()) {
        let why = format!(
            "lines of [Unit] and [Service] count in declarations of the host only; move it to {}",
            DECLARATIONS[0]
        );
        selected.declaration = Err(Error::new(why)).context(what);
    }
    selected
}
