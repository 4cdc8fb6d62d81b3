//! The place of the store, and how it is found.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::paths::{self, Root, STORAGE, TreePath};
use crate::system::files;

/// The host's own repository, on OSTree systems.
const HOST: &str = "/ostree/repo";
/// Our own repository, below the directory of deployments.
const OWN: &str = "ostree";
/// Prefix of the names of files that are linked to see whether that works.
const PROBE: &str = ".syscontainers-probe-";
/// Such files exist for moments only; older ones were left behind.
const PROBE_AGE: Duration = Duration::from_secs(86_400);

/// Returns the repository to use: the one that was chosen, else our own if it exists, else the host's if its files can be
/// linked into deployments, else our own.
pub fn find(root: &Root, repo: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = repo {
        return Ok(path.to_path_buf());
    }
    if let Some(path) = paths::from_env("ATOMIC_OSTREE_REPO") {
        return Ok(root.join(&TreePath::new(path)));
    }
    let deployments = root.join(&paths::deployments());
    let own = deployments.join(STORAGE).join(OWN);
    let host = root.join(HOST);
    let use_host =
        !own.join("config").exists() && host.join("config").exists() && links_into(&host, &deployments);
    Ok(if use_host { host } else { own })
}

/// Whether files of `repo` can be linked into `deployments`. It is tried, since that depends on mounts and file systems.
fn links_into(repo: &Path, deployments: &Path) -> bool {
    let name = format!("{PROBE}{}", std::process::id());
    let (from, to) = (repo.join("tmp").join(&name), deployments.join(&name));
    let linked = fs::create_dir_all(deployments)
        .and_then(|()| File::create_new(&from))
        .and_then(|_| fs::hard_link(&from, &to));
    for path in [from, to] {
        // It may not exist.
        let _ = fs::remove_file(path);
    }
    match linked {
        // A full store has to be found, so that it can be pruned.
        Err(e) if e.kind() == ErrorKind::StorageFull => is_on_one_device(repo, deployments),
        result => result.is_ok(),
    }
}

fn is_on_one_device(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    device(one).is_ok_and(|one| device(other).is_ok_and(|other| one == other))
}

/// Whether a file is such a probe, left behind by a program that was killed.
pub fn is_old_probe(path: &Path) -> bool {
    let is_probe = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PROBE));
    is_probe && files::is_older(path, PROBE_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_store_unless_the_hosts_can_be_linked() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let own = dir.path().join("var/lib/containers/atomic/.storage/ostree");
        assert_eq!(find(&root, None).unwrap(), own);
        let host = dir.path().join("ostree/repo");
        fs::create_dir_all(host.join("tmp")).unwrap();
        fs::write(host.join("config"), "").unwrap();
        assert_eq!(find(&root, None).unwrap(), host);
        assert_eq!(fs::read_dir(host.join("tmp")).unwrap().count(), 0);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("config"), "").unwrap();
        assert_eq!(find(&root, None).unwrap(), own);
        assert_eq!(find(&root, Some(Path::new("/x"))).unwrap(), Path::new("/x"));
    }
}
