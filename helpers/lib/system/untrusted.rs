//! Paths of the host that lead through directories that a payload writes to.
//!
//! What such a directory contains may be a symlink to anything by the time that it is looked at. So from there on,
//! nothing follows one. The directories are known by what they are, since there may be more than one path to each:
//! through links of the host, and through its bind mounts.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::paths::{Root, TreePath};
use crate::system::directory::{Directory, Links};
use crate::system::{files, mounts};

/// Directories that payloads write to.
#[derive(Debug, Default)]
pub struct Untrusted {
    /// Device and inode of those that exist.
    identities: BTreeSet<(u64, u64)>,
    /// The paths that they were given by.
    paths: BTreeSet<PathBuf>,
}

/// A file of the host, as it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its path, without symlinks of the host.
    pub path: TreePath,
    /// The outermost directory on the way that a payload writes to. What is in it may be a symlink.
    pub outer: Option<TreePath>,
}

impl Untrusted {
    /// These directories, whether they exist or not.
    pub fn new(root: &Root, directories: impl IntoIterator<Item = PathBuf>) -> Untrusted {
        let paths: BTreeSet<_> = directories.into_iter().collect();
        let identities =
            paths.iter().filter_map(|path| mounts::identity(&root.join(&TreePath::new(path)))).collect();
        Untrusted { identities, paths }
    }

    /// Where a path leads; in the directories that payloads write to, no symlink is followed.
    pub fn find(&self, root: &Root, path: &Path) -> Result<Way> {
        let is_known = |path: &Path| {
            let identity = mounts::identity(&root.join(&TreePath::new(path)));
            identity.is_some_and(|identity| self.identities.contains(&identity))
        };
        // Mostly there are none, and nothing is looked at.
        let is_untrusted =
            |path: &Path| !self.paths.is_empty() && (self.paths.contains(path) || is_known(path));
        let place = files::trace(root.path(), path, &|at| at.ancestors().any(is_untrusted))?.place;
        // The last one is the outermost.
        let outer = place.ancestors().skip(1).filter(|above| is_untrusted(above)).last().map(TreePath::new);
        Ok(Way { path: TreePath::new(place), outer })
    }
}

impl Way {
    /// Reads the file, if it is a regular one of at most `limit` bytes; `None` if it does not exist. Errors do not name it.
    pub fn read(&self, root: &Root, limit: usize) -> Result<Option<Vec<u8>>> {
        let Some(outer) = &self.outer else { return files::read_bounded(&root.join(&self.path), limit) };
        self.open_file(root, outer)?.map(|file| files::read_opened(file, limit)).transpose()
    }

    fn open_file(&self, root: &Root, outer: &TreePath) -> Result<Option<File>> {
        let below = self.path.as_path().strip_prefix(outer.as_path());
        let below = below.map_err(|_| Error::new("it is not where it was found"))?;
        let directory = Directory::open(&root.join(outer)).context(|| outer.to_string())?;
        let file = directory.file(below, Links::Refused);
        // Only the message depends on this.
        if !matches!(file, Ok(Some(_)))
            && below.ancestors().any(|part| root.join(outer).join(part).is_symlink())
        {
            return Err(Error::new(format!(
                "a symlink leads to it, and none is followed in {outer}, where a payload can put anything"
            )));
        }
        file.context(|| outer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["srv/app/sub", "secret", "var/home/app"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (link, target) in [
            ("srv/link", "/srv/app"),
            ("home", "var/home"),
            ("srv/app/out", "/secret"),
            ("srv/app/env", "/secret/env"),
        ] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        fs::write(dir.path().join("secret/env"), "TOKEN=1").unwrap();
        fs::write(dir.path().join("srv/app/sub/env"), "A=1").unwrap();
        let root = Root::new(dir.path());
        (dir, root)
    }

    #[test]
    fn links_of_the_host_are_followed_and_those_of_payloads_are_not() {
        let (_dir, root) = tree();
        let untrusted = Untrusted::new(&root, ["/srv/app".into(), "/home/app".into(), "/none".into()]);
        for (path, place, outer) in [
            ("/srv/app/sub", "/srv/app/sub", Some("/srv/app")),
            ("/srv/link/sub", "/srv/app/sub", Some("/srv/app")),
            ("/srv/link/out/x", "/srv/app/out/x", Some("/srv/app")),
            ("/srv/link", "/srv/app", None),
            ("/var/home/app/x", "/var/home/app/x", Some("/var/home/app")),
            ("/home/app/x", "/var/home/app/x", Some("/var/home/app")),
            ("/none/x", "/none/x", Some("/none")),
            ("/home", "/var/home", None),
        ] {
            let outer = outer.map(TreePath::from);
            assert_eq!(
                untrusted.find(&root, path.as_ref()).unwrap(),
                Way { path: place.into(), outer },
                "{path}"
            );
        }
        let all = Untrusted::default().find(&root, "/srv/app/out".as_ref()).unwrap();
        assert_eq!(all, Way { path: "/secret".into(), outer: None });
    }

    #[test]
    fn files_are_read_where_they_are() {
        let (_dir, root) = tree();
        let untrusted = Untrusted::new(&root, ["/srv/app".into()]);
        let read =
            |untrusted: &Untrusted, path: &str| untrusted.find(&root, path.as_ref()).unwrap().read(&root, 9);
        assert_eq!(read(&untrusted, "/srv/link/sub/env").unwrap().unwrap(), b"A=1");
        assert_eq!(read(&untrusted, "/srv/app/none").unwrap(), None);
        assert_eq!(read(&Untrusted::default(), "/srv/app/env").unwrap().unwrap(), b"TOKEN=1");
        for path in ["/srv/app/env", "/srv/link/out/env"] {
            let error = read(&untrusted, path).unwrap_err().to_string();
            assert!(error.contains("a symlink leads to it, and none is followed in /srv/app"), "{error}");
        }
    }
}
