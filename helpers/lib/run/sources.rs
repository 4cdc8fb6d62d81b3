//! Bind sources that lie in others: what the payload writes to in the outer one must not lead a mount elsewhere.
//!
//! A payload can replace a directory on the way to the inner source by a symlink, and the next start would bind whatever
//! that leads to on the host. So before every start, the way is opened component by component; what is missing is made
//! there, and not by systemd-tmpfiles, which follows symlinks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::container::info::Info;
use crate::container::registration::Registration;
use crate::error::{Context, Error, Result};
use crate::oci::config::Normalised;
use crate::oci::nesting::nested_sources;
use crate::paths::{Root, TreePath};
use crate::system::directory::{self, Directory};

/// Mode of a source that is missing, as where systemd-tmpfiles makes it.
const MODE: u32 = 0o700;

/// The bind sources of a container that lie in others.
pub struct Sources {
    nested: BTreeMap<PathBuf, PathBuf>,
    /// Who is to own what is missing.
    owner: (u32, u32),
}

impl Sources {
    /// Finds them in the configuration of a deployment.
    pub fn of(root: &Root, registration: &Registration, config: &Normalised) -> Result<Sources> {
        let (uid, gid) = if config.has_user_namespace() { (0, 0) } else { config.user() };
        let id = |id: u64| u32::try_from(id).context(|| format!("cannot use {id} as the ID of a user"));
        let owner = (id(uid)?, id(gid)?);
        // Most containers have none, and need not read anything for that.
        let mut nested = nested_sources(config, Path::new("/"));
        if !nested.is_empty() {
            let info = Info::read(&root.join(&registration.path()))?;
            nested = nested_sources(config, Path::new(info.state_directory()));
        }
        Ok(Sources { nested, owner })
    }

    /// Makes those that are missing. Fails if one cannot be reached without following a symlink.
    pub fn make(&self, root: &Root) -> Result<()> {
        for (source, outer) in &self.nested {
            self.make_one(root, source, outer).context(|| {
                format!(
                    "cannot bind {}, which is in {}, where its payload can put anything",
                    source.display(),
                    outer.display()
                )
            })?;
        }
        Ok(())
    }

    fn make_one(&self, root: &Root, source: &Path, outer: &Path) -> Result<()> {
        let path = root.join(&TreePath::new(outer));
        // A missing one is reported by the runtime.
        let Ok(mut directory) = Directory::open(&path) else { return Ok(()) };
        let below = source.strip_prefix(outer).unwrap_or(source);
        for name in below.parent().into_iter().flat_map(Path::iter) {
            directory = match directory.enter(name)? {
                Some(child) => child,
                None => self.make_directory(&directory, name)?,
            };
        }
        let Some(name) = below.file_name() else { return Ok(()) };
        let stat = directory.stat_of(name).context(|| "cannot look at it".into())?;
        match stat.as_ref().map(directory::kind_name) {
            None => self.make_directory(&directory, name).map(|_| ()),
            Some("a symlink") => Err(Error::new("it is a symlink; remove it")),
            Some(_) => Ok(()),
        }
    }

    fn make_directory(&self, parent: &Directory, name: &std::ffi::OsStr) -> Result<Directory> {
        let what = || format!("cannot create {}", parent.path_of(name).display());
        let made = parent.make_child(name, MODE).context(what)?;
        made.set_owner(self.owner.0, self.owner.1, MODE).context(what)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn make(root: &Root, sources: &[&str]) -> Result<()> {
        let nested =
            sources.iter().map(|source| (PathBuf::from(source), PathBuf::from("/var/lib/x"))).collect();
        let own = fs::metadata(root.path()).unwrap();
        Sources { nested, owner: (own.uid(), own.gid()) }.make(root)
    }

    #[test]
    fn missing_ones_are_made_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("root"));
        let outer = root.join("/var/lib/x");
        fs::create_dir_all(&outer).unwrap();
        make(&root, &["/var/lib/x/a/b", "/var/lib/x/a"]).unwrap();
        assert_eq!(fs::metadata(outer.join("a/b")).unwrap().mode() & 0o777, MODE);
        fs::write(outer.join("file"), "").unwrap();
        make(&root, &["/var/lib/x/file"]).unwrap();
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        symlink(&victim, outer.join("link")).unwrap();
        for source in ["/var/lib/x/link", "/var/lib/x/link/new", "/var/lib/x/link/new/deep"] {
            let error = make(&root, &[source]).unwrap_err().to_string();
            let expected =
                format!("cannot bind {source}, which is in /var/lib/x, where its payload can put anything: ");
            assert!(error.starts_with(&expected) && error.contains("it is a symlink"), "{error}");
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    }
}
