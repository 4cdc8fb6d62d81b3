//! What is expected of one mount, as its configuration says it.

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::oci;
use crate::paths::VOLUMES;
use crate::run::sources::{self, Source};
use crate::system::directory::{self, Directory};
use crate::system::mounts::{self, Mount, Restrictions};

/// How a table of mounts marks a root that was removed since.
const DELETED: &str = "//deleted";

/// One mount; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expectation {
    /// Where it is.
    pub place: PathBuf,
    /// Type of the file system, or `bind`.
    pub kind: String,
    /// What is bound, on the host.
    pub source: Option<PathBuf>,
    /// What cannot be done through it.
    #[serde(flatten)]
    pub restrictions: Restrictions,
    /// Whether mounts in it appear nowhere else, nor the other way round.
    pub private: bool,
}

impl Expectation {
    /// What a configuration says of a mount; `nested` are the sources that it names by their numbers.
    pub fn of(mount: oci::mount::Mount<'_>, nested: &[Source]) -> Option<Expectation> {
        let kind = if mount.is_bind() { "bind" } else { mount.kind().unwrap_or("bind") };
        Some(Expectation {
            place: mount.destination()?,
            kind: kind.into(),
            source: mount.source().map(|source| sources::original(source, nested)),
            restrictions: Restrictions::of(mount.options()),
            private: mount.options().any(|option| option == "private" || option == "rprivate"),
        })
    }

    /// What it is called in messages.
    pub fn shown(&self) -> &str {
        if self.source.as_ref().is_some_and(|source| source.starts_with(VOLUMES)) {
            "volume"
        } else {
            &self.kind
        }
    }

    pub fn is_bind(&self) -> bool {
        self.kind == "bind"
    }

    /// Whether these are cgroups that the payload may change.
    pub fn is_writable_cgroup(&self) -> bool {
        self.kind == "cgroup" && !self.restrictions.ro
    }

    /// Whether that is what a mount of this type is.
    pub fn is_of(&self, kind: &str) -> bool {
        match self.kind.as_str() {
            "cgroup" | "cgroup2" => matches!(kind, "cgroup" | "cgroup2" | "tmpfs"),
            expected => expected == kind,
        }
    }

    /// The option that it should have, and has not.
    pub fn fault(&self, mount: &Mount) -> Option<&'static str> {
        // Of version 1, the directory that the hierarchies are in is not a cgroup, and these are mounted in it.
        let is_directory = self.kind == "cgroup" && mount.kind == "tmpfs";
        let restrictions = Restrictions { ro: self.restrictions.ro && !is_directory, ..self.restrictions };
        let fault = mount.restrictions.lacks(restrictions);
        fault.or_else(|| (self.private && mount.is_propagated).then_some("private"))
    }

    /// What is bound, as it is now; `None` if nothing is, or if it is gone.
    pub fn original<'a>(&self, host: &'a [Mount]) -> Option<Original<'a>> {
        let path = self.source.as_ref()?.canonicalize().ok()?;
        let mount = mounts::mount_of(host, &path)?;
        let root = mount.root.join(path.strip_prefix(&mount.point).ok()?);
        Some(Original { path, mount, root })
    }
}

/// A directory or file of the host that is bound.
pub struct Original<'a> {
    /// Its path, without symlinks.
    pub path: PathBuf,
    /// The mount that it is on.
    mount: &'a Mount,
    /// Its path in the file system.
    root: PathBuf,
}

impl Original<'_> {
    /// Whether that is what a mount shows.
    pub fn is_bound_by(&self, mount: &Mount) -> bool {
        let root = mount.root.to_str().and_then(|root| root.strip_suffix(DELETED));
        let is_same_root = mount.root == self.root || root.is_some_and(|root| Path::new(root) == self.root);
        is_same_root && (&mount.device, &mount.kind) == (&self.mount.device, &self.mount.kind)
    }

    /// What is known of it, if it is a directory. A file may have been replaced since.
    pub fn directory(&self) -> std::io::Result<Option<Stat>> {
        if !self.path.is_dir() {
            return Ok(None);
        }
        let stat = Directory::open(&self.path)?.stat()?;
        Ok((directory::kind(&stat) == FileType::Directory).then_some(stat))
    }
}
