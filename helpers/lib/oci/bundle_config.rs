//! The configuration of a bundle: that of a deployment, with what one start makes of it.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::oci::config::Normalised;
use crate::oci::mount::Mount;

/// What the runtime gets. Only a normalised configuration becomes one, so nothing at a start acts on another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct BundleConfig(Normalised);

impl From<Normalised> for BundleConfig {
    fn from(config: Normalised) -> BundleConfig {
        BundleConfig(config)
    }
}

impl BundleConfig {
    /// One of these JSON keys, for tests.
    #[cfg(test)]
    pub fn of(value: Value) -> BundleConfig {
        crate::oci::config::Config::new(value).normalised().into()
    }

    /// The JSON, for tests.
    #[cfg(test)]
    pub fn value(&self) -> &Value {
        &self.0.0
    }

    /// Reads again what was written of one.
    pub fn read_back(text: &[u8]) -> serde_json::Result<BundleConfig> {
        serde_json::from_slice(text).map(|value| BundleConfig(Normalised(value)))
    }

    /// Mounts in their order.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        self.0.mounts()
    }

    /// The host name of the payload, if it has one of its own.
    pub fn host_name(&self) -> Option<&str> {
        self.0.host_name()
    }

    /// Working directory of the payload.
    pub fn working_directory(&self) -> Option<&str> {
        self.0.working_directory()
    }

    /// User and group that the payload is started as, as numbers inside its user namespace.
    pub fn user(&self) -> (u64, u64) {
        self.0.user()
    }

    /// The capabilities that the payload has at most.
    pub fn bounding_capabilities(&self) -> impl Iterator<Item = &str> {
        self.0.texts("/process/capabilities/bounding")
    }

    /// Whether nothing can be written to the root file system.
    pub fn has_read_only_root(&self) -> bool {
        self.0.0.pointer("/root/readonly") == Some(&Value::Bool(true))
    }

    /// Whether the payload has a network that is made for it, with nothing but a loopback device.
    pub fn has_own_network(&self) -> bool {
        let namespaces = self.0.0.pointer("/linux/namespaces").and_then(Value::as_array);
        let mut namespaces = namespaces.into_iter().flatten();
        namespaces.any(|namespace| namespace["type"] == "network" && namespace.get("path").is_none())
    }

    /// Paths of the devices that are made beside the usual ones.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let devices = self.0.0.pointer("/linux/devices").and_then(Value::as_array);
        devices.into_iter().flatten().filter_map(|device| device.get("path").and_then(Value::as_str))
    }

    /// Files of the kernel's that the payload cannot see.
    pub fn masked_paths(&self) -> impl Iterator<Item = &str> {
        self.0.texts("/linux/maskedPaths")
    }

    /// And those that it can only read.
    pub fn read_only_paths(&self) -> impl Iterator<Item = &str> {
        self.0.texts("/linux/readonlyPaths")
    }

    /// Sets the path of the root file system.
    pub fn set_root(&mut self, path: &Path) -> Result<()> {
        self.object_mut("root")?.insert("path".into(), json!(path.to_string_lossy()));
        Ok(())
    }

    /// Sets the host name of the payload.
    pub fn set_host_name(&mut self, name: &str) -> Result<()> {
        let config = self.0.0.as_object_mut().ok_or_else(|| Error::new("it is not an object"))?;
        config.insert("hostname".into(), json!(name));
        Ok(())
    }

    /// The array `mounts`.
    pub fn mounts_mut(&mut self) -> Result<&mut Vec<Value>> {
        let mounts = self.0.0.get_mut("mounts").and_then(Value::as_array_mut);
        mounts.ok_or_else(|| Error::new("mounts is not an array"))
    }

    /// The object `linux`.
    pub fn linux_mut(&mut self) -> Result<&mut Map<String, Value>> {
        self.object_mut("linux")
    }

    /// The object `process`.
    pub fn process_mut(&mut self) -> Result<&mut Map<String, Value>> {
        self.object_mut("process")
    }

    fn object_mut(&mut self, key: &str) -> Result<&mut Map<String, Value>> {
        let object = self.0.0.get_mut(key).and_then(Value::as_object_mut);
        object.ok_or_else(|| Error::new(format!("{key} is not an object")))
    }

    /// Whether the payload's environment has a variable.
    pub fn has_variable(&self, name: &str) -> bool {
        self.0.environment().any(|entry| is_of(entry, name))
    }

    /// Sets a variable of the payload's environment.
    pub fn set_variable(&mut self, name: &str, value: &str) -> Result<()> {
        self.unset_variable(name)?;
        let environment = self.process_mut()?.entry("env").or_insert_with(|| json!([])).as_array_mut();
        let environment = environment.ok_or_else(|| Error::new("process.env is not an array"))?;
        environment.push(json!(format!("{name}={value}")));
        Ok(())
    }

    /// Removes a variable from the payload's environment.
    pub fn unset_variable(&mut self, name: &str) -> Result<()> {
        if let Some(environment) = self.process_mut()?.get_mut("env").and_then(Value::as_array_mut) {
            environment.retain(|entry| !entry.as_str().is_some_and(|entry| is_of(entry, name)));
        }
        Ok(())
    }
}

fn is_of(entry: &str, name: &str) -> bool {
    entry.split_once('=').is_some_and(|(key, _)| key == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_normalised_whatever_it_is_made_of() {
        let config = BundleConfig::of(json!({
            "process": {"capabilities": null, "env": ["A=1", "B", "AB=1"]},
            "linux": {"capabilities": ["CAP_KILL"], "maskedPaths": ["/a"], "devices": [{"path": "/dev/x"}, {}]},
        }));
        assert_eq!(config.bounding_capabilities().collect::<Vec<_>>(), ["CAP_KILL"]);
        assert_eq!(config.masked_paths().chain(config.devices()).collect::<Vec<_>>(), ["/a", "/dev/x"]);
        assert_eq!((config.working_directory(), config.user()), (Some("/"), (0, 0)));
        assert!(!config.has_read_only_root() && config.host_name().is_none());
        let again = BundleConfig::read_back(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn a_variable_is_there_once() {
        let mut config = BundleConfig::of(json!({"process": {"env": ["A=1", "B", "AB=1", "A=2"]}}));
        config.set_variable("A", "3").unwrap();
        config.unset_variable("B").unwrap();
        assert_eq!(config.value()["process"]["env"], json!(["B", "AB=1", "A=3"]));
        assert!(config.has_variable("AB") && !config.has_variable("B"));
        let mut none = BundleConfig::of(json!({}));
        none.unset_variable("A").unwrap();
        assert!(none.value()["process"].get("env").is_none());
        none.set_variable("A", "1").unwrap();
        assert!(none.has_variable("A"));
    }
}
