//! Resources that both the unit and the configuration limit.

use std::collections::HashSet;

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

/// Looks for settings of the unit that `linux.resources` of the configuration are converted to, too.
pub fn check(config: &LintedConfig, unit: &Unit, report: &mut LintReport) {
    let of_config = resources::settings(&config.normalised).settings;
    let of_config: HashSet<&str> = of_config.iter().map(|(setting, _)| setting.as_str()).collect();
    let devices = allows_devices(&config.normalised);
    for (line, key, value) in unit.parsed.lines("Service").filter(|(_, _, value)| !value.is_empty()) {
        let name = OLD_NAMES.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| new);
        // Every configuration denies devices that it does not list; the unit may well allow some.
        let counts = if name.starts_with("Device") { devices } else { true };
        if counts && of_config.contains(name) {
            let message =
                format!("{key}={value} limits the same resource as linux.resources of the configuration");
            report.add(&rules::DOUBLE_LIMIT, Place::at(&unit.file, line, 1), message);
        }
    }
}

fn allows_devices(config: &Normalised) -> bool {
    let rules = config.resources().and_then(|resources| resources.get("devices")?.as_array());
    rules.is_some_and(|rules| rules.iter().any(|rule| rule.get("allow") == Some(&true.into())))
}
