//! Where an image comes from: recorded with the image in the store, and with every container that is made from it, so
//! that updates come from the same place.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an image comes from; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Provenance {
    /// Name of the transport, containers-transports(5).
    pub transport: String,
    /// The reference that it was pulled by, with an absolute path; it has no credentials.
    pub source: String,
    /// The architecture that was chosen, by its name in images.
    pub architecture: String,
    /// Which scope of the signature policy applied; `None` where that is not known.
    #[serde(default)]
    pub policy_scope: Option<String>,
}

impl Provenance {
    /// Whether images from there can take the place of those from `other`: the source and the architecture are the
    /// same. The policy is the host's, which may change.
    pub fn is_same(&self, other: &Provenance) -> bool {
        (&self.transport, &self.source, &self.architecture)
            == (&other.transport, &other.source, &other.architecture)
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.source, self.architecture)
    }
}

/// The architecture of this machine, by its name in images.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}
