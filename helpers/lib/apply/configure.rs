//! What a declaration says besides the deployment: updates, links of `[Install]`, and the record of what was applied.

use crate::apply::carry_out::Work;
use crate::apply::task::{Enabling, Task};
use crate::container::declared::Declared;
use crate::container::state::State;
use crate::error::Result;
use crate::install::{claim, register};
use crate::program::log;
use crate::system::systemd::manager::{self, Enablement, Verb};
use crate::system::{journal, lock};
use crate::update::retention;

impl Work<'_> {
    /// What the state is to say of updates: whether they are held, how many deployments are kept, how long one is watched.
    pub(super) fn updates(&self) -> (bool, Option<usize>, Option<u64>) {
        let choices = &self.wanted.declaration.choices;
        (choices.hold, choices.keep, self.wanted.soak())
    }

    /// What is changed besides the deployment, in words.
    pub(super) fn configured(&self, task: &Task) -> Vec<String> {
        let mut what = Vec::new();
        if task.settings {
            let (hold, keep, soak) = self.updates();
            let hold = if hold { "updates are held" } else { "updates are not held" };
            what.push(hold.to_owned());
            what.extend(keep.map(|keep| format!("{keep} deployments are kept")));
            what.extend(soak.map(|soak| format!("updates are watched for {soak} s")));
        }
        match task.enabling {
            Enabling::Keep => {}
            Enabling::To(true) => what.push("is enabled".into()),
            Enabling::To(false) => what.push("is not enabled".into()),
            Enabling::Preset => what.push("is enabled as presets say".into()),
        }
        match task.timer {
            None => {}
            Some(true) => what.push("is updated every day".into()),
            Some(false) => what.push("is no longer updated every day".into()),
        }
        if what.is_empty() && task.record {
            what.push("was as declared, and that is recorded".into());
        }
        what
    }

    /// Writes what the state says of updates, for the one that may follow, too.
    pub(super) fn configure(&self, task: &Task) -> Result<()> {
        if !task.settings || self.installed.is_none() {
            return Ok(());
        }
        let mut state = self.state()?;
        (state.hold, state.keep, state.soak) = self.updates();
        state.save(&self.site.deployments, self.name())?;
        let _host_files = lock::host_files(self.site.root())?;
        retention::collect(self.site, self.name())
    }

    /// Whether the unit is to be enabled; `None` if that stays.
    pub(super) fn wants_enabled(&self, enabling: Enabling) -> Result<Option<bool>> {
        Ok(match enabling {
            Enabling::Keep => None,
            Enabling::To(enable) => Some(enable),
            Enabling::Preset => Some(self.site.manager.is_preset(self.name())?),
        })
    }

    /// Makes or removes links of `[Install]`, and turns daily updates on or off.
    pub(super) fn enable(&self, task: &Task) -> Result<()> {
        let (site, name) = (self.site, self.name());
        if let Some(enable) = self.wants_enabled(task.enabling)? {
            let is_enabled = site.manager.is_enabled(name)?;
            if is_enabled != enable && register::is_installable(site.root(), name)? {
                let verb = if enable { Enablement::Enable } else { Enablement::Disable };
                site.manager.set_enablement(&[name.unit()], verb)?;
                site.manager.reload()?;
            }
        }
        let Some(on) = task.timer else { return Ok(()) };
        let timer = [format!("syscontainer-update@{name}.timer")];
        let (enablement, verb) = match on {
            true => (Enablement::Enable, Verb::Start),
            false => (Enablement::Disable, Verb::Stop),
        };
        site.manager.set_enablement(&timer, enablement)?;
        if site.manager.is_running() { site.manager.queue(verb, &timer) } else { Ok(()) }
    }

    /// Starts the service, if it is enabled. Nobody waits for it: it may have to wait for what runs this.
    pub(super) fn start(&self) -> Result<()> {
        let (site, name) = (self.site, self.name());
        let is_startable = site.manager.is_running()
            && register::is_installable(site.root(), name)?
            && !claim::is_masked(site.root(), name)
            && site.manager.is_enabled(name)?;
        if !is_startable || manager::is_active(site.manager(), name)? {
            return Ok(());
        }
        log::info(&format!("starting {name}"));
        manager::reset_and_queue(site.manager(), Verb::Start, &[name.unit()])
    }

    /// Records that all is done, where the generator finds it, too.
    pub(super) fn record(&self, task: &Task) -> Result<()> {
        if task.puts_off {
            let name = self.name();
            log::info(&format!(
                "{name} is masked; 'systemctl unmask {name}' and 'syscontainer-apply {name}' enable or disable it as declared"
            ));
        }
        self.record_as(Some(Declared { installing: task.puts_off, ..self.wanted.record() }))
    }

    /// The same, of a declaration that counts only if a switch is confirmed. Links of `[Install]` and updates are not yet as it
    /// says.
    pub(super) fn record_unconfirmed(&self, before: &State) -> Result<()> {
        let record = self.wanted.record();
        let before = before.declared.as_ref();
        self.record_as(Some(Declared {
            enable: before.map_or(record.enable, |before| before.enable),
            auto_update: before.is_some_and(|before| before.auto_update),
            unconfirmed: true,
            replaces: before.map(|before| before.digest.clone()),
            ..record
        }))
    }

    /// What counted before counts again, if the switch did not even begin.
    pub(super) fn revert_record(&self) -> Result<()> {
        let state = self.state()?;
        if state.switch.is_some() || !state.declared.as_ref().is_some_and(|it| it.unconfirmed) {
            return Ok(());
        }
        self.record_as(state.declared.and_then(Declared::reverted))
    }

    fn record_as(&self, declared: Option<Declared>) -> Result<()> {
        let (site, name) = (self.site, self.name());
        let mut state = self.state()?;
        if state.declared != declared {
            state.declared = declared;
            state.save(&site.deployments, name)?;
        }
        let current = site.deployments.installed(name)?;
        if site.deployments.info(&current)?.is_from_atomic() {
            return Ok(());
        }
        let changed = {
            let _host_files = lock::host_files(site.root())?;
            register::register(site, &current)?
        };
        if changed {
            site.manager.reload()?;
            let subject = journal::Subject::of(&current, None);
            let message = format!("{name} is as {} says", self.wanted.declaration.source.path);
            journal::record(site.root(), journal::Event::Configured, &subject, &message);
        }
        Ok(())
    }
}
