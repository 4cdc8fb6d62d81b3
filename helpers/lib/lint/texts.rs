//! The text files of /exports, as far as they can be read.

use super::finding::{LintReport, Place};
use super::rules;
use super::target::Target;
use crate::error::Result;
use crate::image::exports::ExportedTexts;
use crate::image::layout::HOSTFS;

/// Larger files were not written by hand, and would take long to check.
const LARGE: usize = 256 << 10;

/// What was found in /exports.
pub struct FoundTexts {
    /// The files that are text.
    pub exported: ExportedTexts,
    /// Whether a file that is missing is worth a finding: in sources, and in images that have others.
    pub expects_files: bool,
}

/// Reads the files; one that cannot be read is a finding.
pub fn read(target: &Target, report: &mut LintReport) -> Result<FoundTexts> {
    let tree = target.tree();
    let has_host_files = tree.walk(HOSTFS).is_ok_and(|files| !files.is_empty());
    let mut expects_files = has_host_files || target.sources().is_some();
    let exported = ExportedTexts::read(|file| {
        let problem = match tree.read(file) {
            Ok(None) => return Ok(None),
            Ok(Some(content)) if content.len() > LARGE => {
                format!("the file is larger than {} KiB, and is not checked", LARGE >> 10)
            }
            Ok(Some(content)) => match String::from_utf8(content) {
                Ok(text) => {
                    expects_files = true;
                    return Ok(Some(text));
                }
                Err(_) => "the file is not UTF-8".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        expects_files = true;
        report.add(&rules::UNREADABLE, Place::file(target.shown(file)), problem);
        Ok(None)
    })?;
    Ok(FoundTexts { exported, expects_files })
}
