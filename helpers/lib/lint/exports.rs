//! The files of /exports, as text.

use super::subject::{Subject, Text};
use super::{Place, Report, rules};
use crate::error::Result;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE};
use crate::image::layout::HOSTFS;
use crate::image::manifest;

/// Files that are larger are no templates that anybody wrote, and would take long to look at.
const LARGE: usize = 256 << 10;

/// Those that are there, and that are text.
pub struct Exports {
    /// manifest.json.
    pub manifest: Option<Text>,
    /// config.json.
    pub config: Option<Text>,
    /// config.json.template.
    pub config_template: Option<Text>,
    /// service.template.
    pub service: Option<Text>,
    /// tmpfiles.template.
    pub tmpfiles: Option<Text>,
    /// Whether anything is there: the image is made to be a system container.
    pub any: bool,
}

impl Exports {
    /// Reads them; what cannot be read is a finding.
    pub fn read(subject: &Subject, report: &mut Report) -> Result<Exports> {
        let mut any = subject.tree().walk(HOSTFS).is_ok_and(|files| !files.is_empty());
        let mut read = |file: &str| {
            let shown = subject.shown(file);
            let content = match subject.tree().read(file) {
                Ok(content) => content?,
                Err(error) => {
                    any = true;
                    report.add(&rules::UNREADABLE, Place::file(shown), error.to_string());
                    return None;
                }
            };
            any = true;
            if content.len() > LARGE {
                let message = format!("the file is larger than {} KiB, and is not checked", LARGE >> 10);
                report.add(&rules::UNREADABLE, Place::file(shown), message);
                return None;
            }
            match String::from_utf8(content) {
                Ok(text) => Some(Text { file: shown, text }),
                Err(_) => {
                    report.add(&rules::UNREADABLE, Place::file(shown), "the file is not UTF-8");
                    None
                }
            }
        };
        let (manifest, config) = (read(manifest::FILE), read(CONFIG));
        let (config_template, service) = (read(CONFIG_TEMPLATE), read(SERVICE_TEMPLATE));
        let tmpfiles = read(TMPFILES_TEMPLATE);
        Ok(Exports { manifest, config, config_template, service, tmpfiles, any })
    }

    /// Whether a file that is missing is worth a word: sources, and images that have others.
    pub fn expects(&self, subject: &Subject) -> bool {
        self.any || subject.source().is_some()
    }
}
