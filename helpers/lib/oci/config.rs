//! The OCI runtime configuration of a deployment, `config.json`.
//!
//! There are two types. [`Config`] is what the image wrote and what deployments keep. [`Normalised`] is what today's
//! runtimes accept, and what all code that acts on a configuration reads. A start changes one further, as a
//! [`BundleConfig`](crate::oci::bundle_config::BundleConfig).

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Context, Result};
use crate::oci::mismatch::{self, Mismatch};
use crate::oci::mount::Mount;
use crate::oci::normalise;

/// Annotation with the image's stop signal, see conversion.md of the OCI image specification.
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// Parses, checks and normalises a configuration; errors name `origin`. Where the root file system is a `scratch`
/// one, it may be writable.
pub fn parse(text: &str, origin: &str, scratch: bool) -> Result<Normalised> {
    let config = Config::parse(text).context(|| format!("invalid JSON in {origin}, after substitution"))?;
    config.check(scratch).context(|| format!("invalid configuration in {origin}"))
}

/// A configuration as it was written: any JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Config(Value);

/// Why an installation refuses a configuration.
#[derive(Debug)]
pub enum InvalidConfig {
    /// `root.readonly` is not true.
    WritableRoot,
    /// `root.path` is this, or missing. It is not shown, as values of users may be part of it.
    RootPath(Option<Value>),
    /// Something is missing or has the wrong type.
    Malformed(Mismatch),
    /// `process.args` is missing or empty.
    NoArgs,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidConfig::WritableRoot => f.write_str(
                "root.readonly must be true: the files of a container are shared with the image store",
            ),
            InvalidConfig::RootPath(Some(_)) => f.write_str("root.path must be \"rootfs\""),
            InvalidConfig::RootPath(None) => f.write_str("root.path is missing; it must be \"rootfs\""),
            InvalidConfig::Malformed(mismatch) => write!(f, "not an OCI runtime configuration: {mismatch}"),
            InvalidConfig::NoArgs => f.write_str("process.args is empty: there is nothing to run"),
        }
    }
}

impl std::error::Error for InvalidConfig {}

impl Config {
    /// Parses JSON; whether it is a configuration is for [`Config::check`] to say.
    pub fn parse(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text).map(Config)
    }

    /// Takes JSON that is parsed already.
    pub fn new(value: Value) -> Config {
        Config(value)
    }

    /// The JSON as it was written.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Mounts as they were written, in order.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        Mount::all(&self.0)
    }

    /// Upgrades old forms, whether the result is valid or not.
    pub fn normalised(&self) -> Normalised {
        let mut value = self.0.clone();
        normalise::normalise(&mut value);
        Normalised(value)
    }

    /// Checks everything that an installation insists on.
    pub fn check(&self, scratch: bool) -> Result<Normalised, InvalidConfig> {
        if let Some(invalid) = self.invalid_root(scratch).into_iter().next() {
            return Err(invalid);
        }
        let normalised = self.normalised();
        let spec: Spec = mismatch::read(&normalised.0).map_err(InvalidConfig::Malformed)?;
        match spec.process().as_ref().and_then(|process| process.args().as_ref()) {
            Some(args) if !args.is_empty() => Ok(normalised),
            _ => Err(InvalidConfig::NoArgs),
        }
    }

    /// Returns what is wrong with `root`.
    pub fn invalid_root(&self, scratch: bool) -> Vec<InvalidConfig> {
        let mut invalid = Vec::new();
        if !scratch && self.0.pointer("/root/readonly") != Some(&Value::Bool(true)) {
            invalid.push(InvalidConfig::WritableRoot);
        }
        let path = self.0.pointer("/root/path");
        if path.is_none_or(|path| path != "rootfs") {
            invalid.push(InvalidConfig::RootPath(path.cloned()));
        }
        invalid
    }
}

/// A configuration that today's runtimes accept.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Normalised(pub(super) Value);

impl Normalised {
    /// Mounts in their order.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        Mount::all(&self.0)
    }

    /// The host name of the payload, if it has one of its own.
    pub fn host_name(&self) -> Option<&str> {
        self.0.get("hostname").and_then(Value::as_str)
    }

    /// Working directory of the payload.
    pub fn working_directory(&self) -> Option<&str> {
        self.0.pointer("/process/cwd").and_then(Value::as_str)
    }

    /// The payload's command and its arguments.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.texts("/process/args")
    }

    /// The payload's environment, `NAME=VALUE`.
    pub fn environment(&self) -> impl Iterator<Item = &str> {
        self.texts("/process/env")
    }

    pub(super) fn texts(&self, pointer: &str) -> impl Iterator<Item = &str> {
        let list = self.0.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// User and group that the payload is started as, as numbers inside its user namespace.
    pub fn user(&self) -> (u64, u64) {
        let id = |pointer| self.0.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        (id("/process/user/uid"), id("/process/user/gid"))
    }

    /// The signal that ends the payload, if the configuration names one.
    pub fn stop_signal(&self) -> Option<i32> {
        let signal = self.0.get("annotations").and_then(|annotations| annotations.get(STOP_SIGNAL));
        signal.and_then(Value::as_str).and_then(crate::signal::number)
    }

    /// Returns whether the payload gets a PID namespace of its own.
    pub fn has_pid_namespace(&self) -> bool {
        self.has_namespace("pid")
    }

    /// Returns whether the payload gets a user namespace of its own.
    pub fn has_user_namespace(&self) -> bool {
        self.has_namespace("user")
    }

    fn has_namespace(&self, kind: &str) -> bool {
        let namespaces = self.0.pointer("/linux/namespaces").and_then(Value::as_array);
        namespaces.is_some_and(|list| list.iter().any(|n| n.get("type").is_some_and(|t| t == kind)))
    }

    /// The object `linux.resources`, if there is one.
    pub fn resources(&self) -> Option<&Map<String, Value>> {
        self.0.pointer("/linux/resources").and_then(Value::as_object)
    }

    /// Makes relative bind sources absolute: they are below `directory`.
    pub fn anchor_bind_sources(&mut self, directory: &Path) {
        let mounts = self.0.get_mut("mounts").and_then(Value::as_array_mut);
        for mount in mounts.into_iter().flatten().filter(|mount| Mount::new(mount).is_bind()) {
            if let Some(source) = mount.get("source").and_then(Value::as_str) {
                // Joining leaves an absolute source as it is.
                mount["source"] = directory.join(source).to_string_lossy().into();
            }
        }
    }

    /// Replaces the absolute bind sources that `place` has another path for.
    pub fn replace_bind_sources(&mut self, place: impl Fn(&Path) -> Option<PathBuf>) {
        let mounts = self.0.get_mut("mounts").and_then(Value::as_array_mut);
        for mount in mounts.into_iter().flatten() {
            if let Some(path) = Mount::new(mount).bind_source().and_then(&place) {
                mount["source"] = path.to_string_lossy().into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn minimal() -> Value {
        json!({"ociVersion": "1.0.0", "root": {"path": "rootfs", "readonly": true}, "process": {"args": ["true"]}})
    }

    #[test]
    fn accepts_the_minimum() {
        parse(&minimal().to_string(), "x", false).unwrap();
    }

    #[test]
    fn refuses_with_a_reason() {
        for (pointer, value, reason) in [
            ("/root/readonly", json!(false), "root.readonly must be true"),
            ("/root/readonly", Value::Null, "root.readonly must be true"),
            ("/root/path", json!("/"), "root.path must be \"rootfs\""),
            ("/root/path", Value::Null, "root.path must be"),
            ("/process/args", json!([]), "process.args is empty"),
            ("/process/args", json!("x"), "not an OCI runtime configuration"),
        ] {
            let mut config = minimal();
            *config.pointer_mut(pointer).unwrap() = value;
            let error = parse(&config.to_string(), "exports/config.json", false).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid configuration in exports/config.json: ") && error.contains(reason),
                "{error}"
            );
        }
        for text in ["", "{", "[]", "3", "{}"] {
            assert!(parse(text, "x", false).is_err());
        }
        let error = parse("{\n  \"a\": ,\n}", "x", false).unwrap_err().to_string();
        assert!(error.contains("line 2 column 8"), "{error}");
    }

    #[test]
    fn only_a_scratch_root_may_be_written() {
        let mut config = minimal();
        config["root"]["readonly"] = json!(false);
        assert!(matches!(Config::new(config.clone()).check(false), Err(InvalidConfig::WritableRoot)));
        Config::new(config).check(true).unwrap();
        let both = Config::new(json!({})).invalid_root(false);
        assert!(matches!(both[..], [InvalidConfig::WritableRoot, InvalidConfig::RootPath(None)]));
    }

    #[test]
    fn reads_what_matters() {
        let config = Config::new(json!({
            "process": {"user": {"uid": 7}}, "annotations": {STOP_SIGNAL: "SIGQUIT"},
            "linux": {"namespaces": [{"type": "pid"}]},
            "mounts": [{"type": "rbind", "source": "/a", "destination": "/b//c/"}],
        }));
        let normalised = config.normalised();
        assert_eq!(normalised.user(), (7, 0));
        assert_eq!(normalised.stop_signal(), Some(3));
        assert_eq!(normalised.working_directory(), Some("/"));
        assert!(normalised.has_pid_namespace() && !normalised.has_user_namespace());
        let mounts: Vec<_> = normalised.mounts().map(|m| (m.destination(), m.bind_source())).collect();
        assert_eq!(mounts[0], (Some("/dev".into()), None));
        assert_eq!(mounts[1], (Some("/b/c".into()), Some("/a".as_ref())));
        assert_eq!(config.mounts().count(), 1);
    }
}
