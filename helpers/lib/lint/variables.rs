//! Variables: whether they have values, whether these can be used where the variables are, and who can read them.

use std::collections::BTreeSet;

use super::finding::{LintReport, Place};
use super::inspection::Inspection;
use super::rules;
use crate::container::info::Values;
use crate::image::exports::SERVICE_TEMPLATE;
use crate::image::layout::HOSTFS;
use crate::image::manifest;
use crate::image::template::{self, Format, PlaceholderFault, Problem};
use crate::image::variables;

/// Applies the rules for variables.
pub fn check(inspection: &Inspection, report: &mut LintReport) {
    let rendered = inspection.rendered;
    if let Err(error) = &rendered.layout {
        report.add(&rules::HOSTFS, Place::file(inspection.target.shown(HOSTFS)), error.to_string());
    }
    let knows_defaults = knows_defaults(inspection, report);
    let texts = [&rendered.config, &rendered.unit, &rendered.tmpfiles].into_iter().flatten();
    let mut seen = BTreeSet::new();
    for problem in texts.flat_map(|text| &text.problems).chain(&rendered.layout_problems.listed) {
        let place = place(inspection, problem);
        match &problem.fault {
            PlaceholderFault::NoValue(name) => {
                // One finding for each variable, where it is used first.
                if knows_defaults && seen.insert(name) {
                    let message = format!("{name} has no default value, so it must be given with --set");
                    report.add(&rules::NO_DEFAULT, place, message);
                }
            }
            PlaceholderFault::Unescapable { .. } => {
                report.add(&rules::UNESCAPABLE, place, problem.fault.to_string());
            }
            PlaceholderFault::Secret(_) | PlaceholderFault::SecretPlace { .. } => {
                report.add(&rules::READABLE_SECRET, place, problem.fault.to_string());
            }
            PlaceholderFault::TooLarge => report.add(&rules::TOO_LARGE, place, problem.fault.to_string()),
            PlaceholderFault::Invalid => report.add(&rules::PLACEHOLDER, place, problem.fault.to_string()),
        }
    }
    let omitted = rendered.layout_problems.omitted;
    if omitted > 0 {
        let file = inspection.target.shown(HOSTFS);
        report.notes.push(format!("{omitted} more problems with variables in {file} are not listed"));
    }
    readable(inspection, report);
}

fn place(inspection: &Inspection, problem: &Problem) -> Place {
    Place::at(inspection.target.shown(&problem.file), problem.line, problem.column)
}

/// Returns whether the manifest could be read; otherwise it is unknown which variables have a default.
fn knows_defaults(inspection: &Inspection, report: &LintReport) -> bool {
    let file = inspection.target.shown(manifest::FILE);
    let unusable = [&rules::MANIFEST_INVALID, &rules::UNREADABLE];
    !report.findings.iter().any(|finding| finding.place.file == file && unusable.contains(&finding.rule))
}

/// Looks for values in the unit that were meant to be secret.
fn readable(inspection: &Inspection, report: &mut LintReport) {
    let Some(service) = &inspection.exports.texts().service else { return };
    if inspection.exports.service().is_none() {
        return;
    }
    let mut seen = BTreeSet::new();
    // Without any value, every use of a variable is a problem with a place.
    let uses = template::render(SERVICE_TEMPLATE, service, Format::Text, &Values::new(), None).problems;
    for problem in &uses {
        let PlaceholderFault::NoValue(name) = &problem.fault else { continue };
        let is_ours = variables::is_forced(name) || variables::built_in(name).is_some();
        let is_reported = inspection.rendered.secrets.contains(name);
        if !is_ours && !is_reported && seen.insert(name) {
            let message = format!(
                "every user of the host can read the value of {name}, as units can be read (systemctl cat); it must not be a secret"
            );
            report.add(&rules::READABLE_VARIABLE, place(inspection, problem), message);
        }
    }
}
