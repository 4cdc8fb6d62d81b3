//! `linux.resources` of a runtime configuration as settings of the unit.
//!
//! The payload is in the unit's cgroup, so systemd sets limits and device rules. They must not be set in two places,
//! and crun without its cgroup manager silently ignores them anyway. Values of cgroups version 1 are converted as
//! runtimes do: shares 2..262144 to weight 1..10000, block weight 10..1000 to 1..10000.

use std::collections::HashMap;

use serde_json::Value;

use crate::oci::config::Normalised;
use crate::steps;

/// The settings that resources are converted to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResourceSettings {
    /// Settings of `[Service]`, see systemd.resource-control(5).
    pub settings: Vec<(String, String)>,
    /// JSON names of the resources that systemd has no setting for.
    pub ignored: Vec<String>,
}

impl ResourceSettings {
    fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.push((key.to_owned(), value.to_string()));
    }

    fn ignore(&mut self, what: impl Into<String>) {
        self.ignored.push(what.into());
    }
}

/// Converts the resources of a configuration.
pub fn settings(config: &Normalised) -> ResourceSettings {
    let mut out = ResourceSettings::default();
    let resources = config.resources();
    devices(resources.and_then(|r| r.get("devices")), &mut out);
    for (key, value) in resources.into_iter().flatten() {
        match key.as_str() {
            "devices" => {}
            "memory" => memory(value, &mut out),
            "cpu" => cpu(value, &mut out),
            "pids" => pids(value, &mut out),
            "blockIO" => block_io(value, &mut out),
            "unified" => unified(value, &mut out),
            _ if is_empty(value) => {}
            _ => out.ignore(format!("linux.resources.{key}")),
        }
    }
    out
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v)).filter(|(_, v)| !is_empty(v))
}

/// Returns a limit as systemd writes it; a negative one means that there is no limit.
fn limit(value: i64) -> String {
    if value < 0 { "infinity".into() } else { value.to_string() }
}

fn memory(memory: &Value, out: &mut ResourceSettings) {
    let max = memory.get("limit").and_then(Value::as_i64);
    for (key, value) in entries(memory) {
        match (key, value.as_i64(), max) {
            ("limit", Some(bytes), _) => out.set("MemoryMax", limit(bytes)),
            ("reservation", Some(bytes), _) => out.set("MemoryLow", limit(bytes)),
            // OCI counts memory and swap together, systemd only swap.
            ("swap", Some(bytes), _) if bytes < 0 => out.set("MemorySwapMax", "infinity"),
            ("swap", Some(bytes), Some(max)) if (0..=bytes).contains(&max) => {
                out.set("MemorySwapMax", bytes - max);
            }
            _ => out.ignore(format!("linux.resources.memory.{key}")),
        }
    }
}

fn cpu(cpu: &Value, out: &mut ResourceSettings) {
    let period = cpu.get("period").and_then(Value::as_u64).filter(|p| *p > 0).unwrap_or(100_000);
    for (key, value) in entries(cpu) {
        match (key, value.as_i64(), value.as_str()) {
            ("shares", Some(shares), _) => {
                out.set("CPUWeight", 1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142);
            }
            ("quota", Some(quota), _) if quota < 0 => {}
            ("quota", Some(quota), _) => {
                let hundredths = (quota as u64).saturating_mul(10_000) / period;
                out.set("CPUQuota", format!("{}.{:02}%", hundredths / 100, hundredths % 100));
            }
            ("period", Some(_), _) => out.set("CPUQuotaPeriodSec", format!("{period}us")),
            ("cpus", _, Some(list)) if is_cpu_list(list) => out.set("AllowedCPUs", list),
            ("mems", _, Some(list)) if is_cpu_list(list) => out.set("AllowedMemoryNodes", list),
            ("idle", Some(1), _) => out.set("CPUWeight", "idle"),
            _ => out.ignore(format!("linux.resources.cpu.{key}")),
        }
    }
}

fn is_cpu_list(list: &str) -> bool {
    list.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-'))
}

fn pids(pids: &Value, out: &mut ResourceSettings) {
    if let Some(count) = pids.get("limit").and_then(Value::as_i64) {
        out.set("TasksMax", if count <= 0 { "infinity".into() } else { count.to_string() });
    }
}

fn block_io(block_io: &Value, out: &mut ResourceSettings) {
    for (key, value) in entries(block_io) {
        let setting = match key {
            "weight" => {
                out.set("IOWeight", io_weight(value));
                continue;
            }
            "weightDevice" => "IODeviceWeight",
            "throttleReadBpsDevice" => "IOReadBandwidthMax",
            "throttleWriteBpsDevice" => "IOWriteBandwidthMax",
            "throttleReadIOPSDevice" => "IOReadIOPSMax",
            "throttleWriteIOPSDevice" => "IOWriteIOPSMax",
            _ => {
                out.ignore(format!("linux.resources.blockIO.{key}"));
                continue;
            }
        };
        for device in value.as_array().into_iter().flatten() {
            let number = |key: &str| device.get(key).and_then(Value::as_i64);
            let amount = match setting {
                "IODeviceWeight" => device.get("weight").map(io_weight),
                _ => number("rate"),
            };
            if let (Some(major), Some(minor), Some(amount)) = (number("major"), number("minor"), amount) {
                out.set(setting, format!("/dev/block/{major}:{minor} {amount}"));
            }
        }
    }
}

fn io_weight(weight: &Value) -> i64 {
    1 + (weight.as_i64().unwrap_or(100).clamp(10, 1_000) - 10) * 9_999 / 990
}

fn unified(unified: &Value, out: &mut ResourceSettings) {
    for (key, value) in entries(unified) {
        let setting = match key {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "io.weight" => "IOWeight",
            _ => "",
        };
        let text = value.as_str().unwrap_or_default().trim().trim_start_matches("default ");
        let text = if text == "max" { "infinity" } else { text };
        if setting.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
            out.ignore(format!("linux.resources.unified[{key:?}]"));
        } else {
            out.set(setting, text);
        }
    }
}

/// Converts device rules, which apply in order, as in runtimes, starting from one that denies everything. The standard
/// pseudo devices are always allowed.
fn devices(rules: Option<&Value>, out: &mut ResourceSettings) {
    let mut open = false;
    let mut allowed = AllowedDevices::default();
    for rule in rules.and_then(Value::as_array).into_iter().flatten() {
        let allow = rule.get("allow").and_then(Value::as_bool).unwrap_or(false);
        let access = rule.get("access").and_then(Value::as_str).filter(|a| !a.is_empty()).unwrap_or("rwm");
        match (device(rule), allow) {
            (None, _) if access == "rwm" => {
                open = allow;
                allowed = AllowedDevices::default();
            }
            (None, true) => {
                allowed.add("char-*".into(), access);
                allowed.add("block-*".into(), access);
            }
            (Some(device), true) => allowed.add(device, access),
            (Some(device), false) if !open => allowed.remove(&device),
            _ => out.ignore(format!("linux.resources.devices rule {rule}")),
        }
    }
    if open {
        return;
    }
    out.set("DevicePolicy", "closed");
    for (device, access) in allowed.rules.into_iter().flatten() {
        out.set("DeviceAllow", format!("{device} {access}"));
    }
}

/// Rules that allow devices, of which later ones may take some back.
#[derive(Default)]
struct AllowedDevices {
    rules: Vec<Option<(String, String)>>,
    /// Where the rules of a device are.
    of: HashMap<String, Vec<usize>>,
}

impl AllowedDevices {
    fn add(&mut self, device: String, access: &str) {
        self.of.entry(device.clone()).or_default().push(self.rules.len());
        self.rules.push(Some((device, access.to_owned())));
    }

    fn remove(&mut self, device: &str) {
        for index in steps::counted(self.of.remove(device).unwrap_or_default().into_iter()) {
            self.rules[index] = None;
        }
    }
}

/// Returns the devices of a rule as systemd names them; `None` for all devices.
fn device(rule: &Value) -> Option<String> {
    let kind = match rule.get("type").and_then(Value::as_str) {
        Some("c" | "u") => "char",
        Some("b") => "block",
        _ => return None,
    };
    let number = |key: &str| rule.get(key).and_then(Value::as_i64).filter(|n| *n >= 0);
    match (number("major"), number("minor")) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        // systemd accepts the name of a driver or its number there.
        (Some(major), None) => Some(format!("{kind}-{major}")),
        _ => Some(format!("{kind}-*")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::json;

    fn of(resources: Value) -> (Vec<String>, Vec<String>) {
        let out = settings(&Config::new(json!({"linux": {"resources": resources}})).normalised());
        (out.settings.iter().map(|(k, v)| format!("{k}={v}")).collect(), out.ignored)
    }

    #[test]
    fn limits() {
        let all = json!([{"allow": true, "access": "rwm"}]);
        for (resources, expected) in [
            (json!({"devices": all}), vec![]),
            (
                json!({"devices": all, "memory": {"limit": 1048576, "swap": 2097152, "reservation": -1}}),
                vec!["MemoryMax=1048576", "MemorySwapMax=1048576", "MemoryLow=infinity"],
            ),
            (
                json!({"devices": all, "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "cpus": "0-1", "mems": "0"}}),
                vec![
                    "CPUWeight=39",
                    "CPUQuota=24.69%",
                    "CPUQuotaPeriodSec=50000us",
                    "AllowedCPUs=0-1",
                    "AllowedMemoryNodes=0",
                ],
            ),
            (json!({"devices": all, "pids": {"limit": 10}}), vec!["TasksMax=10"]),
            (json!({"devices": all, "pids": {"limit": -1}}), vec!["TasksMax=infinity"]),
            (
                json!({"devices": all, "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]}}),
                vec!["IOWeight=1", "IOReadBandwidthMax=/dev/block/8:0 600"],
            ),
            (
                json!({"devices": all, "unified": {"memory.high": "1M", "memory.max": "max"}}),
                vec!["MemoryHigh=1M", "MemoryMax=infinity"],
            ),
        ] {
            assert_eq!(
                of(resources.clone()),
                (expected.iter().map(|s| s.to_string()).collect(), vec![]),
                "{resources}"
            );
        }
    }

    #[test]
    fn names_what_it_cannot_express() {
        let (_, ignored) =
            of(json!({"memory": {"swappiness": 5}, "network": {"classID": 1}, "hugepageLimits": [],
                                     "unified": {"memory.max": "1\nExecStart=/x", "x.y": "1"}}));
        assert_eq!(
            ignored,
            [
                "linux.resources.memory.swappiness",
                "linux.resources.network",
                "linux.resources.unified[\"memory.max\"]",
                "linux.resources.unified[\"x.y\"]",
            ]
        );
    }

    #[test]
    fn device_rules() {
        let deny = json!({"allow": false, "access": "rwm"});
        for (rules, expected) in [
            (Value::Null, vec!["DevicePolicy=closed"]),
            (json!([deny]), vec!["DevicePolicy=closed"]),
            (
                json!([deny, {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}]),
                vec!["DevicePolicy=closed", "DeviceAllow=/dev/char/10:200 rw"],
            ),
            (
                json!([deny, {"allow": true, "type": "b", "major": 8, "access": "r"}, {"allow": true, "type": "c", "access": "m"}]),
                vec!["DevicePolicy=closed", "DeviceAllow=block-8 r", "DeviceAllow=char-* m"],
            ),
        ] {
            assert_eq!(of(json!({"devices": rules})).0, expected, "{rules}");
        }
    }

    #[test]
    fn rules_are_looked_at_once() {
        steps::assert_linear("devices", |size| {
            let rule = |n: usize, allow: bool| json!({"type": "c", "major": n, "minor": 0, "allow": allow});
            let rules: Vec<_> = (0..2 * size).map(|n| rule(n % size, n < size)).collect();
            let config = Config::new(json!({"linux": {"resources": {"devices": rules}}})).normalised();
            assert_eq!(settings(&config).settings.len(), 1);
        });
    }
}
