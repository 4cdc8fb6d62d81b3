//! Bind mounts: those that an installation refuses, since what payloads write to must not be what others rely on; and the
//! sources that the host lacks.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::image::installation::Installation;
use crate::image::layout::Layout;
use crate::oci::config::Normalised;
use crate::oci::nesting::{self, nested_sources};
use crate::paths::{self, DEPLOYMENTS, PREINSTALLED, Root, TreePath, VOLUMES};
use crate::unit::escape::TmpfilesPlace;

/// Fails for a mount through which the payload would write to deployments or to the store, and for a PID file where the
/// payload can put a link, if there is to be one.
pub fn check(config: &Normalised, installation: &Installation, pid_file: Option<&str>) -> Result<()> {
    let found = nesting::writes_to(config.mounts(), &directories(installation));
    if let Some((_, source)) = found.first() {
        return Err(Error::new(format!(
            "the bind source {} is in a deployment or the image store, whose files containers share, and it is writable; {REMEDY}",
            source.display()
        )));
    }
    let above = pid_file.and_then(|path| nesting::writable_above(config, path.as_ref()));
    match (pid_file, above) {
        (Some(path), Some(above)) => Err(Error::new(format!(
            "PIDFILE is {path}, which is in {}, where the payload can put anything; set another one with --set PIDFILE=PATH",
            above.display()
        ))),
        _ => Ok(()),
    }
}

/// What to do about a bind source.
pub const REMEDY: &str = "make it read-only (the option \"ro\"), or use a directory below ${STATE_DIRECTORY}";

/// Directories of deployments and of the store.
pub fn directories(installation: &Installation) -> Vec<PathBuf> {
    let own = installation.link.parent().map(|path| path.as_path().to_path_buf());
    let fixed = [DEPLOYMENTS, PREINSTALLED].map(PathBuf::from);
    own.into_iter().chain(fixed).chain(paths::from_env("ATOMIC_OSTREE_REPO")).collect()
}

/// Returns tmpfiles for the bind sources that the host lacks, or may lack after a boot: directories that only the
/// payload's user can enter. A directory that exists keeps its mode and owner. What the image itself brings for the
/// host is left out, and so are volumes and what is in a directory that the payload writes to: systemd-tmpfiles follows
/// symlinks, so prepare makes these.
pub fn missing_sources(root: &Root, config: &Normalised, layout: &Layout) -> String {
    let (uid, gid) = if config.has_user_namespace() { (0, 0) } else { config.user() };
    let brought: HashSet<&Path> = layout.files().iter().map(|file| file.path.as_path()).collect();
    let nested = nested_sources(config);
    let is_wanted = |source: &PathBuf| {
        if source.starts_with(VOLUMES) || nested.contains_key(&nesting::plain(source)) {
            return false;
        }
        let there = root.join(&TreePath::new(source));
        !brought.contains(source.as_path()) && (!there.exists() || is_volatile(source) && there.is_dir())
    };
    let mounts = config.mounts().filter(|mount| mount.has_bind_type());
    let sources = mounts.filter_map(|mount| mount.bind_source()).map(|source| source.components().collect());
    let missing: BTreeSet<PathBuf> = sources.filter(is_wanted).collect();
    let (mut lines, mut place) = (String::new(), TmpfilesPlace::default());
    place.push("d ");
    for source in missing {
        // A path that cannot be written in tmpfiles cannot be created; the start of the container will report that.
        if let Ok(path) = place.value(&source.to_string_lossy()) {
            lines.push_str(&format!("d {path} :0700 :{uid} :{gid} - -\n"));
        }
    }
    lines
}

/// Returns whether a directory that exists now may be gone after the next boot.
fn is_volatile(path: &Path) -> bool {
    ["/run", "/var/run", "/tmp"].iter().any(|above| path.starts_with(above) && path != Path::new(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::{Value, json};

    fn normalised(config: Value) -> Normalised {
        Config::new(config).normalised()
    }

    #[test]
    fn missing_bind_sources_become_directories() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/there")).unwrap();
        std::fs::create_dir_all(dir.path().join("run/there")).unwrap();
        let config = normalised(json!({"process": {"user": {"uid": 7, "gid": 8}}, "mounts": [
            {"type": "bind", "source": "/etc/there", "destination": "/a"},
            {"type": "bind", "source": "/run/there", "destination": "/r"},
            {"type": "bind", "source": "/run", "destination": "/run"},
            {"type": "bind", "source": "/var/lib/x y%", "destination": "/b"},
            {"type": "bind", "source": "/var/lib/x y%", "destination": "/c"},
            {"type": "tmpfs", "source": "/none", "destination": "/d"},
            // A volume, and what is in a directory that the payload writes to.
            {"type": "bind", "source": "/var/lib/syscontainers/web/data", "destination": "/data"},
            {"type": "bind", "source": "/var/lib/x y%/in/it", "destination": "/e"},
        ]}));
        let lines = missing_sources(&Root::new(dir.path()), &config, &Layout::default());
        assert_eq!(lines, "d /run/there :0700 :7 :8 - -\nd /var/lib/x\" \"y%% :0700 :7 :8 - -\n");
        let none = normalised(json!({}));
        let lines = missing_sources(&Root::new(dir.path()), &none, &Layout::default());
        assert_eq!(lines, "");
    }
}
