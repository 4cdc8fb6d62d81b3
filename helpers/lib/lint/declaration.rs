//! Rules for declarations, syscontainer.conf(5): all that the programs would say about one that read it on a host.
//!
//! A declaration may come with sources that are anybody's. What is read is the file itself and its drop-ins beside it, as
//! far as they are below its directory; nothing that it names is looked at.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;

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
/// What masks a file.
const NULL: &str = "/dev/null";
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
    if is_mask(&directory, file_name) {
        return Ok(report);
    }
    let below = drop_ins(&directory, stem, &name);
    let files: Vec<String> = std::iter::once(file_name.to_owned()).chain(below).collect();
    let texts = Texts::read(&directory, &files);
    let is_whole = texts.wrong.is_empty();
    texts.wrong.into_iter().for_each(|(below, why)| report.add(&DECLARATION, place(&below), why));
    let main = TreePath::new(Path::new("/").join(file_name));
    let source = Source { place: files::Place::Host, path: main, drop_ins: Vec::new() };
    let parsed = parse::parse(&name, &source, &texts.good);
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

/// The files of a declaration as they were read.
#[derive(Default)]
struct Texts {
    good: Vec<(TreePath, Vec<u8>)>,
    /// Which ones cannot be read, and why.
    wrong: Vec<(String, String)>,
}

impl Texts {
    /// Reads files below a directory, the main one first, without those that mask others.
    fn read(directory: &Directory, files: &[String]) -> Texts {
        let (mut texts, mut left) = (Texts::default(), TOTAL_MAX);
        for (number, below) in files.iter().enumerate() {
            let read = source_tree::read(directory, Path::new(below), FILE_MAX, Links::Below);
            let why = match read.and_then(|text| text.ok_or_else(|| Error::new("there is no such file"))) {
                Ok(text) if text.is_empty() && number > 0 => continue,
                Ok(text) if text.len() <= left => {
                    left -= text.len();
                    texts.good.push((TreePath::new(Path::new("/").join(below)), text));
                    continue;
                }
                Ok(_) => {
                    texts.wrong.push((below.clone(), too_large()));
                    break;
                }
                Err(_) if is_mask(directory, below) => continue,
                Err(e) => outside(directory, below).unwrap_or_else(|| e.to_string()),
            };
            texts.wrong.push((below.clone(), why));
        }
        texts
    }
}

/// Whether a file is a link to /dev/null, which masks others. No link is followed for that.
fn is_mask(directory: &Directory, below: &str) -> bool {
    source_tree::link_target(directory, Path::new(below)).is_ok_and(|target| target == Some(NULL.into()))
}

/// Why a link is not followed, and what to do, if it leads out of the directory.
fn outside(directory: &Directory, below: &str) -> Option<String> {
    let found = directory.find(Path::new(below), Links::Below).err()?;
    if Errno::from_io_error(&found) != Some(Errno::XDEV) {
        return None;
    }
    let why =
        "leads out of the directory of the declaration and is not followed, since that may come from anybody";
    match source_tree::link_target(directory, Path::new(below)) {
        Ok(Some(target)) => {
            let target = target.display();
            Some(format!(
                "it is a link to {target}, which {why}; check what it leads to, or put a copy in its place"
            ))
        }
        _ => Some(format!("a link in its path {why}; check what it leads to, or put a copy in its place")),
    }
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
        let opened = match directory.find_directory(Path::new(&below), Links::Below) {
            Ok(Some(opened)) => opened,
            Ok(None) => continue,
            // It is in the way when it is read.
            Err(_) => {
                found.push((String::new(), below));
                continue;
            }
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const GOOD: &str = "[Container]\nImage=r.io/x\n";

    /// What is found in a file of this directory.
    fn found(directory: &Path, file: &str) -> Vec<String> {
        let report = check(&directory.join(file)).unwrap();
        report.findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn masks_are_recognised_and_no_findings() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        symlink(NULL, path("agent.conf")).unwrap();
        fs::write(path("web.conf"), GOOD).unwrap();
        fs::create_dir(path("web.conf.d")).unwrap();
        symlink(NULL, path("web.conf.d/10.conf")).unwrap();
        fs::write(path("web.conf.d/20.conf"), "").unwrap();
        for file in ["agent.conf", "web.conf"] {
            assert!(is_one(&path(file)));
            assert_eq!(found(tree.path(), file), [""; 0], "{file}");
        }
    }

    #[test]
    fn instances_are_links_to_templates_beside_them() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::write(path("web@.conf"), format!("{GOOD}Set=A=%i\n")).unwrap();
        symlink("web@.conf", path("web@a.conf")).unwrap();
        symlink("web@a.conf", path("web@b.conf")).unwrap();
        for file in ["web@.conf", "web@a.conf", "web@b.conf"] {
            assert_eq!(found(tree.path(), file), [""; 0], "{file}");
        }
    }

    #[test]
    fn links_that_lead_elsewhere_are_not_followed() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::create_dir(path("a")).unwrap();
        fs::write(path("secret.conf"), "hunter2").unwrap();
        fs::write(path("a/web.conf"), GOOD).unwrap();
        fs::write(path("a/db.conf"), GOOD).unwrap();
        fs::create_dir(path("a/db.conf.d")).unwrap();
        for (target, link) in [
            ("/usr/lib/syscontainers/web@.conf", "a/web@a.conf"),
            ("../secret.conf", "a/up.conf"),
            ("up.conf", "a/chain.conf"),
            ("/dev/zero", "a/db.conf.d/x.conf"),
            ("/etc", "a/web.conf.d"),
        ] {
            symlink(target, path(link)).unwrap();
        }
        for (file, target) in [
            ("web@a.conf", "/usr/lib/syscontainers/web@.conf"),
            ("up.conf", "../secret.conf"),
            ("chain.conf", "up.conf"),
            ("db.conf", "/dev/zero"),
            ("web.conf", "/etc"),
        ] {
            let found = found(&path("a"), file);
            let expected = format!("it is a link to {target}, which leads out of the directory");
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{file}: {found:?}");
        }
    }
}
