//! Where the store is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::paths::{self, Root};

/// The host's own repository, on systems that are made of one.
const HOST: &str = "/ostree/repo";
/// Ours, below the directory of deployments.
const OWN: &str = ".storage/ostree";

/// The repository to use: as said, else ours where there is one, else the host's where its files can be linked into
/// deployments, else ours.
pub fn find(root: &Root, repo: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = repo {
        return Ok(path.to_path_buf());
    }
    if let Some(path) = paths::from_env("ATOMIC_OSTREE_REPO") {
        return Ok(root.join(path));
    }
    let deployments = root.join(paths::deployments());
    let own = deployments.join(OWN);
    let host = root.join(HOST);
    let use_host =
        !own.join("config").exists() && host.join("config").exists() && links_into(&host, &deployments);
    Ok(if use_host { host } else { own })
}

/// Whether a file of `repo` can be a file of `deployments`: tried, since mounts and file systems of all kinds differ.
fn links_into(repo: &Path, deployments: &Path) -> bool {
    let name = format!(".syscontainers-probe-{}", std::process::id());
    let (from, to) = (repo.join("tmp").join(&name), deployments.join(&name));
    let linked = fs::create_dir_all(deployments).is_ok()
        && File::create_new(&from).is_ok()
        && fs::hard_link(&from, &to).is_ok();
    for path in [from, to] {
        // It may not be there.
        let _ = fs::remove_file(path);
    }
    linked
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
