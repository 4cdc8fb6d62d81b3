//! Copies of images that skopeo made, for where it has to enforce a signature policy before anything of them is taken.

use std::path::Path;

use tempfile::TempDir;

use super::access::Access;
use super::policy::Policy;
use super::reference::{Reference, Transport};
use super::transport::message;
use crate::error::{Context, Error, Result};
use crate::system::files;

/// What the names of directories with copies begin with.
pub const PREFIX: &str = "syscontainers-";

/// A directory with one image, removed when it is dropped. What a killed pull leaves, a prune removes.
pub struct Staging {
    directory: TempDir,
}

impl Staging {
    /// Copies an image to below `temporary`, if the policy lets it through.
    pub fn copy(
        reference: &Reference,
        access: &Access,
        policy: &Policy,
        temporary: &Path,
    ) -> Result<Staging> {
        let staging = Staging { directory: files::temporary_directory(temporary, PREFIX)? };
        let mut command = access.verb("copy", "src-");
        command.args(["--quiet", "--remove-signatures"]);
        if reference.transport() != Transport::Storage {
            command.arg("--preserve-digests");
        }
        command.arg(reference.to_skopeo());
        command.arg(staging.reference().to_skopeo());
        let what = || format!("cannot copy {}", reference.to_skopeo());
        let output = command.output().context(what)?;
        if output.status.success() {
            return Ok(staging);
        }
        let said = message(&String::from_utf8_lossy(&output.stderr));
        if said.to_lowercase().contains("source image rejected") {
            let (rule, path) = (policy.rule(reference), policy.path().display());
            return Err(Error::new(format!("{said}; the rule is {rule} in {path}"))).context(what);
        }
        Err(Error::new(said)).context(what)
    }

    /// The copy.
    pub fn reference(&self) -> Reference {
        Reference::directory(self.directory.path())
    }
}
