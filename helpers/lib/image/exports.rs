//! What an image says about its installation: `/exports`, and what it means rendered.
//!
//! Everything there is optional. What is missing has a default: the configuration comes from the image's own, the unit
//! from [`SERVICE`], tmpfiles from the bind sources that the host lacks. An image with the label `atomic.run=once` runs
//! once, and may write to its root file system meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::container::readiness::UserNotify;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::default_config;
use crate::image::layout::Layout;
use crate::image::manifest::{self, Manifest};
use crate::image::rendered::{Files, Rendered};
use crate::image::template::{self, Problem, Target};
use crate::image::tree::Tree;
use crate::image::variables::{self, COMMANDS, Values};
use crate::name::Name;
use crate::paths::Root;

/// The unit of an image that brings none; the original's.
const SERVICE: &str = "
[Unit]
Description=$NAME

[Service]
ExecStartPre=$EXEC_STARTPRE
ExecStart=$EXEC_START
ExecStop=$EXEC_STOP
ExecStopPost=$EXEC_STOPPOST
Restart=on-failure
WorkingDirectory=$DESTDIR
PIDFile=$PIDFILE

[Install]
WantedBy=multi-user.target
";

/// The unit of a run-once image that brings none.
const RUN_ONCE: &str = "
[Unit]
Description=$NAME

[Service]
Type=oneshot
ExecStart=$EXEC_START
ExecStop=$EXEC_STOP
WorkingDirectory=$DESTDIR
";

/// The runtime configuration, taken as it is.
pub const CONFIG: &str = "exports/config.json";
/// The runtime configuration, with variables.
pub const CONFIG_TEMPLATE: &str = "exports/config.json.template";
/// The unit.
pub const SERVICE_TEMPLATE: &str = "exports/service.template";
/// What the host needs, tmpfiles.d(5).
pub const TMPFILES_TEMPLATE: &str = "exports/tmpfiles.template";

/// What a user may set, of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Those with a default, the image's or a built-in one.
    pub defaults: Values,
    /// Those that have none.
    pub missing: Vec<String>,
}

/// The files of `/exports`, as they are in the image.
pub struct Exports {
    manifest: Manifest,
    /// Taken before the template, and never substituted.
    config: Option<String>,
    config_template: Option<String>,
    service: String,
    tmpfiles: Option<String>,
    run_once: bool,
}

impl Exports {
    /// Reads them from the image's tree.
    pub fn read(tree: &dyn Tree, image: &Image) -> Result<Exports> {
        let text = |path: &str| -> Result<Option<String>> {
            let content = tree.read(path)?;
            let text = content.map(String::from_utf8).transpose();
            text.map_err(|_| Error::new(format!("cannot read {path} of {}: it is not UTF-8", image.name)))
        };
        let manifest = match tree.read(manifest::FILE)? {
            Some(text) => manifest::parse(&text).context(|| format!("invalid image {}", image.name))?,
            None => Manifest::default(),
        };
        let run_once = image.labels()?.get("atomic.run").is_some_and(|run| run == "once");
        let default = if run_once { RUN_ONCE } else { SERVICE };
        Ok(Exports {
            manifest,
            config: text(CONFIG)?,
            config_template: text(CONFIG_TEMPLATE)?,
            service: text(SERVICE_TEMPLATE)?.unwrap_or_else(|| default.to_owned()),
            tmpfiles: text(TMPFILES_TEMPLATE)?,
            run_once,
        })
    }

    /// What the image says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether there is a unit at all.
    pub fn has_service(&self) -> bool {
        !self.manifest.no_container_service
    }

    /// Whether the unit runs a payload, or needs a runtime in some other way.
    pub fn needs_runtime(&self) -> bool {
        self.has_service() && self.used().iter().any(|name| name == "EXEC_START" || name == "RUNTIME")
    }

    /// The variables of an installation of this image.
    pub fn variables(&self, tree: &dyn Tree) -> Result<Variables> {
        let layout = Layout::read(tree, &self.manifest, &Values::new(), &mut Vec::new())?;
        let used: BTreeSet<String> = self.used().union(layout.used()).cloned().collect();
        let settable = used.into_iter().filter(|name| !variables::is_forced(name));
        let built_in = |name: &str| match name {
            "PIDFILE" | "UUID" | "RUNTIME" | "ATOMIC" | "ALL_PROCESS_CAPABILITIES" => {
                Some("(built in)".to_owned())
            }
            _ => variables::DIRECTORIES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, path)| (*path).into()),
        };
        let mut found = Variables { defaults: self.manifest.default_values.clone(), missing: Vec::new() };
        for name in settable.filter(|name| !self.manifest.default_values.contains_key(name)) {
            match built_in(&name) {
                Some(value) => drop(found.defaults.insert(name, value)),
                None => found.missing.push(name),
            }
        }
        Ok(found)
    }

    /// Names of all variables that unit, tmpfiles and configuration use.
    fn used(&self) -> BTreeSet<String> {
        let texts = [Some(&self.service), self.tmpfiles.as_ref(), self.config_source()];
        texts.into_iter().flatten().flat_map(|text| template::variables(text)).collect()
    }

    fn config_source(&self) -> Option<&String> {
        self.config_template.as_ref().filter(|_| self.config.is_none())
    }

    /// Renders everything for one deployment; all problems of all files are one error.
    pub fn render(
        &self,
        tree: &dyn Tree,
        image: &Image,
        values: &Values,
        place: &Place,
        chosen: &Chosen,
    ) -> Result<Rendered> {
        let mut problems = Vec::new();
        let linked = variables::with_destdir(values, &place.link);
        let service = Some(&self.service).filter(|_| self.has_service());
        let unit = service.map(|text| fill(SERVICE_TEMPLATE, text, Target::Unit, &linked, &mut problems));
        let tmpfiles = self
            .tmpfiles
            .as_ref()
            .map(|text| fill(TMPFILES_TEMPLATE, text, Target::Tmpfiles, &linked, &mut problems));
        let own = variables::with_destdir(values, &place.deployment);
        let template = self.config_source();
        let config = template.map(|text| fill(CONFIG_TEMPLATE, text, Target::Json, &own, &mut problems));
        let layout =
            Layout::read(tree, &self.manifest, &linked, &mut problems).context(|| cannot_install(image))?;
        report(&image.name, &problems)?;
        let placed = COMMANDS.map(str::to_owned).into_iter();
        let in_unit = service.map(|text| template::variables(text)).unwrap_or_default();
        let placed: Vec<String> = placed.filter(|command| in_unit.contains(command)).collect();
        let mut used: BTreeSet<String> = self.used().union(layout.used()).cloned().collect();
        let mut volumes = Vec::new();
        let config = match (&self.config, config) {
            (Some(text), _) => Some((CONFIG, text.clone())),
            (None, Some(text)) => Some((CONFIG_TEMPLATE, text)),
            (None, None) if placed.iter().any(|p| p == "EXEC_START") => {
                // What no template uses is for the payload.
                let mut environment = chosen.values.clone();
                environment.retain(|key, _| !used.contains(key) && !variables::is_forced(key));
                let state = Path::new(values.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str));
                let default = default_config::of(tree, image, place.name, place.root, &environment, state)?;
                used.extend(environment.into_keys());
                volumes = default.volumes;
                Some(("the image's configuration", default.config))
            }
            (None, None) => None,
        };
        let files = Files { unit, tmpfiles, config, layout };
        let mut rendered = Rendered::check(image, place, files, placed, self.run_once, used)?;
        rendered.volumes = volumes;
        if let Some(notify) = chosen.notify {
            rendered.notify = rendered.notify_as(notify);
        }
        Ok(rendered)
    }
}

/// What failed, in errors.
pub fn cannot_install(image: &Image) -> String {
    format!("cannot install {}", image.name)
}

fn fill(file: &str, text: &str, target: Target, values: &Values, problems: &mut Vec<Problem>) -> String {
    template::render(file, text, target, |name| values.get(name).map(String::as_str), problems)
}

fn report(image: &str, problems: &[Problem]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let list = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
    let remedy = match problems.iter().any(|p| p.reason.starts_with("no value")) {
        true => "; give each missing value with --set NAME=VALUE",
        false => "",
    };
    Err(Error::new(format!("cannot render {image}: {list}{remedy}")))
}

/// What the user chose.
pub struct Chosen<'a> {
    /// Values of variables; of an image without a configuration, its environment.
    pub values: &'a Values,
    /// What the payload notifies, if not what its unit says.
    pub notify: Option<UserNotify>,
}

/// Where a deployment will be, as its templates see it.
pub struct Place<'a> {
    /// The container.
    pub name: &'a Name,
    /// The tree that is installed to.
    pub root: &'a Root,
    /// The symlink, what DESTDIR is in units.
    pub link: PathBuf,
    /// The deployment, what DESTDIR is in its configuration.
    pub deployment: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::syntax::UnitFile;

    #[test]
    fn one_error_for_all_problems() {
        let mut problems = Vec::new();
        for (file, text) in [("exports/a", "x\n $A"), ("exports/b", "${B}")] {
            fill(file, text, Target::Text, &Values::new(), &mut problems);
        }
        assert_eq!(
            report("i:1", &problems).unwrap_err().to_string(),
            "cannot render i:1: exports/a:2:2: no value for A; exports/b:1:1: no value for B; give each missing value with --set NAME=VALUE"
        );
    }

    #[test]
    fn the_default_unit_is_a_unit() {
        let used: Vec<_> = template::variables(SERVICE).into_iter().collect();
        assert_eq!(
            used,
            ["DESTDIR", "EXEC_START", "EXEC_STARTPRE", "EXEC_STOP", "EXEC_STOPPOST", "NAME", "PIDFILE"]
        );
        UnitFile::parse(SERVICE).unwrap();
        UnitFile::parse(RUN_ONCE).unwrap();
    }
}
