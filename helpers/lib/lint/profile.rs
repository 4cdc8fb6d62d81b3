//! What an image says about itself that has another effect here than with an engine, or none.

use super::dockerfile;
use super::finding::{LintReport, Place};
use super::inspection::Inspection;
use super::rules;
use crate::error::Result;
use crate::image::profile::Profile;

/// Applies the rules, to the configuration of an image or to the Dockerfile of sources.
pub fn check(inspection: &Inspection, report: &mut LintReport) -> Result<()> {
    let texts = inspection.exports.texts();
    let is_generated = texts.config.is_none() && texts.config_template.is_none();
    let (ports, healthcheck) = match inspection.target.image() {
        Some(image) => {
            let profile = Profile::of(image)?;
            let place = || Place::file(&image.name);
            (profile.shown_ports().map(|ports| (place(), ports)), profile.healthcheck.is_some().then(place))
        }
        None => {
            let Some(file) = inspection.target.dockerfile() else { return Ok(()) };
            (dockerfile::exposed_ports(file), dockerfile::healthcheck(file))
        }
    };
    if let Some((place, ports)) = ports.filter(|_| is_generated) {
        let message = format!("containers may listen at {ports} on all addresses of the host");
        report.add(&rules::EXPOSED_PORT, place, message);
    }
    if let Some(place) = healthcheck {
        report.add(&rules::HEALTHCHECK, place, "the health check is never run");
    }
    Ok(())
}
