//! What an installation or an update would write and do, as text: `syscontainer-checkout --dry-run`.
//!
//! What happens to existing files is decided by the same code as in an installation.
//!
//! Lines that begin with `#` say what is done. Whatever an image wrote is below them and indented, or one word of such a
//! line, so that it cannot be taken for one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use crate::container::deployment::Deployments;
use crate::container::entries::{Entry, Record};
use crate::container::info::{self, Info, RecordedFiles};
use crate::container::{derived, units};
use crate::error::{Context, Result};
use crate::host_files::changes::{Arrival, Departure, Incoming, Known};
use crate::host_files::record::DeploymentFiles;
use crate::host_files::stage;
use crate::image::Image;
use crate::image::layout::HostFile;
use crate::image::tree::FileKind;
use crate::install::plan::{Planned, Planner};
use crate::install::site::Site;
use crate::install::{atomic, register};
use crate::name::{Deployment, Name};
use crate::paths::{Root, TreePath};
use crate::program::text;
use crate::system::journal;
use crate::system::systemd::manager::{self, Enablement};

/// Shows every file below a heading with its path, and then the steps. `enable` is whether the unit is to be enabled,
/// and `outdated` are deployments that are removed at the end.
pub fn show(planner: &Planner, planned: &Planned, enable: bool, outdated: &[Deployment]) -> Result<String> {
    let Planner { site, name, .. } = *planner;
    let deployments = &site.deployments;
    let mut preview =
        Preview { out: String::new(), planner, planned, site, deployments, name, root: site.root() };
    let info = preview.info()?;
    preview.deployment(&info)?;
    preview.host_files(&info)?;
    let is_disabled = preview.registered()?;
    let link = deployments.directory().join(name.as_str());
    if let Some(previous) = planner.previous {
        let state = deployments.directory().join(Entry::State(name.clone()).to_string());
        heading(&mut preview.out, &format!("{state}: previous deployment {}", previous.deployment));
    }
    heading(&mut preview.out, &format!("{link} -> {}", planned.deployment));
    let enablement =
        if is_disabled { Some(Enablement::Disable) } else { enable.then_some(Enablement::Enable) };
    preview.steps(enablement)?;
    let mut out = preview.out;
    removed_deployments(&mut out, deployments, outdated);
    Ok(out)
}

/// The last steps, which are repeated even if nothing else is left to do.
pub struct LastSteps {
    /// Whether to enable the unit.
    pub enable: bool,
    /// Whether to reload units.
    pub reload: bool,
    /// Deployments to be removed.
    pub outdated: Vec<Deployment>,
}

/// Like [`show`], for a container on which only the last steps are repeated; `is` says why.
pub fn unchanged(planner: &Planner, is: &str, last: &LastSteps) -> String {
    let Planner { site, name, .. } = *planner;
    let mut out = String::new();
    heading(&mut out, &format!("{name} {is}"));
    if last.enable {
        heading(&mut out, &format!("systemctl enable {}", name.unit()));
    }
    if last.reload {
        load(&mut out, site, name, derived::creates_tmpfiles(site.root(), name));
    }
    removed_deployments(&mut out, &site.deployments, &last.outdated);
    out
}

/// The steps of [`register::load`].
fn load(out: &mut String, site: &Site, name: &Name, creates_tmpfiles: bool) {
    if site.manager.is_running() {
        heading(out, "systemctl daemon-reload");
    }
    if creates_tmpfiles && site.root().is_host() {
        heading(out, &format!("systemd-tmpfiles --create {name}.conf"));
    }
}

fn removed_deployments(out: &mut String, deployments: &Deployments, outdated: &[Deployment]) {
    for deployment in outdated {
        removed(out, &deployments.inside(deployment));
    }
}

fn heading(out: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# {}", text::printable(line));
}

/// A path of an image, which may look like anything.
fn shown(path: &TreePath) -> String {
    text::word(&path.to_string())
}

fn removed(out: &mut String, path: &TreePath) {
    heading(out, &format!("{}: removed", shown(path)));
}

fn content(out: &mut String, content: &str) {
    out.push_str(&text::indented(content.trim_end()));
    out.push('\n');
}

fn file(out: &mut String, path: &TreePath, text: &str) {
    heading(out, &shown(path));
    content(out, text);
}

/// The files for the host, by their paths.
fn layout(planned: &Planned) -> BTreeMap<&TreePath, &HostFile> {
    let files = planned.content.rendered.layout.files().iter();
    files.map(|file| (&file.path, file)).collect()
}

/// A preview that is being written.
struct Preview<'a> {
    out: String,
    planner: &'a Planner<'a>,
    planned: &'a Planned,
    site: &'a Site,
    deployments: &'a Deployments,
    name: &'a Name,
    root: &'a Root,
}

impl Preview<'_> {
    /// The deployment's `info`, as it will be recorded.
    fn info(&self) -> Result<Info> {
        let content = &self.planned.content;
        let mut recorded = RecordedFiles::none();
        let info = &self.planned.info;
        let tree = self.planner.tree(info.rootfs());
        let files = layout(self.planned);
        content.host_files.record(self.root, &mut recorded, |path| match files.get(path) {
            Some(file) => stage::checksum(file, &*tree),
            None => Ok(None),
        })?;
        Ok(Info { host_files: recorded, ..info.clone() })
    }

    /// The tmpfiles.d(5) file, with its header.
    fn tmpfiles(&self) -> Option<String> {
        let tmpfiles = self.planned.content.rendered.tmpfiles.as_ref();
        tmpfiles.map(|tmpfiles| format!("{}{tmpfiles}", derived::tmpfiles_header(self.name)))
    }

    /// Shows the content of the deployment.
    fn deployment(&mut self, info: &Info) -> Result<()> {
        let rendered = &self.planned.content.rendered;
        let deployment = self.deployments.inside(&self.planned.deployment);
        // Without a unit, the image's files are not kept.
        let rootfs = if rendered.unit.is_some() { deployment.join("rootfs") } else { deployment.clone() };
        let Image { name: image, digest, .. } = self.planner.image;
        heading(&mut self.out, &format!("{rootfs}: {}", journal::shown(image, digest)));
        if !rendered.layout.files().is_empty() {
            heading(&mut self.out, &format!("{deployment}/hostfs: the files for the host"));
        }
        if let Some((config, _)) = &rendered.config {
            file(&mut self.out, &deployment.join("config.json"), config);
        }
        if let Some(unit) = &rendered.unit {
            file(&mut self.out, &deployment.join(self.name.unit()), unit);
        }
        if let Some(text) = self.tmpfiles() {
            file(&mut self.out, &deployment.join(derived::tmpfiles_in_deployment(self.name)), &text);
        }
        let text = serde_json::to_string_pretty(info).context(|| "cannot show info".into())?;
        file(&mut self.out, &deployment.join(info::FILE), &text);
        Ok(())
    }

    /// Shows what happens to host files.
    fn host_files(&mut self, info: &Info) -> Result<()> {
        let previous = self.planner.previous;
        let previous = previous.map(|previous| DeploymentFiles::new(&previous.deployment, &previous.info));
        let own = DeploymentFiles::new(&self.planned.deployment, info);
        let layout = layout(self.planned);
        let incoming = own.files.installed_files.iter().map(|path| Incoming {
            path: path.clone(),
            recorded: own.files.checksum(path).map(str::to_owned),
            facts: layout.get(path).map(|file| stage::facts(file)),
        });
        let incoming: Vec<_> = incoming.collect();
        let mut known = Known::read(self.deployments, self.name)?;
        let arrivals = known.arrivals(&incoming, previous.as_ref())?;
        let departures = match &previous {
            Some(previous) => known.departures(&[previous], Some(&own))?,
            None => Vec::new(),
        };
        self.note(&mut known, &incoming, &arrivals);
        let paths = incoming.iter().map(|file| &file.path);
        let arrivals: BTreeMap<_, _> = paths.zip(arrivals.iter().map(|(_, arrival)| *arrival)).collect();
        let left: BTreeSet<&TreePath> = self.planned.content.host_files.left.iter().collect();
        for (path, host_file) in &layout {
            match arrivals.get(path) {
                Some(arrival) => describe(&mut self.out, host_file, *arrival),
                None if left.contains(path) => {
                    let path = shown(path);
                    heading(&mut self.out, &format!("{path}: is on this host already, stays as it is"));
                }
                // A directory that exists on the host.
                None => {}
            }
        }
        for outgoing in departures {
            let path = &outgoing.path;
            match outgoing.departure {
                Departure::Removed => removed(&mut self.out, path),
                Departure::Changed => {
                    let path = shown(path);
                    heading(&mut self.out, &format!("{path}: was changed on this host, is left behind"));
                }
                Departure::Kept => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, known: &mut Known, incoming: &[Incoming], arrivals: &[(PathBuf, Arrival)]) {
        let mut is_noted = false;
        for (file, (target, arrival)) in incoming.iter().zip(arrivals) {
            if let (Arrival::Created | Arrival::Replaced, Some(sum)) = (arrival, &file.recorded) {
                is_noted |= known.note(target, sum, Some(sum));
            }
        }
        if is_noted {
            let record = self.deployments.directory().join(Record::HostFiles.file_name());
            heading(&mut self.out, &format!("{record}: what is in files that containers share"));
        }
    }

    /// Shows what is derived from the deployment. Returns whether there is a unit to be disabled and removed.
    fn registered(&mut self) -> Result<bool> {
        let registration = &self.planned.registration;
        let (source, stub) = (derived::registration(self.name), derived::stub(self.name));
        let body = derived::generated_body(self.name);
        if let Some(text) = self.tmpfiles() {
            self.replaced(&derived::tmpfiles(self.name), &text);
        }
        if registration.unit.is_some() {
            self.replaced(&stub, &units::stub(registration)?);
            file(&mut self.out, &body, &units::compose(registration, &source)?);
        }
        let obsolete = register::obsolete(self.root, registration)?;
        let outdated = self.outdated()?;
        let is_unit = |path: &PathBuf| atomic::is_unit(self.root, self.name, path);
        let disable = obsolete.contains(&stub) || outdated.iter().any(is_unit);
        let paths = outdated.iter().map(|path| self.root.inside(path));
        for path in obsolete.iter().cloned().chain(paths) {
            removed(&mut self.out, &path);
        }
        if obsolete.contains(&stub) && self.site.manager.is_running() && self.root.join(&body).exists() {
            removed(&mut self.out, &body);
        }
        file(&mut self.out, &source, &registration.to_json());
        Ok(disable)
    }

    fn replaced(&mut self, path: &TreePath, text: &str) {
        if register::has(&self.root.join(path), text) {
            heading(&mut self.out, &format!("{path}: stays as it is"));
        } else {
            file(&mut self.out, path, text);
        }
    }

    /// Files of Atomic's that are removed, except for those that ours replace.
    fn outdated(&self) -> Result<Vec<PathBuf>> {
        let all = self.deployments.all(self.name)?.deployments;
        let Some((deployment, _)) = atomic::find(self.deployments, &all) else {
            return Ok(Vec::new());
        };
        let mut outdated = atomic::outdated(self.deployments, &deployment)?;
        let has_tmpfiles = self.planned.registration.tmpfiles;
        outdated.retain(|path| !has_tmpfiles || atomic::is_unit(self.root, self.name, path));
        Ok(outdated)
    }

    /// The `[Install]` section that the stub will have; empty if there is none.
    fn install_section(&self) -> Result<String> {
        let registration = &self.planned.registration;
        match registration.unit {
            Some(_) => register::install_section_of(&units::stub(registration)?),
            None => Ok(String::new()),
        }
    }

    /// The verb of systemctl(1) with which an update changes the links of an enabled unit, if it does.
    fn changes_links(&self) -> Result<Option<&'static str>> {
        let before = register::install_section(self.root, self.name)?;
        let is_unit = self.planned.registration.unit.is_some();
        if before.is_empty() || !is_unit || !self.site.manager.is_enabled(self.name)? {
            return Ok(None);
        }
        let after = self.install_section()?;
        if after.is_empty() {
            return Ok(Some("disable"));
        }
        Ok(if after == before { None } else { Some("reenable") })
    }

    fn steps(&mut self, enablement: Option<Enablement>) -> Result<()> {
        let registration = &self.planned.registration;
        let unit = self.name.unit();
        let status = manager::status(self.site.manager(), self.name)?;
        let is_loaded = status.is_some_and(|status| status.load_state != "not-found");
        if self.planner.previous.is_some() && registration.unit.is_none() && is_loaded {
            heading(&mut self.out, &format!("systemctl stop {unit}"));
        }
        let verb = match enablement {
            Some(Enablement::Disable) => Some("disable"),
            Some(Enablement::Enable) if !self.install_section()?.is_empty() => Some("enable"),
            _ => self.changes_links()?,
        };
        if let Some(verb) = verb {
            heading(&mut self.out, &format!("systemctl {verb} {unit}"));
        }
        let creates_tmpfiles = registration.tmpfiles && registration.unit.is_some();
        load(&mut self.out, self.site, self.name, creates_tmpfiles);
        Ok(())
    }
}

fn describe(out: &mut String, file: &HostFile, arrival: Arrival) {
    let path = shown(&file.path);
    let owner = format!("mode {:04o}, owner {}:{}", file.mode, file.uid, file.gid);
    let what = match &file.kind {
        FileKind::Symlink(target) => format!("symlink to {}", text::word(&target.to_string_lossy())),
        FileKind::Directory => format!("directory, {owner}"),
        _ => owner.clone(),
    };
    match arrival {
        Arrival::Created | Arrival::Replaced => {
            heading(out, &format!("{path}: {what}"));
            if let Some(text) = &file.content {
                content(out, text);
            }
        }
        Arrival::Adjusted => heading(out, &format!("{path}: {owner}; stays as it is otherwise")),
        Arrival::Kept => heading(out, &format!("{path}: stays as it is")),
        Arrival::Changed => heading(out, &format!("{path}: was changed on this host, stays as it is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_writes_no_line_of_ours() {
        let mut out = String::new();
        let nasty = "# /etc/shadow: removed\n\u{1b}[2J\r# /etc/x: stays as it is\u{2028}# y\n\n\u{202e}";
        file(&mut out, &TreePath::new(format!("/a b: removed\n{nasty}")), nasty);
        removed(&mut out, &TreePath::new("/a: stays as it is"));
        let own: Vec<&str> = out.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(own.len(), 2, "{out}");
        assert!(own[0].starts_with("# /a\\x20b:\\x20removed\\n#\\x20/etc/shadow"), "{out}");
        assert_eq!(own[1], "# /a:\\x20stays\\x20as\\x20it\\x20is: removed");
        assert!(out.contains(
            "\n    # /etc/shadow: removed\n    \\x1b[2J\\r# /etc/x: stays as it is\\u2028# y\n\n    \\u202e\n"
        ));
    }
}
