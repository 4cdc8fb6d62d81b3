//! The first installation of a container: from an image in the store to an enabled unit.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::container::info::Info;
use crate::container::{stale, volume};
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::install::acceptance::Wish;
use crate::install::draft::Draft;
use crate::install::plan::{Planned, Planner};
use crate::install::{preview, recovery, register, same};
use crate::name::{Deployment, Name};
use crate::program::log;
use crate::run::volumes;
use crate::system::journal::{self, Event, Subject};
use crate::system::systemd::manager::Enablement;

/// Installs one image as one container; the caller holds the locks of the container and of host files.
pub struct Installer<'a> {
    /// What is installed, and where.
    pub planner: Planner<'a>,
}

impl Installer<'_> {
    /// Makes deployment 0 and everything that belongs to it. A failure leaves nothing behind.
    pub fn install(&self) -> Result<()> {
        let Planner { site, name, image, .. } = self.planner;
        let draft = Draft::new(&site.deployments, Deployment::new(name, 0));
        let planned = self.planner.plan(&draft)?;
        planned.warn_of_host_files();
        let kept = self.kept_volumes(&planned)?;
        let tree = self.planner.tree(planned.info.rootfs());
        draft.make(&*tree, &planned.content, planned.info.clone())?;
        if let Err(e) = self.commit(&draft.deployment) {
            self.undo().context(|| format!("{e}; then it failed to remove what was made"))?;
            return Err(e);
        }
        let start = match planned.registration.unit {
            Some(_) if site.manager.is_running() => format!("; start it with 'systemctl start {name}'"),
            _ => String::new(),
        };
        let subject = Subject::of(&draft.deployment, Some((&image.name, Some(image.digest.clone()))));
        let message = format!("installed {name} from {}{start}", journal::shown(&image.name, &image.digest));
        journal::tell(site.root(), Event::Installed, &subject, &message);
        planned.tell_of_image();
        self.tell_of_volumes(&kept);
        Ok(())
    }

    /// Volumes of the container that are there before it is, by their paths in it.
    fn kept_volumes(&self, planned: &Planned) -> Result<Vec<PathBuf>> {
        let there = volumes::made(self.planner.site.root(), self.planner.name)?;
        let own = planned.registration.execution.volumes.iter();
        let kept = own.filter(|volume| there.contains(OsStr::new(&volume.file_name())));
        Ok(kept.map(|volume| volume.destination.clone()).collect())
    }

    /// Tells that the payload gets what another one has left, maybe one of another image.
    fn tell_of_volumes(&self, kept: &[PathBuf]) {
        let Some(first) = kept.first() else { return };
        let name = self.planner.name;
        let more = if kept.len() > 1 { format!(" and {} more", kept.len() - 1) } else { String::new() };
        log::info(&format!(
            "{name} takes over what an earlier container of this name left in {}: the volume {}{more}; 'syscontainer-remove --purge {name}' would remove it",
            volume::home(name),
            first.display()
        ));
    }

    /// Everything that [`Installer::install`] would write and do, as text.
    pub fn preview(&self) -> Result<String> {
        let Planner { site, name, options, .. } = self.planner;
        if let Some(deployment) = site.deployments.current(name)? {
            self.check_same(&site.deployments.info(&deployment)?)?;
            let last = preview::LastSteps {
                enable: !options.no_enable && register::is_installable(site.root(), name)?,
                reload: true,
                outdated: Vec::new(),
            };
            return Ok(preview::unchanged(&self.planner, "is installed already", &last));
        }
        let draft = Draft::new(&site.deployments, Deployment::new(name, 0));
        let planned = self.planner.plan(&draft)?;
        planned.tell_of_image();
        self.tell_of_volumes(&self.kept_volumes(&planned)?);
        preview::show(&self.planner, &self.planner.masked(&draft, planned)?, !options.no_enable, &[])
    }

    /// Registers the complete deployment and makes it current. Each step may be repeated.
    fn commit(&self, deployment: &Deployment) -> Result<()> {
        let site = self.planner.site;
        register::register(site, deployment)?;
        site.deployments.switch(deployment)?;
        // An installation by that name may have lost its deployments.
        stale::unmark(site.root(), self.planner.name)?;
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        let Planner { site, name, options, .. } = self.planner;
        if !options.no_enable && register::is_installable(site.root(), name)? {
            site.manager.set_enablement(&[name.unit()], Enablement::Enable)?;
        }
        register::load(site, name)
    }

    fn undo(&self) -> Result<()> {
        let Planner { site, name, .. } = self.planner;
        site.deployments.detach(name)?;
        recovery::recover(site, name)?;
        site.manager.reload()
    }

    /// Completes an interrupted installation, if the command is the same; refuses a different one.
    pub fn finish_again(&self, deployment: &Deployment) -> Result<()> {
        let info = self.planner.site.deployments.info(deployment)?;
        self.check_same(&info)?;
        self.finish()?;
        let shown = info.digest().map_or(info.image.clone(), |digest| journal::shown(&info.image, &digest));
        log::info(&format!("{} is installed already, from {shown}", self.planner.name));
        Ok(())
    }

    /// Whether a deployment is what the installation would make.
    pub fn is_same(&self, info: &Info) -> bool {
        let Planner { image, options, .. } = self.planner;
        let settings = self.planner.settings();
        let wanted = same::Wanted {
            image: &image.name,
            digest: &image.digest,
            user_values: &options.user_values,
            user_secrets: &options.user_secrets,
            settings: &settings,
            user_notify: options.notify,
            remote: options.rootfs.as_deref(),
            runtime: options.runtime.as_deref(),
            provenance: Some(&image.provenance),
            plain: options.exports == Wish::Ignore,
            user_install: &options.user_install,
        };
        same::is_same(info, &wanted)
    }

    fn check_same(&self, info: &Info) -> Result<()> {
        if self.is_same(info) {
            return Ok(());
        }
        let name = self.planner.name;
        Err(Error::new(format!(
            "cannot install {name}: it is installed already, from {} (sha256:{}), or with other values; update it with 'syscontainer-checkout --update {name}', or choose another name with --name",
            info.image, info.revision
        )))
    }
}

/// The default name of a container: the last part of the image's title, with the tag unless that is `latest`. Where this
/// has the form of a deployment's name, as `etcd-3.5` has, dots in the tag become dashes.
pub fn default_name(image: &Image) -> Result<Name> {
    let what = || format!("cannot name a container after image {}, use --name=NAME", image.name);
    let base = image.title.rsplit('/').next().unwrap_or_default();
    let base = base.split('@').next().unwrap_or_default();
    let (base, tag) = base.split_once(':').unwrap_or((base, "latest"));
    if tag == "latest" {
        return base.parse().context(what);
    }
    let name: Result<Name> = format!("{base}-{tag}").parse();
    name.or_else(|_| format!("{base}-{}", tag.replace('.', "-")).parse()).context(what)
}
