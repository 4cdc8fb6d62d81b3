//! Variables: where they are used, what they are without the user's word, and what becomes of the templates then.

use std::collections::BTreeSet;
use std::path::Path;

use super::exports::Exports;
use super::rules::{self, Rule};
use super::subject::{Subject, Text};
use super::{Place, Report};
use crate::container::deployment::Deployments;
use crate::error::Result;
use crate::image::layout::{HOSTFS, Layout};
use crate::image::manifest::{self, Manifest};
use crate::image::template::{self, Fault, Problem, Target, Trace};
use crate::image::variables::{self, Facts, Values};
use crate::name::Name;
use crate::paths::Root;

/// What a variable is rendered as that has no value: a path and a word.
pub const NO_VALUE: &str = "/no-value";
/// What takes the place of a digest.
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The values that an installation has if its user sets none.
pub struct Variables {
    /// What the container is called.
    pub name: Name,
    /// As in unit and tmpfiles.
    pub linked: Values,
    /// As in the configuration.
    pub own: Values,
    /// Names of those that the user need not, or cannot, set.
    built_in: BTreeSet<String>,
}

impl Variables {
    /// Finds them out, as an installation does.
    pub fn new(subject: &Subject, manifest: &Manifest) -> Result<Variables> {
        let name = subject.name()?;
        let facts = Facts {
            name: &name,
            image: subject.image().map_or(name.as_str(), |image| &image.name),
            digest: subject.image().map_or(DIGEST, |image| image.digest.as_ref()),
            runtime: Path::new("/usr/bin/crun"),
            uid: 0,
            gid: 0,
            uuid: None,
        };
        let none = Values::new();
        let deployments = Deployments::new(&Root::default());
        let directory = deployments.directory();
        let directory = directory.as_path();
        let (link, own) = (directory.join(name.as_str()), directory.join(format!("{name}.0")));
        let built_in = variables::with_destdir(&variables::complete(&facts, &none, &none)?, &link);
        let values = variables::complete(&facts, &none, &manifest.default_values)?;
        Ok(Variables {
            linked: variables::with_destdir(&values, &link),
            own: variables::with_destdir(&values, &own),
            built_in: built_in.into_keys().collect(),
            name,
        })
    }
}

/// A template with values in it.
pub struct Output {
    /// What it became; variables without a value are [`NO_VALUE`].
    pub text: String,
    /// Where that is from.
    pub trace: Trace,
    /// Variables without a value, with their lines.
    pub missing: Vec<(String, usize)>,
    /// Whether something is not what it should be for another reason, so that what follows from it is no finding.
    pub is_broken: bool,
}

/// What the templates became.
pub struct Rendered {
    /// The values that are in them.
    pub variables: Variables,
    /// The configuration, if that is a template.
    pub config: Option<Output>,
    /// The unit, if there is one.
    pub unit: Option<Output>,
    /// The tmpfiles, if the image brings any.
    pub tmpfiles: Option<Output>,
    /// The files for the host.
    pub layout: Layout,
}

/// Applies the rules for variables, and renders.
pub fn check(
    subject: &Subject,
    exports: &Exports,
    manifest: &Manifest,
    variables: Variables,
    report: &mut Report,
) -> Result<Rendered> {
    let mut problems = Vec::new();
    let template = exports.config_template.as_ref().filter(|_| exports.config.is_none());
    let config = template.map(|text| render(text, Target::Json, &variables.own, &mut problems));
    let service = exports.service.as_ref().filter(|_| !manifest.no_container_service);
    let unit = service.map(|text| render(text, Target::Unit, &variables.linked, &mut problems));
    let tmpfiles = exports
        .tmpfiles
        .as_ref()
        .map(|text| render(text, Target::Tmpfiles, &variables.linked, &mut problems));
    let layout = layout(subject, manifest, &variables, &mut problems, report);
    // Of a manifest that cannot be read nobody knows the defaults.
    let shown = subject.shown(manifest::FILE);
    let known = |rule: &Rule| *rule == rules::MANIFEST_INVALID || *rule == rules::UNREADABLE;
    if report.findings.iter().any(|finding| finding.place.file == shown && known(finding.rule)) {
        problems.retain(|problem| !matches!(problem.fault, Fault::NoValue(_)));
    }
    let mut seen = BTreeSet::new();
    for problem in problems {
        tell(problem, &mut seen, report);
    }
    if let Some(service) = service {
        readable(service, &variables, report);
    }
    Ok(Rendered { variables, config, unit, tmpfiles, layout })
}

fn render(text: &Text, target: Target, values: &Values, problems: &mut Vec<Problem>) -> Output {
    let mut found = Vec::new();
    let value = |name: &str| values.get(name).map(String::as_str);
    template::render(&text.file, &text.text, target, value, &mut found);
    let missing = found.iter().filter_map(|problem| match &problem.fault {
        Fault::NoValue(name) => Some((name.clone(), problem.line)),
        _ => None,
    });
    let missing: Vec<_> = missing.collect();
    let is_broken = missing.len() < found.len();
    problems.append(&mut found);
    let (text, trace) = fill(text, target, values, NO_VALUE);
    Output { text, trace, missing, is_broken }
}

/// Renders with `other` where there is no value.
pub fn fill(text: &Text, target: Target, values: &Values, other: &str) -> (String, Trace) {
    let value = |name: &str| Some(values.get(name).map_or(other, String::as_str));
    template::render_traced(&text.file, &text.text, target, value, &mut Vec::new())
}

fn layout(
    subject: &Subject,
    manifest: &Manifest,
    variables: &Variables,
    problems: &mut Vec<Problem>,
    report: &mut Report,
) -> Layout {
    let mut found = Vec::new();
    let layout = Layout::read(&*subject.tree(), manifest, &variables.linked, &mut found);
    problems
        .extend(found.into_iter().map(|problem| Problem { file: subject.shown(&problem.file), ..problem }));
    layout.unwrap_or_else(|error| {
        report.add(&rules::HOSTFS, Place::file(subject.shown(HOSTFS)), error.to_string());
        Layout::default()
    })
}

/// One finding for each variable, where it is used first.
fn tell(problem: Problem, seen: &mut BTreeSet<String>, report: &mut Report) {
    let place = Place::at(&problem.file, problem.line, problem.column);
    match &problem.fault {
        Fault::NoValue(name) => {
            if seen.insert(name.clone()) {
                let message = format!("{name} has no default value, so it must be given with --set");
                report.add(&rules::NO_DEFAULT, place, message);
            }
        }
        Fault::Value(_) => report.add(&rules::UNESCAPABLE, place, problem.reason),
        Fault::Placeholder => report.add(&rules::PLACEHOLDER, place, problem.reason),
    }
}

/// What everyone can read.
fn readable(service: &Text, variables: &Variables, report: &mut Report) {
    let (mut uses, mut seen) = (Vec::new(), BTreeSet::new());
    template::render(&service.file, &service.text, Target::Text, |_| None, &mut uses);
    for problem in uses {
        let Fault::NoValue(name) = &problem.fault else { continue };
        if !variables.built_in.contains(name) && seen.insert(name.clone()) {
            let message = format!(
                "the value of {name} can be read by every user of the host, as units can (systemctl cat); no secret may be there"
            );
            report.add(
                &rules::READABLE_VARIABLE,
                Place::at(&problem.file, problem.line, problem.column),
                message,
            );
        }
    }
}
