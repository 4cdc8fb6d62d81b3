//! Where the store is, and who else can enter it.
//!
//! The store is always a repository of our own, which only root enters: files in it have the owners and modes that they
//! have in containers. The host's own repository is open to everybody, so images never live in it.

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::paths::{self, Root, STORAGE, TreePath};
use crate::system::{files, mounts, privacy, tree};

/// The host's own repository, on OSTree systems.
const HOST: &str = "/ostree/repo";
/// Our own repository, below the directory of deployments.
const OWN: &str = "ostree";

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The directory of the repository, as this process sees it.
    pub path: PathBuf,
    /// Our own directories above it and it itself, outermost first; none if the user named the store.
    own: Vec<PathBuf>,
    /// The host's own repository, whether it exists or not.
    pub host: PathBuf,
}

impl Location {
    /// The repository that was named, or else our own.
    pub fn find(root: &Root, repo: Option<&Path>) -> Result<Location> {
        let host = files::resolve_inside(root.path(), Path::new(HOST))?;
        let host = root.join(&TreePath::new(host));
        let named = repo.map(Path::to_path_buf).or_else(|| paths::from_env("ATOMIC_OSTREE_REPO"));
        if let Some(path) = named {
            return Ok(Location { path, own: Vec::new(), host });
        }
        let own = paths::deployments().join(STORAGE).join(OWN);
        let what = || format!("cannot use the image store {}", root.join(&own).display());
        // What a tree has there must not be something of this host, which would be closed, and pruned.
        tree::check_path(root, &own).context(what)?;
        let deployments = root.join(&paths::deployments());
        let storage = deployments.join(STORAGE);
        let path = storage.join(OWN);
        // Someone who chooses a directory for deployments may have chosen one that has other things in it.
        let ours = paths::has_default_deployments().then_some(deployments);
        let own = ours.into_iter().chain([storage, path.clone()]).collect();
        Ok(Location { path, own, host })
    }

    /// Creates the directory of the repository.
    pub fn create(&self) -> Result<()> {
        self.own.iter().try_for_each(|directory| privacy::make(directory))?;
        // One that the user named and that exists is the user's to close.
        if self.path.exists() { Ok(()) } else { privacy::make(&self.path) }
    }

    /// Closes a store of ours to other users; refuses another one that they can enter, or replace, and the host's own
    /// repository.
    pub fn secure(&self) -> Result<()> {
        let what = || format!("cannot use the image store {}", self.path.display());
        if mounts::is_same(&self.path, &self.host) {
            let why = "it is the host's own repository, which every user can enter; leave out --repo and ATOMIC_OSTREE_REPO, and what it has is shared with a store of our own";
            return Err(Error::new(why)).context(what);
        }
        if self.own.is_empty() {
            return privacy::check(&self.path).context(what);
        }
        self.own.iter().try_for_each(|directory| privacy::close(directory)).context(what)?;
        privacy::check_parents(&self.path).context(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn the_store_is_our_own_whatever_the_host_has() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let host = dir.path().join("sysroot/ostree/repo");
        fs::create_dir_all(&host).unwrap();
        fs::write(host.join("config"), "").unwrap();
        std::os::unix::fs::symlink("/sysroot/ostree", dir.path().join("ostree")).unwrap();
        let found = Location::find(&root, None).unwrap();
        assert_eq!(found.path, dir.path().join("var/lib/containers/atomic/.storage/ostree"));
        assert_eq!(found.host, host);
        assert_eq!(Location::find(&root, Some(Path::new("/x"))).unwrap().path, Path::new("/x"));
    }

    #[test]
    fn the_store_of_a_tree_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("tree"));
        let (outside, deployments) = (dir.path().join("outside"), root.join(&paths::deployments()));
        fs::create_dir_all(outside.join("ostree")).unwrap();
        fs::create_dir_all(&deployments).unwrap();
        fs::set_permissions(&outside, PermissionsExt::from_mode(0o755)).unwrap();
        for (link, target) in [(".storage", &outside), (".storage/ostree", &outside.join("ostree"))] {
            let link = deployments.join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, &link).unwrap();
            let why = Location::find(&root, None).unwrap_err().to_string();
            assert!(why.contains("is a symlink that leads out of it from here"), "{why}");
            fs::remove_file(&link).unwrap();
        }
        assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o777, 0o755);
        // In the tree, it may be where there is more space.
        let link = deployments.join(".storage");
        fs::remove_dir(&link).unwrap();
        fs::create_dir_all(root.join("/srv/storage")).unwrap();
        std::os::unix::fs::symlink("../../../../srv/storage", &link).unwrap();
        Location::find(&root, None).unwrap().create().unwrap();
        assert!(root.join("/srv/storage/ostree").is_dir());
    }

    #[test]
    fn ours_is_closed_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let own = Location::find(&root, None).unwrap();
        for open in [0o755, 0o711, 0o777] {
            own.create().unwrap();
            let above = own.path.ancestors().take(3);
            above
                .clone()
                .for_each(|path| fs::set_permissions(path, PermissionsExt::from_mode(open)).unwrap());
            own.secure().unwrap();
            assert_eq!(above.map(mode).collect::<Vec<_>>(), [0o700; 3], "{open:o}");
        }
        let named = Location::find(&root, Some(&dir.path().join("named"))).unwrap();
        named.create().unwrap();
        named.secure().unwrap();
        fs::set_permissions(&named.path, PermissionsExt::from_mode(0o755)).unwrap();
        let why = named.secure().unwrap_err().to_string();
        assert!(why.contains("named: other users may enter it (mode 0755)"), "{why}");
        assert_eq!(mode(&named.path), 0o755);
        // Even where nobody else can enter it now.
        fs::create_dir_all(dir.path().join("ostree/repo")).unwrap();
        fs::set_permissions(dir.path().join("ostree/repo"), PermissionsExt::from_mode(0o700)).unwrap();
        let host = Location::find(&root, Some(&dir.path().join("ostree/repo"))).unwrap();
        assert!(host.secure().unwrap_err().to_string().contains("it is the host's own repository"));
    }
}
