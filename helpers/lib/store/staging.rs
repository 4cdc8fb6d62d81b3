//! Directories for what skopeo writes: copies of images, which it makes if the signature policy has requirements, which
//! `skopeo copy` enforces, or if layers at the source are not as the manifest names them; and its temporary files, such as
//! archives that it unpacks.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::access::Access;
use super::archive_file;
use super::failure::Reason;
use super::layout_archive;
use super::policy::SignaturePolicy;
use super::reference::Reference;
use super::skopeo::{self, Growth, Watch};
use super::space::Space;
use crate::error::{Context, Error, Result};
use crate::program::transports::Layers;
use crate::system::files;

/// Prefix of the names of directories with copies, by which a prune recognises them.
pub const PREFIX: &str = "syscontainers-";
/// Names in such a directory.
const COPY: &str = "image";
const TEMPORARY: &str = "tmp";
const POLICY: &str = "policy.json";
/// The policy for what is here.
const ACCEPT: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;

/// A directory for one source, which is removed when this is dropped. If a killed pull leaves one behind, a prune
/// removes it.
pub struct Staging {
    directory: TempDir,
    space: Space,
}

impl Staging {
    /// Makes a directory in `parent`, which is on the file system `space`.
    pub fn new(parent: &Path, space: Space) -> Result<Staging> {
        let directory = files::temporary_directory(parent, PREFIX)?;
        let staging = Staging { directory, space };
        files::make_directory(&staging.temporary(), 0o700)?;
        Ok(staging)
    }

    /// Where skopeo puts temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.directory.path().join(TEMPORARY)
    }

    /// The reference of the copy.
    pub fn reference(&self) -> Reference {
        Reference::directory(&self.directory.path().join(COPY))
    }

    /// What is written here, of which there may be `limit` bytes.
    pub fn growth<'a>(&'a self, limit: u64, tell: &'a dyn Fn(u64)) -> Growth<'a> {
        Growth { directory: self.directory.path(), limit, space: &self.space, tell }
    }

    /// Access to what is here, of an image that the policy was applied to: it may not allow copies.
    pub fn access(&self, access: &Access) -> Result<Access> {
        let path = self.directory.path().join(POLICY);
        files::replace_volatile(&path, ACCEPT.as_bytes(), 0o600)?;
        Ok(Access {
            policy: Some(path),
            patience: access.patience,
            arch: access.arch.clone(),
            ..Access::default()
        })
    }

    /// Unpacks a layout here, if the policy allows it, before any of its archive is read.
    pub fn unpack(
        &self,
        reference: &Reference,
        policy: &SignaturePolicy,
        tell: &dyn Fn(u64),
    ) -> Result<Reference> {
        let what = || format!("cannot read {}", reference.location());
        let path = Path::new(reference.location()).canonicalize().context(what)?;
        policy.check_unsigned(&reference.at(&path))?;
        let layout = self.directory.path().join(COPY);
        files::make_directory(&layout, 0o700)?;
        let content = archive_file::open_resolved(&path).context(what)?;
        layout_archive::unpack(content, &layout, &self.space, tell).context(what)?;
        Ok(reference.unpacked(&layout))
    }

    /// Copies an image here, if the policy allows it. There may be `limit` bytes of it; `tell` is called with how many
    /// there are, again and again.
    pub fn copy(
        &self,
        reference: &Reference,
        access: &Access,
        policy: &SignaturePolicy,
        limit: u64,
        tell: &dyn Fn(u64),
    ) -> Result<()> {
        let mut command = access.verb("copy", "src-", Some(&self.temporary()));
        command.args(["--quiet", "--remove-signatures"]);
        match reference.transport().layers {
            Layers::Original => {
                command.arg("--preserve-digests");
            }
            Layers::Unpacked => {}
        }
        command.arg(reference.to_skopeo());
        command.arg(self.reference().to_skopeo());
        let what = || format!("cannot copy {}", reference.to_skopeo());
        let watch = Watch::new(access.patience, Some(self.growth(limit, tell)));
        match skopeo::output(&mut command, watch) {
            Ok(_) => Ok(()),
            Err(failure) if failure.reason() == Reason::Rejected => {
                let (rule, path) = (policy.rule(reference), policy.path().display());
                Err(Error::new(format!("{failure}; the rule is {rule} in {path}"))).context(what)
            }
            Err(failure) => Err(failure).context(what),
        }
    }
}
