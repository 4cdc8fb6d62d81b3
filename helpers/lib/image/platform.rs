//! What an image runs on: its architecture and its operating system.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::provenance::host_architecture;

/// Names of architectures that some builders write, and what they are called in images.
const SYNONYMS: [(&str, &str); 6] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("i386", "386"),
    ("i686", "386"),
    ("aarch64", "arm64"),
    ("armhf", "arm"),
];

/// Refuses an image whose configuration, raw JSON, says that it is for another architecture than the `wanted` one, or for
/// another operating system than Linux. One that does not say it is taken; variants are for the processor to refuse.
pub fn check(config: &str, wanted: &str) -> Result<()> {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let system = text("os");
    if !matches!(system, "" | "linux") {
        return Err(Error::new(format!("it is for {system:?}, and containers here run Linux")));
    }
    let architecture = text("architecture");
    if architecture.is_empty() || canonical(architecture) == canonical(wanted) {
        return Ok(());
    }
    let is_name = architecture.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let remedy = match is_name {
        true => format!("; if that is meant, pull it with --arch={}", canonical(architecture)),
        false => String::new(),
    };
    let whose = if wanted == host_architecture() { "this machine's" } else { "the chosen one" };
    Err(Error::new(format!(
        "it is for the architecture {architecture:?}, which is not {whose}, {wanted}{remedy}"
    )))
}

fn canonical(architecture: &str) -> &str {
    let synonym = SYNONYMS.iter().find(|(name, _)| *name == architecture);
    synonym.map_or(architecture, |(_, name)| name)
}

impl Image {
    /// Refuses an image that is for another platform than it was pulled for.
    pub fn check_platform(&self) -> Result<()> {
        check(&self.config, &self.provenance.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_platform_is_refused() {
        for (config, wanted) in [
            (r#"{"architecture": "amd64", "os": "linux"}"#, "amd64"),
            (r#"{"architecture": "x86_64", "os": "linux"}"#, "amd64"),
            (r#"{"architecture": "arm", "os": "linux", "variant": "v7"}"#, "arm"),
            (r#"{"architecture": "arm64", "os": "linux", "variant": "v8"}"#, "arm64"),
            (r#"{"os": "linux"}"#, "amd64"),
            (r#"{"architecture": "", "os": ""}"#, "amd64"),
        ] {
            check(config, wanted).unwrap();
        }
        for (config, wanted, expected) in [
            (r#"{"architecture": "mips", "os": "linux"}"#, "riscv64", "pull it with --arch=mips"),
            (r#"{"architecture": "aarch64", "os": "linux"}"#, "riscv64", "pull it with --arch=arm64"),
            (r#"{"architecture": "mips"}"#, host_architecture(), "not this machine's"),
            (r#"{"architecture": "arm", "variant": "v7"}"#, "arm64", "pull it with --arch=arm"),
            (r#"{"architecture": "amd64", "os": "windows"}"#, "amd64", "it is for \"windows\""),
        ] {
            let error = check(config, wanted).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let odd = check(r#"{"architecture": "x\n--root=/"}"#, "amd64").unwrap_err().to_string();
        assert!(!odd.contains("--arch=") && !odd.contains('\n'), "{odd}");
    }
}
