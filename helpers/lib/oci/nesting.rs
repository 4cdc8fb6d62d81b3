//! Bind sources that lie in other ones, which payloads write to: on the way to these there may be anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::oci::config::Normalised;

/// Returns the bind sources below `state` that lie in another one that is writable, each with the outermost of those.
///
/// Where a payload writes to more than its own state, as with a source such as `/run`, it may change the host anyway.
pub fn nested_sources(config: &Normalised, state: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let sources = config.mounts().filter_map(|mount| {
        let source: PathBuf = mount.bind_source()?.components().collect();
        Some((source, mount.is_read_only()))
    });
    let sources: BTreeMap<PathBuf, bool> =
        sources.fold(BTreeMap::new(), |mut all, (source, is_read_only)| {
            *all.entry(source).or_insert(true) &= is_read_only;
            all
        });
    let is_outer =
        |path: &Path| path != state && path.starts_with(state) && sources.get(path) == Some(&false);
    let nested = sources.keys().filter_map(|source| {
        // The last one is the outermost.
        let outer = source.ancestors().skip(1).filter(|above| is_outer(above)).last()?;
        Some((source.clone(), outer.to_path_buf()))
    });
    nested.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::json;

    #[test]
    fn finds_sources_in_writable_ones() {
        let bind = |source: &str, options: &[&str]| json!({"type": "bind", "source": source, "destination": "/x", "options": options});
        let config = Config::new(json!({"mounts": [
            bind("/var/lib/x", &["rw"]), bind("/var/lib/x/a", &["ro"]), bind("/var/lib/x/a/b/", &[]),
            bind("/var/lib/y", &["rbind", "ro"]), bind("/var/lib/y/a", &[]), bind("/var/lib", &[]), bind("/var/lib/xy", &[]),
            bind("/run", &[]), bind("/run/log", &[]), {"type": "tmpfs", "source": "/var/lib/x/t", "destination": "/t"},
        ]}))
        .normalised();
        let found = nested_sources(&config, Path::new("/var/lib"));
        let outer = PathBuf::from("/var/lib/x");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("/var/lib/x/a".into(), outer.clone()), ("/var/lib/x/a/b".into(), outer)]
        );
    }
}
