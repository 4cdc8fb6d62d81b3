//! What an installation or an update would write and do, as text: `syscontainer-checkout --dry-run`.
//!
//! What becomes of files that are there already is asked where it is decided for those who do it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::container::deployment::{Deployments, Info};
use crate::container::state;
use crate::container::units;
use crate::error::{Context, Result};
use crate::host_files::changes::{Arrival, Departure, Incoming, Known};
use crate::host_files::stage;
use crate::host_files::written;
use crate::image::layout::HostFile;
use crate::image::tree::FileKind;
use crate::install::atomic;
use crate::install::plan::{Planned, Planner};
use crate::install::register;
use crate::name::Name;
use crate::paths::{ATTACHED, GENERATED, Root, STUBS, TMPFILES};
use crate::system::systemd;

/// Every file with its path above it; then what is done. `enable` says whether the unit is to be enabled, and `outdated` which
/// deployments go then.
pub fn show(planner: &Planner, planned: &Planned, enable: bool, outdated: &[String]) -> Result<String> {
    let Planner { deployments, name, .. } = *planner;
    let root = deployments.root();
    let mut preview = Preview { out: String::new(), planner, planned, deployments, name, root };
    let info = preview.info()?;
    preview.deployment(&info)?;
    preview.host_files(&info)?;
    let disable = preview.registered()?;
    let link = deployments.directory().join(name.as_str());
    if let Some(previous) = planner.previous {
        let state = deployments.directory().join(state::file(name));
        heading(&mut preview.out, &format!("{}: {} was before", state.display(), previous.deployment));
    }
    heading(&mut preview.out, &format!("{} -> {}", link.display(), planned.deployment));
    preview.steps(disable, enable)?;
    let mut out = preview.out;
    deployments_go(&mut out, deployments, outdated);
    Ok(out)
}

/// As [`show`], where the container `is` as it is to be, so that only the last steps are done again.
pub fn same(planner: &Planner, is: &str, enable: bool, reload: bool, outdated: &[String]) -> String {
    let Planner { deployments, name, .. } = *planner;
    let root = deployments.root();
    let mut out = String::new();
    heading(&mut out, &format!("{name} {is}"));
    if enable {
        heading(&mut out, &format!("systemctl enable {}", name.unit()));
    }
    if reload {
        load(&mut out, root, name, register::creates_tmpfiles(root, name));
    }
    deployments_go(&mut out, deployments, outdated);
    out
}

/// As [`register::load`] does.
fn load(out: &mut String, root: &Root, name: &Name, creates_tmpfiles: bool) {
    if systemd::is_running(root) {
        heading(out, "systemctl daemon-reload");
    }
    if creates_tmpfiles && root.is_host() {
        heading(out, &format!("systemd-tmpfiles --create {name}.conf"));
    }
}

fn deployments_go(out: &mut String, deployments: &Deployments, outdated: &[String]) {
    for deployment in outdated {
        goes(out, &deployments.directory().join(deployment));
    }
}

fn heading(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# {text}");
}

fn goes(out: &mut String, path: &Path) {
    heading(out, &format!("{}: goes", path.display()));
}

fn file(out: &mut String, path: &Path, text: &str) {
    heading(out, &path.display().to_string());
    let _ = writeln!(out, "{}\n", text.trim_end());
}

/// The files for the host, by their paths.
fn layout(planned: &Planned) -> BTreeMap<&str, &HostFile> {
    let files = planned.content.rendered.layout.files().iter();
    files.map(|file| (file.path.as_str(), file)).collect()
}

/// What is shown so far, and of what.
struct Preview<'a> {
    out: String,
    planner: &'a Planner<'a>,
    planned: &'a Planned,
    deployments: &'a Deployments,
    name: &'a Name,
    root: &'a Root,
}

impl Preview<'_> {
    /// As it will be recorded.
    fn info(&self) -> Result<Info> {
        let content = &self.planned.content;
        let mut info = self.planned.info.clone();
        let tree = self.planner.tree(info.rootfs.as_deref());
        let files = layout(self.planned);
        content.host_files.record(self.root, &mut info, |path| match files.get(path) {
            Some(file) => stage::checksum(file, &*tree),
            None => Ok(None),
        })?;
        Ok(info)
    }

    /// With what checkouts add to it.
    fn tmpfiles(&self) -> Option<String> {
        let tmpfiles = self.planned.content.rendered.tmpfiles.as_ref();
        tmpfiles.map(|tmpfiles| format!("{}{tmpfiles}", register::tmpfiles_header(self.name)))
    }

    /// What is in the deployment.
    fn deployment(&mut self, info: &Info) -> Result<()> {
        let rendered = &self.planned.content.rendered;
        let deployment = self.deployments.directory().join(&self.planned.deployment);
        // Where nothing runs, the files do not stay.
        let rootfs = if rendered.unit.is_some() { deployment.join("rootfs") } else { deployment.clone() };
        heading(&mut self.out, &format!("{}: {} ({})", rootfs.display(), info.image, info.digest));
        if !rendered.layout.files().is_empty() {
            heading(&mut self.out, &format!("{}/hostfs: the files for the host", deployment.display()));
        }
        if let Some((config, _)) = &rendered.config {
            file(&mut self.out, &deployment.join("config.json"), config);
        }
        if let Some(unit) = &rendered.unit {
            file(&mut self.out, &deployment.join(self.name.unit()), unit);
        }
        if let Some(text) = self.tmpfiles() {
            file(&mut self.out, &deployment.join(register::tmpfiles_name(self.name)), &text);
        }
        let text = serde_json::to_string_pretty(info).context(|| "cannot show info".into())?;
        file(&mut self.out, &deployment.join("info"), &text);
        Ok(())
    }

    /// What becomes of files of the host.
    fn host_files(&mut self, info: &Info) -> Result<()> {
        let previous = self.planner.previous.map(|previous| (previous.deployment.as_str(), &previous.info));
        let layout = layout(self.planned);
        let incoming = info.installed_files.iter().map(|path| Incoming {
            path: path.clone(),
            recorded: info.installed_files_checksum.get(path).cloned(),
            facts: layout.get(path.as_str()).map(|file| stage::facts(file)),
        });
        let incoming: Vec<_> = incoming.collect();
        let mut known = Known::read(self.deployments, self.name)?;
        let arrivals = known.arrivals(&incoming, previous)?;
        let departures = match previous {
            Some((_, previous)) => known.departures(&[previous], Some(info))?,
            None => Vec::new(),
        };
        self.note(&mut known, &incoming, &arrivals);
        let paths = incoming.iter().map(|file| file.path.as_str());
        let arrivals: BTreeMap<_, _> = paths.zip(arrivals.iter().map(|(_, arrival)| *arrival)).collect();
        let left = &self.planned.content.host_files.left;
        for (path, host_file) in &layout {
            match arrivals.get(path) {
                Some(arrival) => describe(&mut self.out, host_file, *arrival),
                None if left.iter().any(|left| left == path) => {
                    heading(&mut self.out, &format!("{path}: is on this host already, stays as it is"));
                }
                // A directory of the host.
                None => {}
            }
        }
        for outgoing in departures {
            let path = Path::new(&outgoing.path);
            match outgoing.departure {
                Departure::Goes => goes(&mut self.out, path),
                Departure::Changed => {
                    heading(
                        &mut self.out,
                        &format!("{}: was changed on this host, is left behind", path.display()),
                    );
                }
                Departure::Stays => {}
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
            let record = self.deployments.directory().join(written::FILE);
            heading(&mut self.out, &format!("{}: what is in files that containers share", record.display()));
        }
    }

    /// What is derived from the deployment. Tells whether a unit is there that is disabled and goes.
    fn registered(&mut self) -> Result<bool> {
        let registration = &self.planned.registration;
        let source = Path::new(ATTACHED).join(format!("{}.json", self.name));
        let stub = Path::new(STUBS).join(self.name.unit());
        let body = Path::new(GENERATED).join(units::path(self.name));
        if let Some(text) = self.tmpfiles() {
            self.replaced(&Path::new(TMPFILES).join(format!("{}.conf", self.name)), &text);
        }
        if registration.service {
            self.replaced(&stub, &units::stub(registration)?);
            file(&mut self.out, &body, &units::compose(registration, &source)?);
        }
        let obsolete = register::obsolete(self.root, self.name, registration)?;
        let outdated = self.outdated()?;
        let disable = obsolete.contains(&stub)
            || outdated.iter().any(|path| atomic::is_unit(self.root, self.name, path));
        for path in obsolete.iter().chain(&outdated) {
            goes(&mut self.out, &self.root.inside(path));
        }
        if obsolete.contains(&stub) && systemd::is_running(self.root) && self.root.join(&body).exists() {
            goes(&mut self.out, &body);
        }
        file(&mut self.out, &source, &registration.to_json());
        Ok(disable)
    }

    fn replaced(&mut self, path: &Path, text: &str) {
        match register::has(&self.root.join(path), text) {
            true => heading(&mut self.out, &format!("{}: stays as it is", path.display())),
            false => file(&mut self.out, path, text),
        }
    }

    /// What of an original's goes; what ours is written to does not.
    fn outdated(&self) -> Result<Vec<PathBuf>> {
        let (all, _) = self.deployments.all(self.name)?;
        let Some((deployment, _)) = atomic::find(self.deployments, self.name, &all) else {
            return Ok(Vec::new());
        };
        let mut outdated = atomic::outdated(self.deployments, self.name, &deployment)?;
        let has_tmpfiles = self.planned.registration.tmpfiles;
        outdated.retain(|path| !has_tmpfiles || atomic::is_unit(self.root, self.name, path));
        Ok(outdated)
    }

    /// What becomes of the links of `systemctl enable` where a unit stays a unit.
    fn changes_links(&self) -> Result<Option<&'static str>> {
        let registration = &self.planned.registration;
        let before = register::install_section(self.root, self.name)?;
        if before.is_empty() || !registration.service || !systemd::is_enabled(self.root, self.name)? {
            return Ok(None);
        }
        let after = register::install_section_of(&units::stub(registration)?)?;
        Ok(match after.is_empty() {
            true => Some("disable"),
            false => Some("reenable").filter(|_| after != before),
        })
    }

    fn steps(&mut self, disable: bool, enable: bool) -> Result<()> {
        let registration = &self.planned.registration;
        let unit = self.name.unit();
        let wanted =
            self.planned.content.rendered.unit.as_ref().is_some_and(|unit| unit.contains("[Install]"));
        let is_update = self.planner.previous.is_some();
        if is_update && !registration.service && systemd::is_loaded(self.root, self.name)? {
            heading(&mut self.out, &format!("systemctl stop {unit}"));
        }
        if disable {
            heading(&mut self.out, &format!("systemctl disable {unit}"));
        }
        if enable && wanted {
            heading(&mut self.out, &format!("systemctl enable {unit}"));
        } else if let Some(verb) = self.changes_links()? {
            heading(&mut self.out, &format!("systemctl {verb} {unit}"));
        }
        let creates_tmpfiles = registration.tmpfiles && registration.service;
        load(&mut self.out, self.root, self.name, creates_tmpfiles);
        Ok(())
    }
}

fn describe(out: &mut String, file: &HostFile, arrival: Arrival) {
    let path = &file.path;
    let owner = format!("mode {:04o}, owner {}:{}", file.mode, file.uid, file.gid);
    let what = match &file.kind {
        FileKind::Symlink(target) => format!("symlink to {}", target.display()),
        FileKind::Directory => format!("directory, {owner}"),
        _ => owner.clone(),
    };
    match arrival {
        Arrival::Created | Arrival::Replaced => {
            heading(out, &format!("{path}: {what}"));
            if let Some(content) = &file.content {
                let _ = writeln!(out, "{}\n", content.trim_end());
            }
        }
        Arrival::Adjusted => heading(out, &format!("{path}: {owner}; stays as it is otherwise")),
        Arrival::Kept => heading(out, &format!("{path}: stays as it is")),
        Arrival::Changed => heading(out, &format!("{path}: was changed on this host, stays as it is")),
    }
}
