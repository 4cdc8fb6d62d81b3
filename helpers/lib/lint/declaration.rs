//! Rules for declarations, syscontainer.conf(5): all that the programs would say about one that read it on a host.
//!
//! A declaration may come with sources that are anybody's. What is read is the file itself and its drop-ins beside it, as
//! far as they are below its directory; nothing that it names is looked at.

use std::collections::BTreeSet;
use std::path::Path;

use super::finding::{LintReport, Place};
use super::rules::{DECLARATION, DECLARATION_KEY};
use super::source_tree;
use crate::declaration::files::{self, DROP_INS_MAX, FILE_MAX, Source, TOTAL_MAX};
use crate::declaration::parse::{self, Fault};
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::TreePath;
use crate::system::directory::{Directory, Links};

/// What declarations and their drop-ins end in.
const SUFFIX: &str = ".conf";
/// The instance that a template is checked as.
const INSTANCE: &str = "instance";

/// Whether a path is that of a declaration, or of something else in the place of one.
pub fn is_one(path: &Path) -> bool {
    let has_suffix = path.extension().is_some_and(|extension| extension == "conf");
    has_suffix && path.symlink_metadata().is_ok() && !path.is_dir()
}

/// Checks a declaration, with the drop-ins beside it.
pub fn check(path: &Path) -> Result<LintReport> {
    let what = || format!("cannot check {}", path.display());
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Directory::open(above).context(what)?;
    let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = file_name.strip_suffix(SUFFIX).unwrap_or_default();
    let mut report = LintReport::default();
    let place = |name: &str| Place::file(path.with_file_name(name).display().to_string());
    let name = name(stem).or_else(|e| {
        report.add(&DECLARATION, place(file_name), e.to_string());
        INSTANCE.parse()
    })?;
    let (mut texts, mut left, mut is_whole) = (Vec::new(), TOTAL_MAX, true);
    for below in std::iter::once(file_name.to_owned()).chain(drop_ins(&directory, stem, &name)) {
        let read = source_tree::read(&directory, Path::new(&below), FILE_MAX, Links::Below);
        let text = read.and_then(|text| text.ok_or_else(|| Error::new("there is no such file")));
        match text {
            // Such a drop-in masks others.
            Ok(text) if text.is_empty() && below != file_name => {}
            Ok(text) if text.len() <= left => {
                left -= text.len();
                texts.push((TreePath::new(Path::new("/").join(&below)), text));
            }
            Ok(_) => {
                report.add(&DECLARATION, place(&below), too_large());
                break;
            }
            Err(e) => {
                is_whole = false;
                report.add(&DECLARATION, place(&below), e.to_string());
            }
        }
    }
    let main = TreePath::new(Path::new("/").join(file_name));
    let source = Source { place: files::Place::Host, path: main, drop_ins: Vec::new() };
    let parsed = parse::parse(&name, &source, &texts);
    let mut tell = |rule, fault: &Fault| {
        let below = fault.path.as_path().strip_prefix("/").unwrap_or(fault.path.as_path());
        let file = above_shown(path).join(below).display().to_string();
        let place = fault.line.map_or(Place::file(file.as_str()), |line| Place::at(file.as_str(), line, 1));
        report.add(rule, place, fault.text.clone());
    };
    // Without a file, what is missing in the others says nothing.
    parsed.errors.iter().filter(|fault| is_whole || fault.line.is_some()).for_each(|f| tell(&DECLARATION, f));
    parsed.warnings.iter().for_each(|fault| tell(&DECLARATION_KEY, fault));
    report.findings.sort_by(|a, b| (&a.place.file, a.place.position).cmp(&(&b.place.file, b.place.position)));
    Ok(report)
}

/// The directory of a path as it was given.
fn above_shown(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn too_large() -> String {
    format!("with it, the files are larger than the limit of {} KiB in all", TOTAL_MAX >> 10)
}

/// The name of the container that a file declares; of a template, that of an instance.
fn name(stem: &str) -> Result<Name> {
    if stem.ends_with('@') { format!("{stem}{INSTANCE}").parse() } else { stem.parse() }
}

/// Paths of the drop-ins beside a file, in order. Those of an instance take precedence over those of its template.
fn drop_ins(directory: &Directory, stem: &str, name: &Name) -> Vec<String> {
    let template = name.instance().map(|_| format!("{}@", name.prefix()));
    let owners: BTreeSet<String> = [Some(stem.to_owned()), template].into_iter().flatten().collect();
    let mut found: Vec<(String, String)> = Vec::new();
    // The longer name, which is the instance's, comes first.
    for owner in owners.into_iter().rev() {
        let below = format!("{owner}{SUFFIX}.d");
        let Ok(Some(opened)) = directory.find_directory(Path::new(&below), Links::Below) else { continue };
        for name in opened.names(DROP_INS_MAX).unwrap_or_default() {
            let Some(name) = name.to_str().filter(|name| name.ends_with(SUFFIX) && !name.starts_with('.'))
            else {
                continue;
            };
            if found.iter().all(|(known, _)| known != name) {
                found.push((name.to_owned(), format!("{below}/{name}")));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}
