//! What a payload that is systemd is told of the container, see its container interface.

use std::fs;

use crate::digest::Digest;
use crate::error::Result;
use crate::name::Name;
use crate::oci::bundle_config::BundleConfig;
use crate::paths::Root;

/// The variable with the ID that systemd takes for that of the machine, where the image has none.
const ID: &str = "container_uuid";
/// How many hexadecimal digits that has.
const DIGITS: usize = 32;

/// Gives a configuration an ID of the container that stays the same, unless the image or the administrator chose one. It
/// says nothing of that of the host, which is a secret, see machine-id(5).
pub fn identify(root: &Root, name: &Name, config: &mut BundleConfig) -> Result<()> {
    if config.has_variable(ID) {
        return Ok(());
    }
    let host = fs::read_to_string(root.join("/etc/machine-id")).unwrap_or_default();
    let digest = Digest::of(format!("syscontainers {} {name}", host.trim()).as_bytes());
    config.set_variable(ID, &digest.hex()[..DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_id_is_of_one_container_on_one_host() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let id = |host: &str, name: &str, env: &[&str]| {
            fs::write(dir.path().join("etc/machine-id"), host).unwrap();
            let mut config = BundleConfig::of(json!({"process": {"env": env}}));
            identify(&Root::new(dir.path()), &name.parse().unwrap(), &mut config).unwrap();
            config.value()["process"]["env"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned()
        };
        let first = id("0123456789abcdef0123456789abcdef\n", "web", &["A=1"]);
        let digits = first.strip_prefix("container_uuid=").unwrap();
        assert!(digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{first}");
        assert_eq!(id("0123456789abcdef0123456789abcdef", "web", &[]), first);
        assert_ne!(id("0123456789abcdef0123456789abcdef", "db", &[]), first);
        assert_ne!(id("1123456789abcdef0123456789abcdef", "web", &[]), first);
        assert_eq!(id("", "web", &["container_uuid=mine"]), "container_uuid=mine");
    }
}
