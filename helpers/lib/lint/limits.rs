//! Resources that both the unit and the configuration limit.

use super::config::LintedConfig;
use super::finding::{LintReport, Place};
use super::rules;
use super::unit::Unit;
use crate::oci::config::Normalised;
use crate::oci::resources;

/// Settings from before version 2 of cgroups, with their successors.
const OLD_NAMES: [(&str, &str); 6] = [
    ("MemoryLimit", "MemoryMax"),
    ("CPUShares", "CPUWeight"),
    ("BlockIOWeight", "IOWeight"),
    ("BlockIODeviceWeight", "IODeviceWeight"),
    ("BlockIOReadBandwidth", "IOReadBandwidthMax"),
    ("BlockIOWriteBandwidth", "IOWriteBandwidthMax"),
];

/// Looks for settings of the unit that the `linux.resources` of the configuration become, too.
pub fn check(config: &LintedConfig, unit: &Unit, report: &mut LintReport) {
    let of_config = resources::settings(&config.normalised).settings;
    let devices = allows_devices(&config.normalised);
    for (line, key, value) in unit.parsed.lines("Service").filter(|(_, _, value)| !value.is_empty()) {
        let name = OLD_NAMES.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| new);
        // Every configuration denies devices that it does not list; the unit may well allow some.
        let counts = if name.starts_with("Device") { devices } else { true };
        if counts && of_config.iter().any(|(setting, _)| setting == name) {
            let message =
                format!("{key}={value} limits what linux.resources of the configuration limits, too");
            report.add(&rules::DOUBLE_LIMIT, Place::at(&unit.file, line, 1), message);
        }
    }
}

fn allows_devices(config: &Normalised) -> bool {
    let rules = config.resources().and_then(|resources| resources.get("devices")?.as_array());
    rules.is_some_and(|rules| rules.iter().any(|rule| rule.get("allow") == Some(&true.into())))
}
