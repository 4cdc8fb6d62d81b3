//! Which declarations are applied.

use std::path::{Path, PathBuf};

use crate::declaration::files::{self, Place, Source};
use crate::declaration::{DECLARATIONS, Declaration};
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{Root, TreePath};
use crate::system::files::names;

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
        if text.contains('/') || Path::new(text).exists() {
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

/// The declarations that operands name, all without any. Also returns what is wrong with files that declare nothing.
pub fn select(root: &Root, operands: &[Operand]) -> Result<(Vec<Selected>, Vec<Error>)> {
    if operands.is_empty() {
        let (found, errors) = files::list(root);
        return Ok((found.into_iter().map(|(name, source)| read(root, name, source)).collect(), errors));
    }
    let (mut selected, mut errors) = (Vec::new(), Vec::new());
    for operand in operands {
        match operand {
            Operand::Name(name) => selected.push(named(root, name)),
            Operand::Path(path) => {
                for file in files_at(path)? {
                    match at(root, &file) {
                        Ok(found) => selected.push(found),
                        Err(e) => errors.push(e),
                    }
                }
            }
        }
    }
    Ok((selected, errors))
}

fn read(root: &Root, name: Name, source: Source) -> Selected {
    let declaration = files::read(root, &name, &source);
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

/// The files of declarations at a path: itself, or what is in it.
fn files_at(path: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("cannot read {}", path.display());
    let path = std::path::absolute(path).context(what)?;
    let metadata = std::fs::metadata(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no {}", path.display())),
        _ => Error::new(format!("{}: {e}", what())),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![path]);
    }
    let mut found = names(&path)?;
    found.sort();
    // Templates declare nothing themselves.
    found.retain(|name| name.ends_with(SUFFIX) && !name.ends_with(&format!("@{SUFFIX}")));
    found.retain(|name| !path.join(name).is_dir());
    Ok(found.iter().map(|name| path.join(name)).collect())
}

/// The declaration in a file. In the directories of declarations, it is the one that counts for its name.
fn at(root: &Root, file: &Path) -> Result<Selected> {
    let what = || format!("cannot use {}", file.display());
    let stem = file.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
    let name: Name = stem
        .ok_or_else(|| Error::new(format!("the name of a declaration is NAME{SUFFIX}")))
        .and_then(str::parse)
        .context(what)?;
    if !file.starts_with(root.path()) {
        return Err(Error::new(format!("it is not in the tree {}", root.path().display()))).context(what);
    }
    let path = root.inside(file);
    let is_declared = |directory: &&str| path.parent() == Some(TreePath::from(**directory));
    if DECLARATIONS.iter().any(|directory| is_declared(&directory)) {
        return Ok(named(root, &name));
    }
    if let Some(other) = files::find(root, &name)? {
        return Err(Error::new(format!("{name} is declared in {}, which counts", other.path))).context(what);
    }
    let directory = file.with_file_name(format!("{name}{SUFFIX}.d"));
    let mut drop_ins = names(&directory)?;
    drop_ins.sort();
    drop_ins.retain(|name| name.ends_with(SUFFIX));
    let drop_ins = drop_ins.iter().map(|name| root.inside(&directory.join(name))).collect();
    let source = Source { place: Place::Host, path, drop_ins };
    let mut selected = read(root, name, source);
    if selected.declaration.as_ref().is_ok_and(|declaration| !declaration.unit.is_empty()) {
        selected.declaration = Err(Error::new(format!(
            "cannot use {}: lines of [Unit] and [Service] count in declarations of the host only; move it to {}",
            file.display(),
            DECLARATIONS[0]
        )));
    }
    Ok(selected)
}
