//! The files of one declaration.

use crate::paths::TreePath;

/// Who declares something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An administrator, in /etc or /run, or in a file that was named.
    Host,
    /// A package, in /usr/lib/syscontainers.
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
