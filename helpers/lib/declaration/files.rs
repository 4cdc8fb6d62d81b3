//! Where declarations are, and which one counts.

use std::collections::BTreeMap;

use crate::declaration::Declaration;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::paths::{Root, TreePath};

/// Who declares something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An administrator, in /etc or /run, or in a file that was named.
    Host,
    /// A package, in /usr/lib.
    Vendor,
}

/// The files of one declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who declares it.
    pub place: Place,
    /// The main file.
    pub path: TreePath,
    /// The drop-ins that count, in order.
    pub drop_ins: Vec<TreePath>,
}

/// All declarations below `root` by name, without those that are masked; and what is wrong with names and directories.
pub fn list(root: &Root) -> (BTreeMap<Name, Source>, Vec<Error>) {
    let _ = root;
    todo!()
}

/// The files of the declaration of `name`, if there is one that is not masked.
pub fn find(root: &Root, name: &Name) -> Result<Option<Source>> {
    let _ = (root, name);
    todo!()
}

/// Reads a declaration. Errors begin with the file and the line.
pub fn read(root: &Root, name: &Name, source: &Source) -> Result<Declaration> {
    let _ = (root, name, source);
    todo!()
}
