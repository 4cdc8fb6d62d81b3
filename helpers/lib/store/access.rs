//! How sources are reached: the options that are passed on to skopeo, and the commands that it is run with.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use containers_image_proxy::ImageProxyConfig;

use super::failure::SKOPEO;
use super::pace::Patience;
use super::skopeo::{self, Process};
use crate::program::options::{Completes, Opt};
use crate::provenance::host_architecture;
use crate::system::command;

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

    /// The architecture to choose from an image index.
    pub fn architecture(&self) -> &str {
        self.arch.as_deref().unwrap_or(host_architecture())
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
