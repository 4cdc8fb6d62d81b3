//! The text files of /exports, as far as they can be read.

use super::finding::{LintReport, Place};
use super::rules;
use super::target::Target;
use crate::error::Result;
use crate::image::exports::ExportedTexts;
use crate::image::layout::HOSTFS;
use crate::image::limits;

/// The files that were found in /exports.
pub struct FoundTexts {
    /// The files that are text.
    pub exported: ExportedTexts,
    /// Whether a missing file is worth a finding: in sources, and in images that have others.
    pub expects_files: bool,
}

/// Reads the files; one that cannot be read is a finding.
pub fn read(target: &Target, report: &mut LintReport) -> Result<FoundTexts> {
    let tree = target.tree();
    let has_host_files = tree.walk(HOSTFS).is_ok_and(|files| !files.is_empty());
    let mut expects_files = has_host_files || target.sources().is_some();
    let exported = ExportedTexts::read(|file| {
        let (rule, problem) = match tree.read(file) {
            Ok(None) => return Ok(None),
            Ok(Some(content)) => {
                match (limits::check_size(content.len(), limits::TEXT), String::from_utf8(content)) {
                    (Ok(()), Ok(text)) => {
                        expects_files = true;
                        return Ok(Some(text));
                    }
                    (Err(error), _) => (&rules::TOO_LARGE, error.to_string()),
                    (_, Err(_)) => (&rules::UNREADABLE, "the file is not UTF-8".to_owned()),
                }
            }
            Err(error) => (&rules::UNREADABLE, error.to_string()),
        };
        expects_files = true;
        report.add(rule, Place::file(target.shown(file)), problem);
        Ok(None)
    })?;
    Ok(FoundTexts { exported, expects_files })
}
