//! What the user is told about a planned deployment: what its image opens on this host, and what has no effect.

use crate::container::settings::Settings;
use crate::error::Result;
use crate::image::check::Checked;
use crate::image::command;
use crate::image::profile::Profile;
use crate::image::secrets;
use crate::image::tree::Tree;
use crate::image::variables;
use crate::install::plan::Planner;

impl Planner<'_> {
    /// Tells what the image opens on this host, and warns of what of it has no effect here.
    pub(super) fn notices(
        &self,
        (rendered, tree): (&Checked, &dyn Tree),
        settings: &Settings,
        warn: &dyn Fn(&str),
    ) -> Result<Vec<String>> {
        let (name, profile) = (self.name, Profile::of(self.image)?);
        if profile.healthcheck.is_some() {
            warn(&format!(
                "the HEALTHCHECK of {} is not run; {name} counts as healthy as long as it runs",
                self.image.name
            ));
        }
        // Only a warning: the next image, a file that is made by then, or a mount may bring it.
        let config = rendered.config.as_ref().map(|(_, config)| config);
        // What cannot be looked at now is found out by the start.
        if let Some(fault) = config.and_then(|config| command::fault(tree, config).ok().flatten()) {
            warn(&format!("{name} cannot start with {}: {fault}", self.image.name));
        }
        let mut notices = Vec::new();
        if rendered.systemd {
            notices.push(format!(
                "{name} runs systemd: with cgroups of its own, and with /run, /run/lock, /tmp and /var/log/journal in memory; -o Systemd=no does without"
            ));
        }
        let shares_network = rendered.confined && settings.last("Network").is_none_or(|mode| mode == "host");
        if !shares_network {
            return Ok(notices);
        }
        let ports = profile.shown_ports();
        if let Some(others) = ports.impossible {
            warn(&format!("{} exposes {others}, which is not a port; ignoring it", self.image.name));
        }
        notices.extend(ports.possible.map(|ports| {
            format!(
                "{name} shares the network of this host, and may listen on {ports} on all of its addresses"
            )
        }));
        Ok(notices)
    }

    /// Warns of values that the user set without effect, or where others can read them.
    pub(super) fn warn_of_values(&self, rendered: &Checked, warn: &dyn Fn(&str)) {
        for name in self.options.user_values.keys() {
            if rendered.environment.contains(name) {
                continue;
            }
            if variables::is_forced(name) {
                warn(&format!("{name} says how the container is installed, ignoring --set {name}"));
            } else if rendered.readable.contains(name) && secrets::looks_secret(name) {
                warn(&format!(
                    "every user of this host can read the value of {name}, which {} uses in its unit or in a readable file; with --secret {name}, that would be refused",
                    self.image.name
                ));
            } else if !rendered.used.contains(name) {
                warn(&format!("no template of {} uses {name}, --set {name} has no effect", self.image.name));
            }
        }
    }
}
