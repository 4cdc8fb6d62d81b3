//! Whether the keys of an administrator go with the image, and with each other.

use oci_spec::image::Config;

use super::finding::LintReport;
use super::inspection::{ImaginaryHost, Inspection};
use super::rules;
use crate::container::info::Values;
use crate::error::{Error, Result};
use crate::image::{Image, generated_config, options, overrides};

/// Applies the rule to what can be said without a configuration of the image's own, which sources have not.
pub fn check(inspection: &Inspection, report: &mut LintReport) {
    let (settings, exports) = (inspection.installation.settings, inspection.exports);
    if settings.is_empty() {
        return;
    }
    let mut checked = options::check(settings, exports);
    if checked.is_ok() && exports.decider().is_none() && inspection.target.image().is_none() {
        checked = overrides::apply(&mut Config::default(), settings);
    }
    if let Err(error) = checked {
        add(inspection, &error, report);
    }
}

/// Whether an image would have a configuration but for the keys.
pub fn are_to_blame(inspection: &Inspection, image: &Image) -> bool {
    let without = || -> Result<()> {
        let host = ImaginaryHost::new(inspection.target, &Default::default())?;
        let tree = inspection.target.tree();
        generated_config::generate(&*tree, image, &host.installation(), &Values::new()).map(|_| ())
    };
    !inspection.installation.settings.is_empty() && without().is_ok()
}

/// Adds the finding.
pub fn add(inspection: &Inspection, error: &Error, report: &mut LintReport) {
    report.add(&rules::OPTION, inspection.whole(), error.to_string());
}
