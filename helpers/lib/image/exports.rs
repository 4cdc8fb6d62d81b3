//! First step from an image to a deployment: reading `/exports`.
//!
//! Everything there is optional. An image without a unit gets a default one, and its configuration is made from its OCI
//! image configuration. An image with the label `atomic.run=once` runs once, and may write to its root file system
//! while it does.

use std::collections::BTreeSet;

use crate::container::info::Values;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::layout::{HOSTFS, Layout, Substitution};
use crate::image::limits;
use crate::image::manifest::{self, Manifest};
use crate::image::problems::Problems;
use crate::image::profile::Profile;
use crate::image::template;
use crate::image::tree::Tree;
use crate::image::variables::{self, EXEC_VARIABLES};

/// The unit of an image that brings none. It is Atomic's, but it stops before the network does, and tries again for as
/// long as it fails: five starts in ten seconds, after which systemd gives up, are never made. The description of a
/// plain image is its title, if it has one.
const SERVICE: &str = "
[Unit]
Description=$NAME
After=network.target

[Service]
ExecStartPre=$EXEC_STARTPRE
ExecStart=$EXEC_START
ExecStop=$EXEC_STOP
ExecStopPost=$EXEC_STOPPOST
Restart=on-failure
RestartSec=5s
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

/// Path of the runtime configuration that is used verbatim.
pub const CONFIG: &str = "exports/config.json";
/// Path of the template of the runtime configuration.
pub const CONFIG_TEMPLATE: &str = "exports/config.json.template";
/// Path of the template of the unit.
pub const SERVICE_TEMPLATE: &str = "exports/service.template";
/// Path of the template of the tmpfiles.d(5) file, with what the payload needs on the host.
pub const TMPFILES_TEMPLATE: &str = "exports/tmpfiles.template";

/// The text files of `/exports`, as they are in the image.
#[derive(Clone, Debug, Default)]
pub struct ExportedTexts {
    pub manifest: Option<String>,
    pub config: Option<String>,
    pub config_template: Option<String>,
    pub service: Option<String>,
    pub tmpfiles: Option<String>,
}

impl ExportedTexts {
    /// Reads all of them; `read` returns the text of one file.
    pub fn read(mut read: impl FnMut(&'static str) -> Result<Option<String>>) -> Result<ExportedTexts> {
        Ok(ExportedTexts {
            manifest: read(manifest::FILE)?,
            config: read(CONFIG)?,
            config_template: read(CONFIG_TEMPLATE)?,
            service: read(SERVICE_TEMPLATE)?,
            tmpfiles: read(TMPFILES_TEMPLATE)?,
        })
    }
}

/// The variables that a user may set, of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Those with a default, the image's or a built-in one.
    pub defaults: Values,
    /// Those that have none.
    pub missing: Vec<String>,
}

/// What an image says about its installation.
pub struct Exports {
    manifest: Manifest,
    texts: ExportedTexts,
    run_once: bool,
    /// Template of the unit of an image that brings none.
    default_service: String,
}

impl Exports {
    /// Reads the exports of an image; a file that cannot be used is an error.
    pub fn read(tree: &dyn Tree, image: &Image) -> Result<Exports> {
        let texts = ExportedTexts::read(|path| {
            let content = tree.read(path)?;
            limits::check_size(content.as_ref().map_or(0, Vec::len), limits::TEXT)
                .context(|| format!("cannot read {path} of {}", image.name))?;
            content
                .map(String::from_utf8)
                .transpose()
                .map_err(|_| Error::new(format!("cannot read {path} of {}: it is not UTF-8", image.name)))
        })?;
        let manifest = texts.manifest.as_deref().map(manifest::parse).transpose();
        let manifest = manifest
            .context(|| format!("cannot read {}", manifest::FILE))
            .context(|| format!("invalid image {}", image.name))?;
        let exports = Exports::new(texts, manifest.unwrap_or_default(), is_run_once(image)?);
        exports.described(image)
    }

    /// Those of an image that is run as its OCI configuration says, whatever it has in `/exports` and in its labels.
    pub fn none(image: &Image) -> Result<Exports> {
        Exports::new(ExportedTexts::default(), Manifest::default(), false).described(image)
    }

    /// Takes exports that are read already.
    pub fn new(texts: ExportedTexts, manifest: Manifest, run_once: bool) -> Exports {
        let default_service = if run_once { RUN_ONCE } else { SERVICE }.to_owned();
        Exports { manifest, texts, run_once, default_service }
    }

    /// Uses the title of a plain image as the description of its unit.
    fn described(mut self, image: &Image) -> Result<Exports> {
        if let Some(title) = Profile::of(image)?.unit_description().filter(|_| self.is_plain()) {
            // Neither variables nor systemd's specifiers are in it.
            let title = title.replace('$', "$$").replace('%', "%%");
            self.default_service = self.default_service.replacen("$NAME", &title, 1);
        }
        Ok(self)
    }

    /// Whether the image brings nothing that says how it is installed.
    pub fn is_plain(&self) -> bool {
        let ExportedTexts { manifest, config, config_template, service, tmpfiles } = &self.texts;
        [manifest, config, config_template, service, tmpfiles].iter().all(|text| text.is_none())
    }

    /// The manifest; an empty one where the image has none.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files as they are in the image.
    pub fn texts(&self) -> &ExportedTexts {
        &self.texts
    }

    /// Returns whether the container runs once.
    pub fn is_run_once(&self) -> bool {
        self.run_once
    }

    /// Template of the unit, the image's or the default one; `None` if the image is not a service.
    pub fn service(&self) -> Option<&str> {
        let template = self.texts.service.as_deref().unwrap_or(&self.default_service);
        if self.manifest.no_container_service { None } else { Some(template) }
    }

    /// Template of the configuration; `None` if there is none, or where a configuration without variables wins over it.
    pub fn config_template(&self) -> Option<&str> {
        if self.texts.config.is_some() { None } else { self.texts.config_template.as_deref() }
    }

    /// Names of the [`EXEC_VARIABLES`] that the unit uses.
    pub fn exec_variables(&self) -> Vec<String> {
        let used = self.service().map(template::variables).unwrap_or_default();
        EXEC_VARIABLES.map(str::to_owned).into_iter().filter(|variable| used.contains(variable)).collect()
    }

    /// Returns whether the unit runs a payload.
    pub fn runs_payload(&self) -> bool {
        self.exec_variables().iter().any(|variable| variable == "EXEC_START")
    }

    /// Returns the file that says how the payload is run, if the image brings one.
    pub fn decider(&self) -> Option<&'static str> {
        match &self.texts {
            texts if texts.config.is_some() => Some(CONFIG),
            texts if texts.config_template.is_some() => Some(CONFIG_TEMPLATE),
            _ if !self.runs_payload() => Some(SERVICE_TEMPLATE),
            _ => None,
        }
    }

    /// Returns whether the unit runs a payload, or a template names the runtime.
    pub fn needs_runtime(&self) -> bool {
        self.service().is_some() && (self.runs_payload() || self.used().contains("RUNTIME"))
    }

    /// Names of all variables that unit, tmpfiles and configuration use.
    pub fn used(&self) -> BTreeSet<String> {
        let texts = [self.service(), self.texts.tmpfiles.as_deref(), self.config_template()];
        texts.into_iter().flatten().flat_map(template::variables).collect()
    }

    /// The variables that a user may set.
    pub fn variables(&self, tree: &dyn Tree) -> Result<Variables> {
        let substitution = Substitution { values: &Values::new(), secrets: &BTreeSet::new() };
        let layout = Layout::read(tree, &self.manifest, &substitution, &mut Problems::default())?;
        let mut used = self.used();
        used.extend(layout.used().iter().cloned());
        let mut found = Variables { defaults: self.manifest.default_values.clone(), missing: Vec::new() };
        for name in used.into_iter().filter(|name| !variables::is_forced(name)) {
            if found.defaults.contains_key(&name) {
                continue;
            }
            match variables::built_in(&name) {
                Some(value) => {
                    found.defaults.insert(name, value.to_owned());
                }
                None => found.missing.push(name),
            }
        }
        Ok(found)
    }
}

/// What `/exports` of an image holds, by the paths that count; nothing if it is an empty directory, or a link.
pub fn brought(tree: &dyn Tree) -> Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for path in [SERVICE_TEMPLATE, CONFIG, CONFIG_TEMPLATE, TMPFILES_TEMPLATE, manifest::FILE] {
        if tree.read(path)?.is_some() {
            found.push(path);
        }
    }
    if !tree.walk(HOSTFS)?.is_empty() {
        found.push(HOSTFS);
    }
    Ok(found)
}

/// The label that [`is_run_once`] looks for.
pub const RUN_ONCE_LABEL: &str = "atomic.run=once";

/// Returns whether an image says that its containers run once.
pub fn is_run_once(image: &Image) -> Result<bool> {
    Ok(image.labels()?.get("atomic.run").is_some_and(|run| run == "once"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::syntax::UnitFile;

    fn exports(service: Option<&str>, manifest: &str) -> Exports {
        let texts = ExportedTexts { service: service.map(str::to_owned), ..ExportedTexts::default() };
        Exports::new(texts, manifest::parse(manifest).unwrap(), false)
    }

    #[test]
    fn the_default_units_are_units() {
        let used: Vec<_> = template::variables(SERVICE).into_iter().collect();
        assert_eq!(
            used,
            ["DESTDIR", "EXEC_START", "EXEC_STARTPRE", "EXEC_STOP", "EXEC_STOPPOST", "NAME", "PIDFILE"]
        );
        UnitFile::parse(SERVICE).unwrap();
        UnitFile::parse(RUN_ONCE).unwrap();
    }

    #[test]
    fn what_a_unit_needs() {
        let default = exports(None, "{}");
        assert_eq!(default.exec_variables(), EXEC_VARIABLES);
        assert!(default.runs_payload() && default.needs_runtime());
        let own = exports(Some("[Service]\nExecStart=$RUNTIME run $EXEC_STOP"), "{}");
        assert_eq!(own.exec_variables(), ["EXEC_STOP"]);
        assert!(!own.runs_payload() && own.needs_runtime());
        let none = exports(Some("[Service]\nExecStart=$EXEC_START"), r#"{"noContainerService": true}"#);
        assert!(none.service().is_none() && !none.runs_payload() && !none.needs_runtime());
    }
}
