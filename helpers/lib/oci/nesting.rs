//! Bind sources that payloads write to: on the way to what is in these there may be anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::oci::config::Normalised;
use crate::oci::mount::Mount;

/// Directories of the host's programs, without what is in them. Who writes to one as a whole changes the host anyway, and
/// links in them, such as `/var/run`, are the host's.
pub const SYSTEM: [&str; 18] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/sysroot",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/lib/containers",
];

/// A path as it is compared with others: `/var/run` and `/var/lock` are links on every host.
pub fn plain(path: &Path) -> PathBuf {
    for (link, target) in [("/var/run", "/run"), ("/var/lock", "/run/lock")] {
        if let Ok(below) = path.strip_prefix(link) {
            return Path::new(target).join(below).components().collect();
        }
    }
    path.components().collect()
}

/// The directory of the host that is the payload's to write to as `path` is: the outermost bind source that `path` is at
/// or below and that is writable.
pub fn writable_above(config: &Normalised, path: &Path) -> Option<PathBuf> {
    let sources = sources(config);
    plain(path).ancestors().filter(|above| is_outer(&sources, above)).last().map(Path::to_path_buf)
}

/// Returns the bind sources that are writable, and in which the payload can put anything, but for directories of the host's
/// programs.
pub fn writable_sources(config: &Normalised) -> Vec<PathBuf> {
    let sources = sources(config);
    sources.keys().filter(|path| is_outer(&sources, path)).cloned().collect()
}

/// All bind sources, as they are compared.
pub fn bind_sources(config: &Normalised) -> impl Iterator<Item = PathBuf> {
    sources(config).into_keys()
}

/// Returns the bind sources that lie in another one that is writable, each with the outermost of those.
pub fn nested_sources(config: &Normalised) -> BTreeMap<PathBuf, PathBuf> {
    let sources = sources(config);
    let nested = sources.keys().filter_map(|source| {
        // The last one is the outermost.
        let outer = source.ancestors().skip(1).filter(|above| is_outer(&sources, above)).last()?;
        Some((source.clone(), outer.to_path_buf()))
    });
    nested.collect()
}

fn is_outer(sources: &BTreeMap<PathBuf, bool>, path: &Path) -> bool {
    sources.get(path) == Some(&false) && !SYSTEM.iter().any(|shared| path == Path::new(shared))
}

/// All bind sources, and whether each is read-only wherever it is mounted.
fn sources(config: &Normalised) -> BTreeMap<PathBuf, bool> {
    let mut all = BTreeMap::new();
    for mount in config.mounts() {
        if let Some(source) = mount.bind_source() {
            *all.entry(plain(source)).or_insert(true) &= mount.is_read_only();
        }
    }
    all
}

/// The mounts, by their index, through which a payload would write to deployments or to the store, and their sources.
/// `directories` are where these are. Relative sources are in the deployment.
pub fn writes_to<'a>(
    mounts: impl Iterator<Item = Mount<'a>>,
    directories: &[PathBuf],
) -> Vec<(usize, &'a Path)> {
    let is_in = |source: &Path| {
        !source.is_absolute() || directories.iter().any(|directory| plain(source).starts_with(directory))
    };
    let found = mounts.enumerate().filter(|(_, mount)| !mount.is_read_only());
    found.filter_map(|(index, mount)| Some((index, mount.source().filter(|source| is_in(source))?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::{Value, json};

    fn bind(source: &str, options: &[&str]) -> Value {
        json!({"type": "bind", "source": source, "destination": "/x", "options": options})
    }

    #[test]
    fn finds_sources_in_writable_ones() {
        let config = Config::new(json!({"mounts": [
            bind("/var/lib/x", &["rw"]), bind("/var/lib/x/a", &["ro"]), bind("/var/lib/x/a/b/", &[]),
            bind("/var/lib/y", &["rbind", "ro"]), bind("/var/lib/y/a", &[]), bind("/var/lib", &[]), bind("/var/lib/xy", &[]),
            bind("/run", &[]), bind("/run/log", &[]), {"type": "tmpfs", "source": "/var/lib/x/t", "destination": "/t"},
            bind("/media", &[]), bind("/media/a", &["ro"]), bind("/srv/app", &[]), bind("/srv/app/a/srv/victim", &[]), bind("/var/run/app", &[]), bind("/run/app/a/b", &[]),
        ]}))
        .normalised();
        let found: Vec<_> = nested_sources(&config).into_iter().collect();
        let pair = |source: &str, outer: &str| (PathBuf::from(source), PathBuf::from(outer));
        assert_eq!(
            found,
            [
                pair("/media/a", "/media"),
                pair("/run/app/a/b", "/run/app"),
                pair("/srv/app/a/srv/victim", "/srv/app"),
                pair("/var/lib/x/a", "/var/lib/x"),
                pair("/var/lib/x/a/b", "/var/lib/x"),
            ]
        );
        let above = |path: &str| writable_above(&config, Path::new(path));
        assert_eq!(above("/var/run/app/pid"), Some("/run/app".into()));
        assert_eq!([above("/run/x.pid"), above("/var/lib/y/pid"), above("/srv/pid")], [None, None, None]);
    }

    #[test]
    fn finds_what_writes_to_deployments() {
        let config = Config::new(json!({"mounts": [
            bind("rootfs/srv", &["bind", "rw"]), bind("rootfs/etc", &["bind", "ro"]), bind("/d/x/rootfs", &[]),
            bind("/d", &[]), bind("/", &[]), bind("/d2", &[]), bind("/d/.storage", &["ro", "rw"]),
            {"type": "tmpfs", "source": "tmpfs", "destination": "/t"},
        ]}));
        let found = writes_to(config.mounts(), &["/d".into()]);
        let indices: Vec<_> = found.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, [0, 2, 3, 6]);
        assert_eq!(found[0].1, Path::new("rootfs/srv"));
    }
}
