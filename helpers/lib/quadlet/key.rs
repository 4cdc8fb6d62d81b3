//! What may be said of a key of a quadlet.

use crate::quadlet::draft::Draft;
use crate::quadlet::syntax::Entry;
use Fate::{Carried, Dropped, Refused, Translated};
use Section::{Container, Extension, Install, Quadlet, Service, Unit};

/// A section of a quadlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Container,
    Quadlet,
    Unit,
    Service,
    Install,
    Extension,
}

impl Section {
    /// Whether systemd reads it, with its own rules for what resets what.
    pub fn is_systemd(self) -> bool {
        !matches!(self, Container | Quadlet)
    }

    /// How it is written.
    pub fn header(self) -> &'static str {
        match self {
            Container => "[Container]",
            Quadlet => "[Quadlet]",
            Unit => "[Unit]",
            Service => "[Service]",
            Install => "[Install]",
            Extension => "[X-...]",
        }
    }
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the declaration.
    Carried,
    /// The declaration says the same in another way.
    Translated,
    /// It is left out, which is said, and the same runs without it.
    Dropped,
    /// It is refused: without it, something else would run.
    Refused,
}

impl Fate {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Carried => "carried",
            Translated => "translated",
            Dropped => "left out",
            Refused => "refused",
        }
    }
}

/// The name that stands for all keys of a section that have no row.
pub const OTHERS: &str = "(others)";

/// A key of a quadlet.
#[derive(Debug)]
pub struct Key {
    /// The section that it is in.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// Whether it may have several values.
    pub repeats: bool,
    /// Whether an empty value says something.
    pub counts_empty: bool,
    /// What becomes of it.
    pub fate: Fate,
    /// The reason, or what is different.
    pub note: &'static str,
    pub(super) convert: Convert,
}

/// What carries an entry over.
pub(super) type Convert = fn(&mut Draft<'_>, &Entry, &Key);
