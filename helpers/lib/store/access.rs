//! How sources are reached: the options that are passed on to skopeo, and the commands that it is run with.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use containers_image_proxy::ImageProxyConfig;

use super::failure::SKOPEO;
use super::pace::Patience;
use super::reference::Reference;
use super::skopeo::{self, Process};
use crate::error::{Context, Error, Result};
use crate::paths::{Root, TreePath};
use crate::program::options::prelude::*;
use crate::program::options::{Argument, Completes, Opt};
use crate::provenance::host_architecture;
use crate::system::{command, tree};

/// Names of architectures in images.
const ARCHITECTURES: Completes =
    Completes::Words(&["386", "amd64", "arm", "arm64", "ppc64le", "riscv64", "s390x"]);

/// Options of skopeo, whose own configuration applies to everything that is not given.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// File with credentials, see containers-auth.json(5).
    pub authfile: Option<PathBuf>,
    /// Whether the certificates of registries are checked.
    pub tls_verify: Option<bool>,
    /// Signature policy, see containers-policy.json(5).
    pub policy: Option<PathBuf>,
    /// How long sources are waited for.
    pub patience: Patience,
    /// Architecture to choose from an image index, by its name in Go.
    pub arch: Option<String>,
    /// The tree that paths of images are in.
    pub root: Root,
}

impl Access {
    /// The option `--arch=ARCH`.
    pub const ARCH: Opt =
        Opt::valued("arch", "ARCH", "choose the image for this architecture instead of this machine's")
            .completes(ARCHITECTURES);
    /// The option `--authfile=FILE`.
    pub const AUTHFILE: Opt =
        Opt::valued("authfile", "FILE", "read credentials from FILE").completes(Completes::File);
    /// The option `--idle-timeout=TIME`.
    pub const IDLE_TIMEOUT: Opt = Patience::OPTION;
    /// The option `--policy=FILE`.
    pub const POLICY: Opt =
        Opt::valued("policy", "FILE", "enforce the signature policy in FILE").completes(Completes::File);
    /// The option `--tls-verify=BOOL`.
    pub const TLS_VERIFY: Opt =
        Opt::valued("tls-verify", "BOOL", "whether to check the registry's certificate: true or false")
            .completes(Completes::Words(&["true", "false"]));

    /// Takes one of the options with which sources are reached.
    pub fn set_source(&mut self, argument: Argument) -> Result<(), lexopt::Error> {
        match argument {
            Argument::Valued("authfile", value) => self.authfile = Some(value.into()),
            Argument::Valued("tls-verify", value) => self.tls_verify = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
        Ok(())
    }

    /// The architecture to choose from an image index.
    pub fn architecture(&self) -> &str {
        self.arch.as_deref().unwrap_or(host_architecture())
    }

    /// Where an image is opened: at a path of the tree, links followed as programs in it see them. Its name and what is
    /// recorded of its source do not tell that. Engines are this host's, and have nothing of a tree.
    pub fn place(&self, reference: &Reference) -> Result<Reference> {
        if self.root.is_host() || reference.is_remote() {
            return Ok(reference.clone());
        }
        let shown = reference.to_skopeo();
        let what = || format!("cannot use {shown}");
        if reference.transport().has_names() {
            let why = format!(
                "it would be an image of this host, not of the tree {}; use one of a registry, or pull it with 'syscontainer-pull --root={0}' and apply the declaration with --no-pull",
                self.root.path().display()
            );
            return Err(Error::new(why)).context(what);
        }
        let place = tree::place(&self.root, &TreePath::new(reference.location())).context(what)?;
        reference.at(&place).absolute()
    }

    /// `skopeo`, with the options that come before its command. Its temporary files are in `temporary`.
    fn command(&self, temporary: Option<&Path>) -> Command {
        let mut command = command::program(SKOPEO);
        skopeo::prepare(&mut command);
        if let Some(temporary) = temporary {
            // What the one does not apply to, in some version, the other one does.
            command.env("TMPDIR", temporary).arg("--tmpdir").arg(temporary);
        }
        // Its configuration is found by the same directory whether this was started by hand or by a unit.
        if let Some(home) = skopeo::home() {
            command.env("HOME", home);
        }
        if let Some(policy) = &self.policy {
            command.arg("--policy").arg(policy);
        }
        // skopeo chooses among variants of this machine's architecture itself.
        if self.architecture() != host_architecture() {
            command.arg("--override-arch").arg(self.architecture());
        }
        command
    }

    /// `skopeo VERB`, with the options for reaching sources, whose names have this prefix.
    pub fn verb(&self, verb: &str, prefix: &str, temporary: Option<&Path>) -> Command {
        let mut command = self.command(temporary);
        command.arg(verb);
        if let Some(authfile) = &self.authfile {
            command.arg(format!("--{prefix}authfile")).arg(authfile);
        }
        if let Some(verify) = self.tls_verify {
            command.arg(format!("--{prefix}tls-verify={verify}"));
        }
        command
    }

    /// The configuration of the image proxy, whose temporary files are in `temporary`, and the process that it will be.
    pub fn proxy(&self, temporary: Option<&Path>) -> io::Result<(ImageProxyConfig, Process)> {
        let mut config = ImageProxyConfig::default();
        config.authfile.clone_from(&self.authfile);
        config.insecure_skip_tls_verification = self.tls_verify.map(|verify| !verify);
        let mut command = self.command(temporary);
        let process = Process::started_by(&mut command)?;
        config.skopeo_cmd = Some(command);
        Ok((config, process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_of_a_tree_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access { root: Root::new(dir.path()), ..Access::default() };
        fs::create_dir_all(dir.path().join("usr/share/images")).unwrap();
        symlink("/usr/share/images", dir.path().join("images")).unwrap();
        symlink("/etc/shadow", dir.path().join("usr/share/images/out.tar")).unwrap();
        let place = |text: &str| access.place(&text.parse().unwrap()).map(|place| place.to_skopeo());
        let at = |prefix: &str, path: &str| format!("{prefix}:{}{path}", dir.path().display());
        for (text, expected) in [
            ("docker://r.io/x:1", "docker://r.io/x:1".to_owned()),
            ("oci-archive:/images/a.tar:1", at("oci-archive", "/usr/share/images/a.tar:1")),
            ("oci-archive:/images/out.tar", at("oci-archive", "/etc/shadow")),
            ("docker-archive:/../a/../b.tar:x", at("docker-archive", "/b.tar:x:latest")),
            ("oci:/images/layout", at("oci", "/usr/share/images/layout")),
            ("dir:/images/dir", at("dir", "/usr/share/images/dir")),
        ] {
            assert_eq!(place(text).unwrap(), expected);
        }
        for engine in ["docker-daemon:x:1", "containers-storage:x"] {
            let why = place(engine).unwrap_err().to_string();
            assert!(why.contains("it would be an image of this host, not of the tree"), "{why}");
            let reference: Reference = engine.parse().unwrap();
            assert_eq!(Access::default().place(&reference).unwrap(), reference);
        }
    }
}
