//! What an administrator's keys add to the configuration of a start: what depends on the host at that moment.

use serde_json::{Value, json};

use crate::container::info::{Ours, Values};
use crate::container::needs::{self, Device};
use crate::error::Result;
use crate::oci::bundle_config::BundleConfig;
use crate::paths::Root;
use crate::system::untrusted::Untrusted;

/// The variable with the name of the host that a payload sees.
const HOST_NAME: &str = "HOSTNAME";

/// Adds it to the configuration of a bundle, which has its host name already if it is not the host's. Fails if the host
/// lacks what the container needs.
pub fn apply(root: &Root, ours: &Ours, untrusted: &Untrusted, config: &mut BundleConfig) -> Result<()> {
    let settings = &ours.settings;
    needs::check_paths(root, settings, untrusted)?;
    let own: Values = settings.environment().into_iter().chain(ours.user_values.clone()).collect();
    let mut variables = needs::environment(root, settings, untrusted)?;
    variables.retain(|(name, _)| !own.contains_key(name));
    variables.iter().try_for_each(|(name, value)| config.set_variable(name, value))?;
    if !config.has_variable(HOST_NAME) {
        let name = config.host_name().map_or_else(|| host_name(root), str::to_owned);
        config.set_variable(HOST_NAME, &name)?;
    }
    let devices = needs::devices(root, settings, untrusted)?;
    if !devices.is_empty() {
        config.linux_mut()?.insert("devices".into(), devices.iter().map(device).collect());
    }
    Ok(())
}

fn host_name(root: &Root) -> String {
    let name = std::fs::read_to_string(root.join("/proc/sys/kernel/hostname"));
    name.unwrap_or_default().trim().to_owned()
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.container.to_string_lossy(),
        "type": if device.is_block { "b" } else { "c" },
        "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::info::Info;
    use crate::container::settings::Settings;
    use crate::digest::Digest;

    fn ours(options: &[&str], values: &[(&str, &str)]) -> Ours {
        let info = json!({"image": "web", "syscontainers": {
            "version": 1, "digest": Digest::of(b""), "user-values": {}, "enabled": true,
            "execution": {"notify": "created"},
        }});
        let mut ours = serde_json::from_value::<Info>(info).unwrap().ours().unwrap().clone();
        ours.settings = Settings::of(options);
        ours.user_values = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ours
    }

    #[test]
    fn a_start_has_what_the_host_has_then() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        let root = Root::default();
        let option = format!("EnvironmentFile={}", file.display());
        let ours = ours(&[&option, "Environment=B=key", "AddDevice=/dev/zero:/dev/mine"], &[("C", "set")]);
        let start = || {
            let mut config = BundleConfig::of(json!({
                "process": {"env": ["A=image", "B=key", "C=set"]}, "hostname": "web",
            }));
            apply(&root, &ours, &Untrusted::default(), &mut config).map(|()| config.value().clone())
        };
        assert!(start().unwrap_err().to_string().starts_with("cannot read the environment of "));
        std::fs::write(&file, "A=1\nB=1\nC=1\nD=1\n").unwrap();
        let config = start().unwrap();
        assert_eq!(config["process"]["env"], json!(["B=key", "C=set", "A=1", "D=1", "HOSTNAME=web"]));
        assert_eq!(
            (&config["linux"]["devices"][0]["path"], &config["linux"]["devices"][0]["minor"]),
            (&json!("/dev/mine"), &json!(5))
        );
        std::fs::write(&file, "HOSTNAME=mine\n").unwrap();
        assert_eq!(start().unwrap()["process"]["env"], json!(["A=image", "B=key", "C=set", "HOSTNAME=mine"]));
    }
}
