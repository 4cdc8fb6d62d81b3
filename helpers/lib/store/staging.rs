//! Copies of images that skopeo makes: if the signature policy demands anything, since that is what `skopeo copy` enforces, or
//! if layers at the source are not as the manifest names them.

use std::path::Path;

use tempfile::TempDir;

use super::access::{self, Access};
use super::failure::Reason;
use super::policy::SignaturePolicy;
use super::reference::Reference;
use super::transports::Layers;
use crate::error::{Context, Error, Result};
use crate::system::files;

/// Prefix of the names of directories with copies, by which a prune knows them.
pub const PREFIX: &str = "syscontainers-";

/// A directory with one image, removed when it is dropped. What a killed pull leaves, a prune removes.
pub struct Staging {
    directory: TempDir,
}

impl Staging {
    /// Copies an image to a directory in `parent`, if the policy allows it.
    pub fn copy(
        reference: &Reference,
        access: &Access,
        policy: &SignaturePolicy,
        parent: &Path,
    ) -> Result<Staging> {
        let staging = Staging { directory: files::temporary_directory(parent, PREFIX)? };
        let mut command = access.verb("copy", "src-");
        command.args(["--quiet", "--remove-signatures"]);
        match reference.transport().layers {
            Layers::Original => {
                command.arg("--preserve-digests");
            }
            Layers::Unpacked => {}
        }
        command.arg(reference.to_skopeo());
        command.arg(staging.reference().to_skopeo());
        let what = || format!("cannot copy {}", reference.to_skopeo());
        match access::output(&mut command) {
            Ok(_) => Ok(staging),
            Err(failure) if failure.reason() == Reason::Rejected => {
                let (rule, path) = (policy.rule(reference), policy.path().display());
                Err(Error::new(format!("{failure}; the rule is {rule} in {path}"))).context(what)
            }
            Err(failure) => Err(failure).context(what),
        }
    }

    /// The reference of the copy.
    pub fn reference(&self) -> Reference {
        Reference::directory(self.directory.path())
    }
}
