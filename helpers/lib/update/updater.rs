//! Updates: another deployment of an installed container is made, and becomes current or is staged.
//!
//! The previous deployment stays as it is, and the service keeps running it until it is restarted.

use crate::container::info::Info;
use crate::container::registration::Registration;
use crate::container::state::{Choices, State};
use crate::container::{derived, units};
use crate::error::{Context, Error, Kind, Result};
use crate::install::acceptance::{self, Wish, with_remedy};
use crate::install::draft::Draft;
use crate::install::plan::{Planned, Planner};
use crate::install::previous::Previous;
use crate::install::same::{self, Wanted};
use crate::install::site::Site;
use crate::install::{claim, preview, register};
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd::manager;
use crate::update::retention;
use crate::update::switcher::Switcher;

/// Updates one container; the caller holds its lock and that of host files, and has recovered it.
pub struct Updater<'a> {
    /// What the container is updated to.
    pub planner: Planner<'a>,
    /// What the container is now.
    pub previous: &'a Previous,
}

impl Updater<'_> {
    /// Makes the next deployment and makes it current, unless it would be the same as the current one. If this fails,
    /// nothing is changed.
    pub fn update(&self) -> Result<()> {
        let Planner { site, name, image, .. } = self.planner;
        let draft = self.draft()?;
        let planned = self.plan(&draft, "")?;
        self.tell_of_mask();
        let shown = journal::shown(&image.name, &image.digest);
        if self.is_same(&planned) {
            self.complete(&planned)?;
            log::info(&format!("{name} is up to date: {shown}"));
            return Ok(());
        }
        if let Some(reason) = failed_before(&State::load(&site.deployments, name)?, &planned.info) {
            log::warning(&format!("{} failed for {name} before: {reason}", image.name));
        }
        planned.warn_of_host_files();
        let tree = self.planner.tree(planned.info.rootfs());
        draft.make(&*tree, &planned.content, planned.info.clone())?;
        Switcher { site, name }.replace(&self.previous.deployment, &draft.deployment)?;
        let restart = match planned.registration.unit {
            Some(_) if site.manager.is_running() => format!("; 'systemctl restart {name}' runs it"),
            _ => String::new(),
        };
        let message = format!("switched {name} to {}: {shown}{restart}", planned.deployment);
        self.tell(Event::Switched, &planned, None, &message);
        self.tell_of_news(&planned);
        Ok(())
    }

    /// Makes the next deployment for [`Switcher::switch`], unless it is not needed or failed before.
    pub fn stage(&self, force: bool) -> Result<()> {
        let Planner { site, name, .. } = self.planner;
        let draft = self.draft()?;
        let planned = self.plan(&draft, " --stage")?;
        self.tell_of_mask();
        let mut state = State::load(&site.deployments, name)?;
        let outlook = self.outlook(&planned, &state, force)?;
        let message = outlook.describe(&planned, name);
        match &outlook {
            Outlook::New => {}
            Outlook::Failed(reason) => {
                self.keep_wish(&mut state, &planned)?;
                self.tell(Event::Skipped, &planned, Some(reason), &message);
                return Ok(());
            }
            Outlook::Same => {
                self.settle(&mut state, &planned)?;
                log::info(&message);
                return Ok(());
            }
            Outlook::Staged(_) => {
                self.keep_wish(&mut state, &planned)?;
                log::info(&message);
                return Ok(());
            }
        }
        check_unit(site, &planned.registration)?;
        planned.warn_of_host_files();
        // First, so that a complete deployment is never taken for one to roll back to.
        let before = state.clone();
        state.staged = Some(draft.deployment.clone());
        acceptance::remember(&mut state, &planned.info);
        if let Some(ours) = planned.info.ours() {
            state.forgive(&ours.digest, &Choices::of(&planned.info));
        }
        state.save(&site.deployments, name)?;
        let tree = self.planner.tree(planned.info.rootfs());
        if let Err(e) = draft.make(&*tree, &planned.content, planned.info.clone()) {
            // Nor is the deployment that was staged before.
            before
                .save(&site.deployments, name)
                .context(|| format!("{e}; then it failed to save the state"))?;
            return Err(e);
        }
        retention::collect(site, name)?;
        self.tell(Event::Staged, &planned, None, &format!("{message}; 'syscontainer-switch {name}' runs it"));
        self.tell_of_news(&planned);
        Ok(())
    }

    fn tell_of_mask(&self) {
        let Planner { site, name, .. } = self.planner;
        if claim::is_masked(site.root(), name) {
            log::info(&format!("{name} is masked, so nothing runs until 'systemctl unmask {name}'"));
        }
    }

    /// Plans an update that is made with these options. One that the user has to accept first is recorded.
    fn plan(&self, draft: &Draft, options: &str) -> Result<Planned> {
        let Planner { site, name, image, .. } = self.planner;
        let planned = self.planner.plan(draft).and_then(|planned| self.check_service(planned));
        planned.map_err(|e| {
            let e = with_remedy(e, name, options);
            if e.kind() == Kind::Unaccepted {
                let subject = Subject {
                    reason: Some(e.to_string()),
                    ..Subject::of(&self.previous.deployment, Some((&image.name, Some(image.digest.clone()))))
                };
                // The caller reports it on stderr.
                let message = format!("nothing was changed: {e}");
                journal::record(site.root(), Event::Unaccepted, &subject, &message);
            }
            e
        })
    }

    /// The unit of what came with the operating system cannot be removed.
    fn check_service(&self, planned: Planned) -> Result<Planned> {
        let Planner { site, name, image, .. } = self.planner;
        if planned.registration.unit.is_some() || site.deployments.of_system(name).is_none() {
            return Ok(planned);
        }
        Err(Error::new(format!(
            "{} has no service, and that of {name} came with the operating system and would stay",
            image.name
        )))
    }

    /// Tells what the container did not have before: `/exports`, and another source.
    fn tell_of_news(&self, planned: &Planned) {
        planned.tell_of_image();
        let (name, image) = (self.planner.name, self.planner.image);
        let Some(before) = self.previous.provenance() else { return };
        if !before.is_same(&image.provenance) {
            log::info(&format!("{name} comes from {} from now on, instead of {before}", image.provenance));
        }
        match (&before.policy_scope, &image.provenance.policy_scope) {
            (Some(before), Some(now)) if before != now => log::info(&format!(
                "the signature policy rule for {} is now {now}; it was {before}",
                image.name
            )),
            _ => {}
        }
    }

    /// Everything that [`Updater::stage`], and then [`Switcher::switch`], would write and do, as text.
    pub fn preview_stage(&self, force: bool) -> Result<String> {
        let Planner { site, name, .. } = self.planner;
        let planned = self.planner.plan(&self.draft()?).map_err(|e| with_remedy(e, name, " --stage"))?;
        let outlook = self.outlook(&planned, &State::load(&site.deployments, name)?, force)?;
        let text = outlook.describe(&planned, name);
        if outlook != Outlook::New {
            return Ok(format!("# {text}\n"));
        }
        let directory = site.deployments.inside(&planned.deployment);
        Ok(format!(
            "# {text}: only {directory} is made; the rest is what 'syscontainer-switch {name}' does then\n{}",
            self.preview()?
        ))
    }

    /// Decides whether there is anything to stage.
    fn outlook(&self, planned: &Planned, state: &State, force: bool) -> Result<Outlook> {
        let Planner { site, name, .. } = self.planner;
        if self.previous.info.is_from_atomic() {
            return Err(Error::new(format!(
                "it was installed by Project Atomic's tools, and there would be no way back; update it once with 'syscontainer-checkout --update {name}'"
            )));
        }
        if self.is_same(planned) {
            return Ok(Outlook::Same);
        }
        let failed_before = if force { None } else { failed_before(state, &planned.info) };
        if let Some(reason) = failed_before {
            return Ok(Outlook::Failed(reason));
        }
        let staged = state.staged(&site.deployments);
        let is_it = |staged: &&Deployment| {
            site.deployments.info(staged).is_ok_and(|info| is_same(&info, &planned.info))
        };
        Ok(staged.filter(is_it).map_or(Outlook::New, |staged| Outlook::Staged(staged.clone())))
    }

    /// Removes the staged deployment, which is no longer wanted, and remembers what was decided on `/exports`.
    fn settle(&self, state: &mut State, planned: &Planned) -> Result<()> {
        let before = state.clone();
        state.staged = None;
        self.decide(state, planned);
        self.save(state, &before)
    }

    /// Remembers what was decided on `/exports`, although no deployment is made. One that was staged before and uses
    /// them is no longer wanted if they are ignored.
    fn keep_wish(&self, state: &mut State, planned: &Planned) -> Result<()> {
        let deployments = &self.planner.site.deployments;
        let before = state.clone();
        self.decide(state, planned);
        let staged = state.staged(deployments).and_then(|staged| deployments.info(staged).ok());
        if staged.is_some_and(|staged| acceptance::is_overruled(state, &staged)) {
            state.staged = None;
        }
        self.save(state, &before)
    }

    fn decide(&self, state: &mut State, planned: &Planned) {
        if self.planner.options.exports != Wish::AsBefore {
            acceptance::remember(state, &planned.info);
        }
    }

    /// Writes the state if it has changed, and removes deployments that it no longer names.
    fn save(&self, state: &State, before: &State) -> Result<()> {
        let Planner { site, name, .. } = self.planner;
        if state != before {
            state.save(&site.deployments, name)?;
            retention::collect(site, name)?;
        }
        Ok(())
    }

    fn tell(&self, event: Event, planned: &Planned, reason: Option<&str>, message: &str) {
        let image = (planned.info.image.as_str(), planned.info.digest());
        let subject = Subject {
            previous: Some(self.previous.deployment.to_string()),
            reason: reason.map(str::to_owned),
            ..Subject::of(&planned.deployment, Some(image))
        };
        journal::tell(self.planner.site.root(), event, &subject, message);
    }

    /// Everything that [`Updater::update`] would write and do, as text.
    pub fn preview(&self) -> Result<String> {
        let Planner { site, name, .. } = self.planner;
        let draft = self.draft()?;
        let planned = self.planner.plan(&draft).map_err(|e| with_remedy(e, name, ""))?;
        if self.is_same(&planned) {
            let last = preview::LastSteps {
                enable: false,
                reload: manager::needs_reload(site.manager(), name)?,
                outdated: self.outdated(&self.previous.deployment, true)?,
            };
            return Ok(preview::unchanged(&self.planner, "is up to date", &last));
        }
        let outdated = self.outdated(&planned.deployment, planned.registration.unit.is_some())?;
        let is_enabled_anew = self.is_enabled_anew(&planned);
        self.tell_of_news(&planned);
        let masked = self.planner.masked(&draft, planned)?;
        preview::show(&self.planner, &masked, is_enabled_anew, &outdated)
    }

    /// Deployments that are removed once `to` is current. `runs` is whether the service keeps running: if its unit is
    /// removed, it is stopped first.
    fn outdated(&self, to: &Deployment, runs: bool) -> Result<Vec<Deployment>> {
        let Planner { site, name, .. } = self.planner;
        retention::outdated(site, name, &retention::Next { from: &self.previous.deployment, to, runs })
    }

    /// The next deployment has a new number, so that one to roll back to is never overwritten.
    fn draft(&self) -> Result<Draft<'_>> {
        let Planner { site, name, .. } = self.planner;
        Ok(Draft::new(&site.deployments, site.deployments.next(name)?))
    }

    fn is_same(&self, planned: &Planned) -> bool {
        is_same(&self.previous.info, &planned.info)
    }

    /// Whether the unit is enabled again: only if there was no unit before, or one of Atomic's.
    fn is_enabled_anew(&self, planned: &Planned) -> bool {
        let before = &self.previous.info;
        let had_unit = before.has_container_service && !before.is_from_atomic();
        planned.info.ours().is_some_and(|ours| ours.enabled)
            && planned.registration.unit.is_some()
            && !had_unit
    }

    /// Does what an update that was killed near its end left undone.
    fn complete(&self, planned: &Planned) -> Result<()> {
        let Planner { site, name, .. } = self.planner;
        if manager::needs_reload(site.manager(), name)? {
            register::load(site, name)?;
        }
        let mut state = State::load(&site.deployments, name)?;
        self.settle(&mut state, planned)?;
        retention::collect(site, name)
    }
}

/// The outcome of staging an update.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outlook {
    /// Nothing to do: the current deployment is the same.
    Same,
    /// Nothing to do: it failed before, for this reason.
    Failed(String),
    /// Nothing to do: this deployment is staged already, and is the same.
    Staged(Deployment),
    /// A new deployment.
    New,
}

impl Outlook {
    fn describe(&self, planned: &Planned, name: &Name) -> String {
        let shown = match planned.info.digest() {
            Some(digest) => journal::shown(&planned.info.image, &digest),
            None => planned.info.image.clone(),
        };
        match self {
            Outlook::Same => format!("{name} is up to date: {shown}"),
            Outlook::Failed(reason) => format!(
                "skipping {shown} for {name}, which was tried before and failed: {reason}; --force tries it again"
            ),
            Outlook::Staged(staged) => format!("{staged} is staged already: {shown}"),
            Outlook::New => format!("staged {}: {shown}", planned.deployment),
        }
    }
}

/// Why an earlier deployment with the same image and choices failed, if it did.
fn failed_before(state: &State, planned: &Info) -> Option<String> {
    let ours = planned.ours()?;
    state.failed_before(&ours.digest, &Choices::of(planned)).map(|failure| failure.reason.clone())
}

/// Whether two deployments are the same. With a root file system of the user's they never are, since that may have
/// changed.
fn is_same(old: &Info, new: &Info) -> bool {
    let wanted = Wanted::of(new).filter(|wanted| wanted.remote.is_none());
    wanted.is_some_and(|wanted| same::is_same(old, &wanted))
}

/// Refuses a registration whose unit systemd would not load, and warns about what systemd would ignore.
fn check_unit(site: &Site, registration: &Registration) -> Result<()> {
    let name = &registration.name;
    if registration.unit.is_none() {
        return Ok(());
    }
    let body = units::compose(registration, &derived::registration(name))?;
    let text = format!("{}\n{body}", units::stub(registration)?);
    for complaint in site.manager.analyze(&text, name)?.unwrap_or_default() {
        let line = complaint.line.and_then(|line| text.lines().nth(line.saturating_sub(1)));
        let place = line.map_or(String::new(), |line| format!(" (line '{}')", line.trim()));
        let message = format!("{}: {}{place}", name.unit(), complaint.message);
        if complaint.is_refusal {
            let image = &registration.image;
            return Err(Error::new(format!("systemd would not load the unit of {image}: {message}")));
        }
        log::warning(&message);
    }
    Ok(())
}
