//! Carrying out what is to be done for a declaration.

use std::path::PathBuf;

use crate::apply::fetch::Fetch;
use crate::apply::images::Images;
use crate::apply::row::{Action, Done};
use crate::apply::task::{Deploy, Facts, Installed, Task, Which};
use crate::apply::wanted::Wanted;
use crate::container::declared::Declared;
use crate::container::registration;
use crate::container::runtime::Runtime;
use crate::container::standing;
use crate::container::state::{Purpose, State};
use crate::declaration::Declaration;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::install::claim;
use crate::install::draft::Draft;
use crate::install::installer::Installer;
use crate::install::plan::{Options, Planner};
use crate::install::previous::Previous;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::system::journal;
use crate::system::lock;
use crate::system::systemd::links;
use crate::update::switcher::{Recovery, Switcher};
use crate::update::updater::Updater;

/// What is done at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Nothing is changed.
    pub dry_run: bool,
    /// Nothing is pulled.
    pub no_pull: bool,
    /// Nothing but that.
    pub pull_only: bool,
    /// What was installed is started, if it is enabled.
    pub start: bool,
}

/// Applies declarations to a host.
pub struct Applier<'a> {
    /// Where containers are installed.
    pub site: &'a Site,
    /// Pulls.
    pub fetch: Fetch<'a>,
    /// What is done at all.
    pub scope: Scope,
}

/// Everything that a task is carried out with.
pub(super) struct Work<'a> {
    pub(super) site: &'a Site,
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) images: &'a dyn Images,
    pub(super) installed: Option<Installed>,
    was_enabled: Option<bool>,
}

impl Applier<'_> {
    /// Applies one declaration; `images` opens the store, which a pull may just have made.
    pub fn apply(
        &self,
        declaration: &Declaration,
        images: impl Fn() -> Result<Box<dyn Images>>,
    ) -> Result<Done> {
        let wanted = Wanted::of(self.site.root(), declaration)?;
        let needs_pull = !self.scope.no_pull && self.needs_pull(&wanted, &*images()?)?;
        if self.scope.dry_run {
            return self.preview(&wanted, &*images()?, needs_pull);
        }
        let pulled = needs_pull && self.fetch.pull(&wanted)?;
        if self.scope.pull_only {
            return Ok(match pulled {
                true => Done::new(Action::Pulled, format!("pulled {}", wanted.image)),
                false => Done::new(Action::None, "nothing to pull"),
            });
        }
        let images = images()?;
        standing::check(&self.site.deployments, &declaration.name)?;
        self.site.deployments.create()?;
        let _container = lock::container(self.site.root(), &declaration.name)?;
        // Recovering removes what is left of it.
        let was_enabled = self.was_enabled(&wanted)?;
        if let Recovery::Reverted(why) = (Switcher { site: self.site, name: &declaration.name }).recover()? {
            log::warning(&why);
        }
        let work = Work::of(self.site, &wanted, &*images)?;
        Work { was_enabled, ..work }.carry_out(self.scope.start)
    }

    /// Whether the unit of a container is enabled whose deployments are gone, but for what the declaration has changed since.
    fn was_enabled(&self, wanted: &Wanted) -> Result<Option<bool>> {
        let Declaration { name, choices, .. } = wanted.declaration;
        let registered = registration::find(self.site.root(), name).ok().flatten();
        let declared = registered.and_then(|(_, registration)| registration.declared);
        let counts = declared.is_some_and(|declared| declared == wanted.digest || choices.enable.is_none());
        if !counts
            || claim::is_masked(self.site.root(), name)
            || self.site.deployments.current(name)?.is_some()
        {
            return Ok(None);
        }
        self.site.manager.is_enabled(name).map(Some)
    }

    fn needs_pull(&self, wanted: &Wanted, images: &dyn Images) -> Result<bool> {
        let work = Work::of(self.site, wanted, images)?;
        let state = work.state()?;
        let facts = work.facts(&state, None);
        let is_stored = match facts.which(wanted) {
            Which::Named => images.named(&wanted.image)?.is_some(),
            Which::Installed => work.image_before()?.is_some() || images.named(&wanted.image)?.is_some(),
        };
        Ok(facts.needs_pull(wanted, is_stored))
    }

    /// What would be done; with the image that there is, if a newer one would be looked for.
    fn preview(&self, wanted: &Wanted, images: &dyn Images, needs_pull: bool) -> Result<Done> {
        if needs_pull && images.named(&wanted.image)?.is_none() {
            return self.would_pull(wanted);
        }
        let mut done = Work::of(self.site, wanted, images)?.preview()?;
        if needs_pull {
            done.message += "; a newer image would be looked for";
        }
        Ok(done)
    }

    fn would_pull(&self, wanted: &Wanted) -> Result<Done> {
        self.fetch.check(wanted)?;
        let is_installed = self.site.deployments.current(&wanted.declaration.name)?.is_some();
        if is_installed {
            return Ok(Done::new(Action::Pulled, format!("would pull {}", wanted.image)));
        }
        Ok(Done::new(Action::Installed, format!("would pull {} and install it", wanted.image)))
    }
}

impl<'a> Work<'a> {
    pub(super) fn of(site: &'a Site, wanted: &'a Wanted<'a>, images: &'a dyn Images) -> Result<Work<'a>> {
        let name = &wanted.declaration.name;
        let installed = match site.deployments.current(name)? {
            None => None,
            Some(current) => Some(Installed {
                info: site.deployments.info(&current)?,
                registration: registration::find(site.root(), name).ok().flatten().map(|(_, found)| found),
            }),
        };
        Ok(Work { site, wanted, images, installed, was_enabled: None })
    }

    pub(super) fn name(&self) -> &'a Name {
        &self.wanted.declaration.name
    }

    pub(super) fn state(&self) -> Result<State> {
        State::load(&self.site.deployments, self.name())
    }

    pub(super) fn facts<'b>(&'b self, state: &'b State, runtime: Option<&'b PathBuf>) -> Facts<'b> {
        let (root, name) = (self.site.root(), self.name());
        Facts {
            installed: self.installed.as_ref(),
            state,
            runtime: runtime.map(PathBuf::as_path),
            is_masked: claim::is_masked(root, name),
            has_updates: links::has_updates(root, name),
            was_enabled: self.was_enabled,
        }
    }

    /// The image that the container was made from, if it is still there.
    fn image_before(&self) -> Result<Option<Image>> {
        let Some(installed) = &self.installed else { return Ok(None) };
        self.images.of_commit(&installed.info.image, &installed.info.ostree_commit)
    }

    /// What is to be done, with the image that it is done with.
    fn task(&self, state: &State) -> Result<(Task, Option<Image>)> {
        let runtime = Runtime::find(self.site.root(), None).ok();
        let runtime = runtime.map(|runtime| runtime.path.as_path().to_path_buf());
        let facts = self.facts(state, runtime.as_ref());
        match facts.which(self.wanted) {
            Which::Named => {
                let image = self.images.named(&self.wanted.image)?;
                let image = image.ok_or_else(|| Fetch::missing(self.wanted))?;
                Ok((facts.task(self.wanted, Some(&image)), Some(image)))
            }
            Which::Installed => {
                let task = facts.task(self.wanted, None);
                if matches!(task.deploy, Deploy::Keep) {
                    return Ok((task, None));
                }
                // Other values bring no other image.
                match self.image_before()? {
                    Some(image) => Ok((task, Some(image))),
                    None => self.task_without_image(&facts),
                }
            }
        }
    }

    /// What is to be done if the store no longer has the version of the image that the container was made from: a newer one comes as
    /// any other image does, and not while updates are held.
    fn task_without_image(&self, facts: &Facts) -> Result<(Task, Option<Image>)> {
        let choices = &self.wanted.declaration.choices;
        if choices.hold {
            let info = self.installed.as_ref().map(|installed| &installed.info);
            let before = info.map(|info| {
                info.digest().map_or(info.image.clone(), |digest| journal::shown(&info.image, &digest))
            });
            let before = before.unwrap_or_default();
            return Err(Error::new(format!(
                "the store no longer has the image that it was made from, {before}, and updates are held; pull that, or remove Hold="
            )));
        }
        let image = self.images.named(&self.wanted.image)?.ok_or_else(|| Fetch::missing(self.wanted))?;
        Ok((facts.task(self.wanted, Some(&image)), Some(image)))
    }

    fn options(&self, task: &Task) -> Options {
        Options { exports: task.exports, ..self.wanted.options() }
    }

    /// What would be done. What an installation or an update would refuse is refused here, too.
    fn preview(&self) -> Result<Done> {
        let state = self.state()?;
        let _store = self.images.lock()?;
        let (task, image) = self.task(&state)?;
        if let (Some(image), true) = (&image, task.deploy != Deploy::Keep) {
            let (name, options, files) = (self.name(), self.options(&task), self.images.files(image)?);
            let current = self.site.deployments.current(name)?;
            let previous = current.map(|current| Previous::read(self.site, &current, &*files)).transpose()?;
            let tree = &*files;
            let (site, previous) = (self.site, previous.as_ref());
            let planner = Planner { site, tree, image, name, options: &options, previous };
            let deployment = match previous {
                Some(_) => site.deployments.next(name)?,
                None => Deployment::new(name, 0),
            };
            planner.check(&Draft::new(&site.deployments, deployment))?;
        }
        let done = self.done(&task, image.as_ref())?;
        let message = match done.action {
            Action::None => done.message,
            Action::Installed => format!("would be {}", done.message),
            Action::Adopted => "would be adopted, as it is installed as declared".to_owned(),
            Action::Updated => format!("would be updated: {}", done.message),
            _ => format!("would be changed: {}", done.message),
        };
        Ok(Done { message, ..done })
    }

    /// Does it. The caller holds the container's lock, and has recovered it.
    fn carry_out(self, start: bool) -> Result<Done> {
        let state = self.state()?;
        let (task, image) = {
            let _store = self.images.lock()?;
            self.task(&state)?
        };
        self.configure(&task)?;
        match &task.deploy {
            Deploy::Install => self.install(&task, image.as_ref())?,
            Deploy::Keep => {}
            Deploy::Values | Deploy::AtOnce => {
                self.stage(&task, image.as_ref(), true)?;
            }
            Deploy::Watched => self.switch(&task, image.as_ref(), &state)?,
            Deploy::Failed(_) => {}
        }
        let done = self.done(&task, image.as_ref())?;
        self.enable(&task)?;
        let was_installing = state.declared.as_ref().is_some_and(|it| it.installing);
        if start && (task.deploy == Deploy::Install || was_installing) {
            self.start()?;
        }
        if task.record {
            self.record(&task)?;
        }
        Ok(done)
    }

    fn install(&self, task: &Task, image: Option<&Image>) -> Result<()> {
        let image = image.ok_or_else(|| Fetch::missing(self.wanted))?;
        // If this is killed, the next one knows that there is more to do than to compare.
        let mut state = self.state()?;
        let begun = Declared { installing: true, ..self.wanted.record() };
        (state.hold, state.keep, state.soak) = self.updates();
        state.declared = Some(begun);
        state.save(&self.site.deployments, self.name())?;
        let enable = self.wants_enabled(task.enabling)?.unwrap_or(true);
        let no_enable = !enable || task.puts_off;
        let options = Options { no_enable, was_plain: self.was_plain()?, ..self.options(task) };
        let (site, name) = (self.site, self.name());
        let _host_files = lock::host_files(site.root())?;
        let _store = self.images.lock()?;
        let tree = self.images.files(image)?;
        let planner = Planner { site, tree: &*tree, image, name, options: &options, previous: None };
        Installer { planner }.install().map_err(|e| self.explain_unaccepted(e))
    }

    /// Whether a container whose deployments are gone had nothing of `/exports`: then a newer image brings none by itself.
    fn was_plain(&self) -> Result<bool> {
        let registered = registration::find(self.site.root(), self.name())?;
        Ok(registered.is_some_and(|(_, registration)| registration.execution.confined))
    }

    fn explain_unaccepted(&self, e: Error) -> Error {
        if e.kind() != Kind::Unaccepted {
            return e;
        }
        let name = self.name();
        let remedy = format!(
            "ignore that with Plain=yes, or accept it by removing what is left of {name} first, with 'syscontainer-remove {name}'"
        );
        Error::of_kind(Kind::Unaccepted, format!("{e}; {remedy}"))
    }

    /// Makes the next deployment, and makes it current if that is to be at once.
    fn stage(&self, task: &Task, image: Option<&Image>, at_once: bool) -> Result<()> {
        let image = image.ok_or_else(|| Fetch::missing(self.wanted))?;
        let (site, name, options) = (self.site, self.name(), self.options(task));
        let _host_files = lock::host_files(site.root())?;
        let _store = self.images.lock()?;
        let tree = self.images.files(image)?;
        let current = site.deployments.installed(name)?;
        let previous = Previous::read(site, &current, &*tree)?;
        let previous_of = Some(&previous);
        let planner = Planner { site, tree: &*tree, image, name, options: &options, previous: previous_of };
        let updater = Updater { planner, previous: &previous };
        if at_once { updater.update() } else { updater.stage(false) }
    }

    /// Runs the next deployment, and goes back to the one before if it fails.
    fn switch(&self, task: &Task, image: Option<&Image>, before: &State) -> Result<()> {
        let (site, name) = (self.site, self.name());
        self.stage(task, image, false)?;
        let current = site.deployments.installed(name)?;
        let Some(staged) = self.state()?.staged(&site.deployments).cloned() else { return Ok(()) };
        // As long as this declaration is not the one that was applied, a start of the service waits for the unit that applies
        // it, which may be this one.
        if task.record {
            self.record_unconfirmed(before)?;
        }
        let switched = Switcher { site, name }.switch(&current, &staged, Purpose::Update, None);
        if let Err(e) = &switched {
            self.revert_record().context(|| format!("{e}; then it failed"))?;
        }
        switched
    }

    /// What was done, or would be.
    fn done(&self, task: &Task, image: Option<&Image>) -> Result<Done> {
        let shown = image.map(|image| journal::shown(&image.name, &image.digest)).unwrap_or_default();
        let held = if task.is_held {
            format!("; updates are held, so {} is not used", self.wanted.image)
        } else {
            String::new()
        };
        Ok(match &task.deploy {
            Deploy::Failed(reason) => {
                return Err(Error::of_kind(
                    Kind::Reverted,
                    format!("{shown} failed before with these values: {reason}"),
                ));
            }
            Deploy::Install => Done::new(Action::Installed, format!("installed from {shown}")),
            Deploy::Watched | Deploy::AtOnce => Done::new(Action::Updated, format!("uses {shown} now")),
            Deploy::Values => {
                let name = self.name();
                let message = format!(
                    "has the declared values from its next start on, 'systemctl restart {name}'{held}"
                );
                Done::new(Action::Values, message)
            }
            Deploy::Keep if task.is_new => {
                Done::new(Action::Adopted, format!("was installed as declared{held}"))
            }
            Deploy::Keep => match self.configured(task).as_slice() {
                [] => Done::new(Action::None, format!("is as declared{held}")),
                what => Done::new(Action::Configured, format!("{}{held}", what.join(", "))),
            },
        })
    }
}
