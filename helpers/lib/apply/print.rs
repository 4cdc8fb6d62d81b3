//! The declaration that gives an installed container again.

use crate::container::info::{ExportsUse, Info, Ours};
use crate::container::runtime::Runtime;
use crate::container::state::State;
use crate::declaration::choices::Pull;
use crate::declaration::files;
use crate::error::{Error, Result};
use crate::install::register;
use crate::install::site::Site;
use crate::name::Name;
use crate::system::systemd::links;

/// A declaration as text.
pub struct Printed {
    /// The text of the file.
    pub text: String,
    /// What it cannot say.
    pub warnings: Vec<String>,
}

/// Writes the declaration of a container as it is.
pub fn print(site: &Site, name: &Name) -> Result<Printed> {
    let current = site.deployments.installed(name)?;
    let info = site.deployments.info(&current)?;
    let state = State::load(&site.deployments, name)?;
    let ours = info.ours().ok_or_else(|| {
        Error::new(format!(
            "{name} was installed by Project Atomic's tools, which did not record what was chosen; update it once with 'syscontainer-checkout --update {name}'"
        ))
    })?;
    let mut file = File { text: "[Container]\n".into(), warnings: Vec::new() };
    file.set("Image", &info.image);
    file.runtime(site, &info);
    file.choices(name, ours);
    if let Some(remote) = &info.remote {
        file.set("Rootfs", &remote.to_string_lossy());
    }
    if ours.exports == ExportsUse::Ignored {
        file.set("Plain", "yes");
    }
    if let Some(keep) = state.keep {
        file.set("Keep", &keep.to_string());
    }
    if let Some(soak) = state.soak {
        file.set("SoakSec", &soak.to_string());
    }
    if state.hold {
        file.set("Hold", "yes");
    }
    if links::has_updates(site.root(), name) {
        file.set("AutoUpdate", "yes");
    }
    if register::is_installable(site.root(), name)? {
        file.set("Enable", if site.manager.is_enabled(name)? { "yes" } else { "no" });
    }
    file.declared(site, name);
    if !ours.user_install.is_empty() {
        file.text.push_str("\n[Install]\n");
        ours.user_install.iter().for_each(|(key, value)| file.line(key, value));
    }
    Ok(Printed { text: file.text, warnings: file.warnings })
}

struct File {
    text: String,
    warnings: Vec<String>,
}

impl File {
    /// Adds a line as it is.
    fn line(&mut self, key: &str, value: &str) {
        self.text.push_str(&format!("{key}={value}\n"));
    }

    /// Adds a line of `[Container]`, where specifiers are replaced.
    fn set(&mut self, key: &str, value: &str) {
        if is_line(value) {
            self.line(key, &value.replace('%', "%%"));
        } else {
            self.warnings.push(format!("{key}= has a value that no line can have, and is left out"));
        }
    }

    /// What only its declaration knows, if there is one: when images are pulled, and lines for the unit.
    fn declared(&mut self, site: &Site, name: &Name) {
        let root = site.root();
        let declaration = files::find(root, name)
            .and_then(|source| source.map(|it| files::read(root, name, &it)).transpose());
        let declaration = match declaration {
            Ok(Some(declaration)) => declaration,
            Ok(None) => return,
            Err(e) => {
                let what = "Pull= and lines of [Unit] and [Service], if there are any, are left out";
                return self.warnings.push(format!("{what}: its declaration cannot be read: {e}"));
            }
        };
        match declaration.choices.pull {
            Pull::Missing => {}
            Pull::Always => self.set("Pull", "always"),
            Pull::Never => self.set("Pull", "never"),
        }
        let mut before = "";
        for (section, key, value) in &declaration.unit {
            if **section != *before {
                self.text.push_str(&format!("\n[{section}]\n"));
                before = section;
            }
            self.line(key, value);
        }
    }

    /// One that would be found anyway is not said.
    fn runtime(&mut self, site: &Site, info: &Info) {
        let found = Runtime::find(site.root(), None).ok().map(|runtime| runtime.path);
        if let Some(runtime) = info.runtime.as_ref().filter(|runtime| found.as_ref() != Some(*runtime)) {
            self.set("Runtime", &runtime.to_string());
        }
    }

    fn choices(&mut self, name: &Name, ours: &Ours) {
        if let (Some(notify), None) = (ours.user_notify, ours.settings.notify()) {
            self.set("Notify", notify.as_str());
        }
        let is_secret =
            |variable: &str| ours.user_secrets.contains(variable) || ours.image_secrets.contains(variable);
        let masked = ours.settings.masked(is_secret, "");
        for (key, values) in ours.settings.iter() {
            for (value, masked) in values.iter().zip(masked.all(key)) {
                if value == masked {
                    self.set(key, value);
                } else {
                    self.warnings.push(format!("{key}= has a secret value, and is left out"));
                }
            }
        }
        for (variable, value) in &ours.user_values {
            if !is_secret(variable) && is_line(value) {
                self.set("Set", &format!("{variable}={value}"));
                continue;
            }
            // Neither belongs into a file that others may read, or can be in a line.
            let path = format!("/etc/syscontainers/{name}.values/{variable}");
            self.warnings
                .push(format!("the value of {variable} belongs into {path}, which nobody else may read"));
            self.set("SetFile", &format!("{variable}={path}"));
        }
        for variable in &ours.user_secrets {
            self.set("Secret", variable);
        }
    }
}

/// Whether a line of a file can have a value, as it is.
fn is_line(value: &str) -> bool {
    value.trim() == value && !value.ends_with('\\') && !value.chars().any(|c| c.is_control() && c != '\t')
}
