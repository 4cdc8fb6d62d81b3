//! The unit: as the image wrote it, and as systemd will load it.

use std::collections::HashMap;

use super::config::LintedConfig;
use super::finding::{LintReport, Place};
use super::inspection::{Inspection, is_broken, is_open};
use super::rules;
use crate::container::deployment::Deployments;
use crate::container::derived;
use crate::container::execution::Execution;
use crate::container::info::{self, ExportsUse, Ours};
use crate::container::registration::Registration;
use crate::container::runtime::{Runtime, RuntimeKind};
use crate::container::units;
use crate::error::Result;
use crate::image::check;
use crate::image::exports::SERVICE_TEMPLATE;
use crate::image::service::{self, Unkept};
use crate::image::template::RenderedText;
use crate::install::register::{self, Parts};
use crate::name::Deployment;
use crate::system::systemd::analyze;
use crate::unit::syntax::{SyntaxErrorKind, UnitFile};
use crate::unit::user;

/// A unit that could be parsed. Its lines are those of the template, since no value contains line breaks.
pub struct Unit<'a> {
    /// The file, as findings name it.
    pub file: String,
    /// The parsed text.
    pub parsed: UnitFile,
    rendered: &'a RenderedText,
}

/// Applies the rules for units; returns `None` if there is none that could be looked at.
pub fn check<'a>(
    inspection: &Inspection<'a>,
    config: Option<&LintedConfig>,
    report: &mut LintReport,
) -> Result<Option<Unit<'a>>> {
    let Some(rendered) = &inspection.rendered.unit else { return Ok(None) };
    let file = inspection.target.shown(SERVICE_TEMPLATE);
    if inspection.exports.texts().service.is_none() {
        if inspection.expects_files && !report.mentions(&file) {
            let message = "there is no service.template; the unit is a default one";
            report.add(&rules::SERVICE_MISSING, Place::file(file), message);
        }
        return Ok(None);
    }
    if is_broken(rendered) {
        return Ok(None);
    }
    let parsed = match UnitFile::parse(&rendered.text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let is_large = error.kind == SyntaxErrorKind::TooLarge;
            let rule = if is_large { &rules::TOO_LARGE } else { &rules::UNIT_SYNTAX };
            if !is_open(rendered, error.line) {
                report.add(rule, Place::at(file, error.line, 1), error.kind.to_string());
            }
            return Ok(None);
        }
    };
    let unit = Unit { file, parsed, rendered };
    commands(&unit, inspection, report);
    unreachable(&unit, inspection, report);
    if inspection.exports.runs_payload() {
        shapes(&unit, config, report);
    }
    composed(&unit, inspection, config, report)?;
    Ok(Some(unit))
}

/// Looks for the commands that every unit should have, as with Atomic.
fn commands(unit: &Unit, inspection: &Inspection, report: &mut LintReport) {
    let (name, link) = (inspection.installation.name, &inspection.installation.link);
    let start = units::expansion("EXEC_START", name);
    let stop = units::expansion("EXEC_STOP", name);
    for (rule, key, expected, written) in [
        (&rules::EXEC_START, "ExecStart", start.as_str(), "$EXEC_START"),
        (&rules::EXEC_STOP, "ExecStop", stop.as_str(), "$EXEC_STOP"),
        (&rules::WORKING_DIRECTORY, "WorkingDirectory", link.to_string().as_str(), "$DESTDIR"),
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

/// Looks for commands that their user cannot run.
fn unreachable(unit: &Unit, inspection: &Inspection, report: &mut LintReport) {
    let link = inspection.installation.link.to_string();
    for unreachable in user::unreachable(&unit.parsed, &link) {
        let place = Place::at(&unit.file, unreachable.line, 1);
        report.add(&rules::UNREACHABLE_COMMAND, place, unreachable.to_string());
    }
}

/// Looks for what a unit that runs a payload cannot have.
fn shapes(unit: &Unit, config: Option<&LintedConfig>, report: &mut LintReport) {
    if let Some(line) = service::forking(&unit.parsed) {
        let message = format!("Type=forking: {}", service::FORKING);
        report.add(&rules::FORKING, Place::at(&unit.file, line, 1), message);
    }
    let notify = check::notify_mode(&unit.parsed, config.map(|config| &config.normalised), None);
    for Unkept { line, key, why } in service::unkept(&unit.parsed, notify) {
        let rule = if key == "WatchdogSec" { &rules::WATCHDOG } else { &rules::SERVICE_USER };
        report.add(rule, Place::at(&unit.file, line, 1), why);
    }
}

/// Composes the unit as an installation does, and asks systemd.
fn composed(
    unit: &Unit,
    inspection: &Inspection,
    config: Option<&LintedConfig>,
    report: &mut LintReport,
) -> Result<()> {
    let name = inspection.installation.name;
    let registration = registration(unit, inspection, config);
    let source = derived::registration(name);
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
        report.notes.push("systemd-analyze is not installed, skipping what it says about units".into());
        return Ok(());
    };
    let (composed, origins) = (text.lines().collect::<Vec<_>>(), Origins::new(&unit.parsed));
    for complaint in complaints {
        let rule = if complaint.is_refusal { &rules::UNIT_SYNTAX } else { &rules::UNIT_SETTING };
        let place = match complaint.line {
            // The image is not to blame for lines that are not its own.
            Some(line) => match composed.get(line.saturating_sub(1)).and_then(|line| origins.find(line)) {
                Some(line) if is_open(unit.rendered, line) => continue,
                Some(line) => Place::at(&unit.file, line, 1),
                None => continue,
            },
            None => Place::file(&unit.file),
        };
        report.add(rule, place, complaint.message);
    }
    Ok(())
}

/// Returns the registration that the deployment would have.
fn registration(unit: &Unit, inspection: &Inspection, config: Option<&LintedConfig>) -> Registration {
    let (installation, exports) = (inspection.installation, inspection.exports);
    let runtime = installation.runtime.filter(|_| exports.runs_payload());
    let ours = Ours {
        version: info::VERSION,
        provenance: None,
        exports: ExportsUse::None,
        digest: installation.digest.clone(),
        user_values: installation.user_values.clone(),
        user_secrets: installation.user_secrets.clone(),
        image_secrets: Default::default(),
        settings: installation.settings.clone(),
        user_notify: installation.user_notify,
        user_install: Vec::new(),
        enabled: true,
        mount_points: Vec::new(),
        execution: Execution {
            runtime: runtime.map(|path| Runtime { path: path.clone(), kind: RuntimeKind::Crun }),
            exec_variables: exports.exec_variables(),
            run_once: exports.is_run_once(),
            ..Execution::new(check::notify_mode(&unit.parsed, config.map(|c| &c.normalised), None))
        },
    };
    let tmpfiles = inspection.rendered.tmpfiles.as_ref();
    let parts = Parts {
        unit: Some(unit.rendered.text.clone()),
        config: config.map(|config| &config.normalised),
        has_tmpfiles: tmpfiles.is_some_and(|tmpfiles| !tmpfiles.text.trim().is_empty()),
    };
    let deployments = Deployments::new(installation.root);
    let deployment = Deployment::new(installation.name, 0);
    register::describe(&deployments, &deployment, installation.image, &ours, parts)
}

/// The lines of a template by what they assign.
struct Origins<'a>(HashMap<(&'a str, &'a str), usize>);

impl<'a> Origins<'a> {
    fn new(unit: &'a UnitFile) -> Origins<'a> {
        let mut lines = HashMap::new();
        let sections = ["Unit", "Service", "Install"];
        let sections = sections.into_iter().chain(unit.extensions().iter().map(String::as_str));
        for (line, key, value) in sections.flat_map(|section| unit.lines(section)) {
            lines.entry((key, value)).or_insert(line);
        }
        Origins(lines)
    }

    /// Returns the line of the template that a line of the composed unit comes from.
    fn find(&self, composed: &str) -> Option<usize> {
        let (key, value) = composed.split_once('=')?;
        // The body lets some commands run as root, and one fail.
        let with_prefix = || self.0.get(&(key, value.trim_start_matches(['-', '+'])));
        self.0.get(&(key, value)).or_else(with_prefix).copied()
    }
}
