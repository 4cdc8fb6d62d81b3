//! The unit: as the image wrote it, and as systemd will have it.

use std::path::Path;

use super::config::Config;
use super::exports::Exports;
use super::subject::Subject;
use super::variables::{Output, Rendered};
use super::{Place, Report, rules};
use crate::container::deployment::{Deployments, Info};
use crate::container::registration::Registration;
use crate::container::runtime::{Kind, Runtime};
use crate::container::units;
use crate::error::Result;
use crate::image::exports::SERVICE_TEMPLATE;
use crate::image::manifest::Manifest;
use crate::image::template;
use crate::image::variables::COMMANDS;
use crate::install::register;
use crate::name::Name;
use crate::paths::{ATTACHED, Root};
use crate::system::systemd::analyze;
use crate::unit::syntax::{SyntaxError, UnitFile};

/// A unit that could be read. Lines are those of the template, since no value has line breaks.
pub struct Unit {
    /// As it is called in findings.
    pub file: String,
    /// What it says.
    pub parsed: UnitFile,
    text: String,
    /// Names of the EXEC variables that it uses.
    placed: Vec<String>,
}

/// Applies the rules for units; `None` where there is none that could be looked at.
pub fn check(
    subject: &Subject,
    exports: &Exports,
    rendered: &Rendered,
    config: Option<&Config>,
    manifest: &Manifest,
    report: &mut Report,
) -> Result<Option<Unit>> {
    if manifest.no_container_service {
        return Ok(None);
    }
    let (Some(service), Some(output)) = (&exports.service, &rendered.unit) else {
        let shown = subject.shown(SERVICE_TEMPLATE);
        let is_known = report.findings.iter().any(|finding| finding.place.file == shown);
        if exports.expects(subject) && !is_known {
            let message = "there is no service.template; the unit is a default one";
            report.add(&rules::SERVICE_MISSING, Place::file(shown), message);
        }
        return Ok(None);
    };
    if output.is_broken {
        return Ok(None);
    }
    let parsed = match UnitFile::parse(&output.text) {
        Ok(parsed) => parsed,
        Err(error) => {
            refused(&service.file, output, &error, report);
            return Ok(None);
        }
    };
    let used = template::variables(&service.text);
    let placed = COMMANDS.map(str::to_owned).into_iter().filter(|command| used.contains(command)).collect();
    let unit = Unit { file: service.file.clone(), parsed, text: output.text.clone(), placed };
    let name = &rendered.variables.name;
    commands(&unit, name, report);
    composed(&unit, name, config, rendered, output, report)?;
    Ok(Some(unit))
}

/// A line with a variable that has no value is not judged.
fn refused(file: &str, output: &Output, error: &SyntaxError, report: &mut Report) {
    if !is_open(output, error.line) {
        report.add(&rules::UNIT_SYNTAX, Place::at(file, error.line, 1), error.kind.to_string());
    }
}

fn is_open(output: &Output, line: usize) -> bool {
    output.missing.iter().any(|(_, missing)| *missing == line)
}

/// What the original wants to see in every unit.
fn commands(unit: &Unit, name: &Name, report: &mut Report) {
    let link = Deployments::new(&Root::default()).directory().join(name.as_str());
    let start = units::expansion("EXEC_START", name);
    let stop = units::expansion("EXEC_STOP", name);
    for (rule, key, expected, written) in [
        (&rules::EXEC_START, "ExecStart", start.as_str(), "$EXEC_START"),
        (&rules::EXEC_STOP, "ExecStop", stop.as_str(), "$EXEC_STOP"),
        (&rules::WORKING_DIRECTORY, "WorkingDirectory", link.to_string_lossy().as_ref(), "$DESTDIR"),
    ] {
        let lines: Vec<_> =
            unit.parsed.lines("Service").filter(|(_, k, value)| *k == key && !value.is_empty()).collect();
        if lines.iter().any(|(_, _, value)| value.contains(expected)) {
            continue;
        }
        match lines.last() {
            Some((line, _, _)) => {
                let message = format!("{key}= does not use {written}; write {key}={written}");
                report.add(rule, Place::at(&unit.file, *line, 1), message);
            }
            // A unit without a command is refused.
            None if key == "ExecStart" => {}
            None => {
                let message = format!("there is no {key}=; write {key}={written}");
                report.add(rule, Place::file(&unit.file), message);
            }
        }
    }
}

/// Composes the unit as an installation does, and asks systemd.
fn composed(
    unit: &Unit,
    name: &Name,
    config: Option<&Config>,
    rendered: &Rendered,
    output: &Output,
    report: &mut Report,
) -> Result<()> {
    let registration = registration(unit, name, config, rendered);
    let source = Path::new(ATTACHED).join(format!("{name}.json"));
    let text = units::stub(&registration)
        .and_then(|stub| units::compose(&registration, &source).map(|body| format!("{stub}\n{body}")));
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            report.add(&rules::UNIT_SYNTAX, Place::file(&unit.file), error.to_string());
            return Ok(());
        }
    };
    let Some(complaints) = analyze::verify(&text, name)? else {
        report.notes.push("systemd-analyze is not installed, skipping what it says of units".into());
        return Ok(());
    };
    for complaint in complaints {
        let rule = if complaint.is_refusal { &rules::UNIT_SYNTAX } else { &rules::UNIT_SETTING };
        let place = match complaint.line {
            // Lines that are not the image's are not its fault.
            Some(line) => match origin(unit, text.lines().nth(line.saturating_sub(1)).unwrap_or_default()) {
                Some(line) if is_open(output, line) => continue,
                Some(line) => Place::at(&unit.file, line, 1),
                None => continue,
            },
            None => Place::file(&unit.file),
        };
        report.add(rule, place, complaint.message);
    }
    Ok(())
}

fn registration(unit: &Unit, name: &Name, config: Option<&Config>, rendered: &Rendered) -> Registration {
    let runs = unit.placed.iter().any(|placed| placed == "EXEC_START");
    let runtime = Runtime { path: "/usr/bin/crun".into(), kind: Kind::Crun };
    let info = Info {
        image: name.to_string(),
        values: rendered.variables.linked.clone(),
        has_container_service: true,
        runtime_kind: Some(runtime).filter(|_| runs),
        placed: unit.placed.clone(),
        ..Info::default()
    };
    let has_tmpfiles = rendered.tmpfiles.as_ref().is_some_and(|tmpfiles| !tmpfiles.text.trim().is_empty());
    let deployments = Deployments::new(&Root::default());
    let config = config.map(|config| &config.normalised);
    register::describe(
        &deployments,
        name,
        &format!("{name}.0"),
        info,
        unit.text.clone(),
        config,
        has_tmpfiles,
    )
}

/// The template's line that a line of the composed unit is from.
fn origin(unit: &Unit, composed: &str) -> Option<usize> {
    let (key, value) = composed.split_once('=')?;
    let sections = ["Unit", "Service", "Install"].into_iter().chain(unit.parsed.extensions());
    let mut lines = sections.flat_map(|section| unit.parsed.lines(section));
    // The body lets some commands run as root.
    lines
        .find(|(_, k, v)| *k == key && (*v == value || Some(*v) == value.strip_prefix('+')))
        .map(|(line, _, _)| line)
}
