//! The pipeline of an installation, with all rules applied to its results.

use super::finding::{LintReport, Place};
use super::inspection::{ImaginaryHost, Inspection, NO_VALUE};
use super::rules::Rule;
use super::target::Target;
use super::{
    config, config_rules, dockerfile, git, keys, limits, manifest, mounts, profile, rules, texts, unit,
    variables,
};
use crate::container::settings::Settings;
use crate::error::Result;
use crate::image::exports::{self, Exports};
use crate::image::render;
use crate::image::variables as values;

/// Applies all rules, to what an installation with these settings would make.
pub fn check(target: &Target, settings: &Settings) -> Result<LintReport> {
    let mut report = LintReport::default();
    let texts = texts::read(target, &mut report)?;
    if let Some(source) = target.sources() {
        for (file, error) in source.problems() {
            report.add(&rules::UNREADABLE, Place::file(file), error.to_string());
        }
        dockerfile::check(target, source, &mut report);
        git::check(source, &mut report);
    }
    let manifest = manifest::check(target, &texts, &mut report);
    let expects_files = texts.expects_files;
    let exports = Exports::new(texts.exported, manifest, is_run_once(target)?);
    let host = ImaginaryHost::new(target, settings)?;
    let installation = host.installation();
    let values = values::complete(&installation, &exports.manifest().default_values)?;
    let rendered = render::render(&exports, &*target.tree(), &installation, &values, Some(NO_VALUE));
    let inspection = Inspection {
        target,
        exports: &exports,
        expects_files,
        installation: &installation,
        values: &values,
        rendered: &rendered,
    };
    variables::check(&inspection, &mut report);
    keys::check(&inspection, &mut report);
    profile::check(&inspection, &mut report)?;
    let config = config::load(&inspection, &mut report);
    if let Some(config) = &config {
        config_rules::check(config, &inspection, &mut report);
    }
    let unit = unit::check(&inspection, config.as_ref(), &mut report)?;
    if let (Some(config), Some(unit)) = (&config, &unit) {
        limits::check(config, unit, &mut report);
    }
    if let Some(config) = &config {
        mounts::check(config, &inspection, unit.as_ref(), &mut report);
    }
    // An installation stops at the first fault, of which there may be one that no rule is about.
    if !report.has(Rule::is_error) {
        if let Some(error) = inspection.refusal() {
            report.add(&rules::REFUSED, inspection.whole(), error.to_string());
        }
    }
    report.findings.sort_by(|a, b| (&a.place.file, a.place.position).cmp(&(&b.place.file, b.place.position)));
    Ok(report)
}

fn is_run_once(target: &Target) -> Result<bool> {
    match (target.image(), target.dockerfile()) {
        (Some(image), _) => exports::is_run_once(image),
        (None, Some(file)) => Ok(dockerfile::is_run_once(&file.text)),
        (None, None) => Ok(false),
    }
}
