//! Unit files: parsing what an image brings, and writing ours with the escaping that each kind of field needs.

use crate::error::Result;

/// A parsed unit file: sections with their assignments in order.
#[derive(Clone, Debug, Default)]
pub struct UnitFile {}

impl UnitFile {
    /// Parses unit syntax, systemd.syntax(7); an error names the line.
    pub fn parse(_text: &str) -> Result<UnitFile> {
        Ok(UnitFile {})
    }
    /// Assignments of one section, in order.
    pub fn section<'a>(&'a self, _name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        std::iter::empty()
    }
    /// What a setting that keeps its last value is set to; empty assignments reset it.
    pub fn last(&self, _section: &str, _key: &str) -> Option<&str> {
        None
    }
}
