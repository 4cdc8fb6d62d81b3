//! How the payload of an image without a configuration is confined, as far as the host says it: the seccomp profile, the
//! AppArmor profile and the SELinux labels. All of it is looked up at every start, so that a start after an update of
//! the host has what came with it.

use serde_json::{Value, json};

use crate::container::categories;
use crate::container::execution::Categories;
use crate::error::Result;
use crate::name::Name;
use crate::oci::bundle_config::BundleConfig;
use crate::oci::seccomp;
use crate::paths::Root;
use crate::program::log;
use crate::run::apparmor;
use crate::run::selinux::Labels;
use crate::run::support::Host;

/// What a host adds to a configuration.
pub struct Confinement {
    seccomp: Value,
    apparmor: Option<String>,
    labels: Option<Labels>,
}

impl Confinement {
    /// Looks up what the host in `root` has for a container with these SELinux categories, whose payload is `systemd` or
    /// not and has these capabilities at most.
    /// What is switched on here, but has nothing for containers, is a warning.
    pub fn look(
        root: &Root,
        host: &Host,
        (name, categories, systemd): (&Name, Option<Categories>, bool),
        config: &BundleConfig,
    ) -> Result<Confinement> {
        let capabilities: Vec<&str> = config.bounding_capabilities().collect();
        let seccomp = seccomp::profile(root, &capabilities)?;
        let apparmor = if host.apparmor { apparmor::profile(root)? } else { None };
        if host.apparmor && apparmor.is_none() {
            let remedy = format!("load {} with apparmor_parser", apparmor::FILE);
            log::warning(&format!(
                "AppArmor has no profile for containers, starting {name} without one; {remedy}"
            ));
        }
        let pair = categories.unwrap_or_else(|| categories::choose(root, name));
        let labels = if host.selinux { Labels::find(root, pair, systemd)? } else { None };
        if host.selinux && labels.is_none() {
            let remedy = "install the policy's part for containers, such as container-selinux";
            log::warning(&format!(
                "SELinux has no labels for containers, starting {name} without one; {remedy}"
            ));
        }
        Ok(Confinement { seccomp, apparmor, labels })
    }

    /// Adds it to the configuration of a bundle.
    pub fn apply(&self, config: &mut BundleConfig) -> Result<()> {
        config.linux_mut()?.insert("seccomp".into(), self.seccomp.clone());
        if let Some(profile) = &self.apparmor {
            config.process_mut()?.insert("apparmorProfile".into(), json!(profile));
        }
        if let Some(labels) = &self.labels {
            config.process_mut()?.insert("selinuxLabel".into(), json!(labels.process));
            config.linux_mut()?.insert("mountLabel".into(), json!(labels.file));
        }
        Ok(())
    }

    /// The SELinux label of the payload's files, if they need one.
    pub fn file_label(&self) -> Option<&str> {
        self.labels.as_ref().map(|labels| labels.file.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn host(apparmor: bool, selinux: bool) -> Host {
        Host { selinux, apparmor, capabilities: u64::MAX }
    }

    /// A tree with these files, and the configuration that a start there gets.
    fn confined(files: &[(&str, &str)], host: &Host) -> Result<Value> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut config =
            BundleConfig::of(json!({"process": {"capabilities": {"bounding": ["CAP_SYS_CHROOT"]}}}));
        let confinement = Confinement::look(
            &Root::new(dir.path()),
            host,
            (&"web".parse().unwrap(), Some(Categories(3, 5)), false),
            &config,
        )?;
        confinement.apply(&mut config)?;
        assert!(host.adapt(&mut config)?.is_empty());
        Ok(config.value().clone())
    }

    const APPARMOR: (&str, &str) =
        ("sys/kernel/security/apparmor/profiles", "syscontainers-default (enforce)\n");
    const SELINUX: [(&str, &str); 2] = [
        ("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
        (
            "etc/selinux/targeted/contexts/lxc_contexts",
            "process = \"system_u:system_r:container_t:s0\"\nfile = \"system_u:object_r:container_file_t:s0\"\n",
        ),
    ];

    #[test]
    fn a_payload_gets_what_the_host_has() {
        let bare = confined(&[], &host(false, false)).unwrap();
        assert!(bare["linux"]["seccomp"]["syscalls"].as_array().unwrap().len() > 5);
        assert_eq!(
            (bare["process"].get("apparmorProfile"), bare["process"].get("selinuxLabel")),
            (None, None)
        );
        let all = [APPARMOR, SELINUX[0], SELINUX[1]];
        // What is there, but switched off, would be refused by runtimes.
        assert_eq!(confined(&all, &host(false, false)).unwrap()["process"], bare["process"]);
        let whole = confined(&all, &host(true, true)).unwrap();
        assert_eq!(whole["process"]["apparmorProfile"], "syscontainers-default");
        let label = whole["process"]["selinuxLabel"].as_str().unwrap();
        assert_eq!(label, "system_u:system_r:container_t:s0:c3,c5");
        let mount = whole["linux"]["mountLabel"].as_str().unwrap();
        assert!(mount.starts_with("system_u:object_r:container_file_t:s0:c"), "{mount}");
        assert_eq!(label.rsplit_once(":s0:").unwrap().1, mount.rsplit_once(":s0:").unwrap().1);
        // Switched on, with nothing for containers: a warning.
        let without = confined(&[], &host(true, true)).unwrap();
        assert_eq!(without["process"], bare["process"]);
    }

    #[test]
    fn a_profile_that_cannot_be_used_is_no_reason_to_go_without() {
        let files = [("etc/containers/seccomp.json", "{")];
        let error = confined(&files, &host(false, false)).unwrap_err().to_string();
        assert!(error.starts_with("cannot use the seccomp profile /etc/containers/seccomp.json"), "{error}");
    }
}
