//! What an image says about itself that has another effect here than with an engine, or none.

use super::dockerfile;
use super::finding::{LintReport, Place};
use super::inspection::Inspection;
use super::rules;
use crate::error::Result;
use crate::image::profile::{Profile, ShownPorts};

/// Applies the rules, to the configuration of an image or to the Dockerfile of sources.
pub fn check(inspection: &Inspection, report: &mut LintReport) -> Result<()> {
    let texts = inspection.exports.texts();
    let is_generated = texts.config.is_none() && texts.config_template.is_none();
    let (ports, healthcheck) = match inspection.target.image() {
        Some(image) => {
            let profile = Profile::of(image)?;
            let place = || Place::file(&image.name);
            (Some((place(), profile.ports)), profile.healthcheck.is_some().then(place))
        }
        None => {
            let Some(file) = inspection.target.dockerfile() else { return Ok(()) };
            (dockerfile::exposed_ports(file), dockerfile::healthcheck(file))
        }
    };
    if let Some((place, ports)) = ports {
        check_ports(place, &ports, is_generated, report);
    }
    if let Some(place) = healthcheck {
        report.add(&rules::HEALTHCHECK, place, "the health check is never run");
    }
    Ok(())
}

fn check_ports(place: Place, ports: &[String], is_generated: bool, report: &mut LintReport) {
    let ports = ShownPorts::of(ports);
    if let Some(ports) = ports.possible.filter(|_| is_generated) {
        let message = format!("containers may listen on {ports} on all addresses of the host");
        report.add(&rules::EXPOSED_PORT, place.clone(), message);
    }
    if let Some(others) = ports.impossible {
        report.add(&rules::IMPOSSIBLE_PORT, place, format!("{others} is exposed, but is not a port"));
    }
}
