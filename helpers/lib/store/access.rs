//! How sources are reached: the options that are passed on to skopeo, and the commands that it is run with.

use std::path::PathBuf;
use std::process::Command;

use containers_image_proxy::ImageProxyConfig;

use super::failure::{Failure, SKOPEO};
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

    /// `skopeo`, with the options that come before its command.
    fn command(&self) -> Command {
        let mut command = command::program(SKOPEO);
        end_with_parent(&mut command);
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
    pub fn verb(&self, verb: &str, prefix: &str) -> Command {
        let mut command = self.command();
        command.arg(verb);
        if let Some(authfile) = &self.authfile {
            command.arg(format!("--{prefix}authfile")).arg(authfile);
        }
        if let Some(verify) = self.tls_verify {
            command.arg(format!("--{prefix}tls-verify={verify}"));
        }
        command
    }

    /// The configuration of the image proxy.
    pub fn proxy(&self) -> ImageProxyConfig {
        let mut config = ImageProxyConfig::default();
        config.authfile.clone_from(&self.authfile);
        config.insecure_skip_tls_verification = self.tls_verify.map(|verify| !verify);
        config.skopeo_cmd = Some(self.command());
        config
    }
}

/// Runs skopeo until it ends, and returns what it printed.
pub fn output(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command::finish(command).map_err(Failure::not_started)?;
    if output.status.success() { Ok(output.stdout) } else { Err(Failure::from_stderr(&output.stderr)) }
}

/// Makes skopeo end along with this process, so that a killed pull leaves none behind.
fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let set = || nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM).map_err(Into::into);
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(set);
    }
}
