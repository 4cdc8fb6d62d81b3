//! Files of the host that a container has in place of its image's passwd(5) and group(5).

use std::path::Path;

use crate::container::keys::mounts::UserMountKind;
use crate::container::settings::Settings;
use crate::error::{Context, Result};
use crate::paths::{Root, TreePath};
use crate::system::untrusted::Untrusted;

/// Size in bytes of such a file.
const LIMIT: usize = 16 << 20;

/// The content of the file of the host that is mounted at `place`, or is there in a directory that is mounted above it; `None`
/// if the image's is seen.
pub fn of_host(root: &Root, settings: &Settings, place: &Path) -> Result<Option<String>> {
    let mounts = settings.mounts();
    let at = |place: &Path| {
        mounts.iter().filter(|mount| mount.destination == place).find_map(|mount| match &mount.kind {
            UserMountKind::Bind(source) => Some(source.clone()),
            UserMountKind::Tmpfs | UserMountKind::Volume => None,
        })
    };
    let (above, name) = (place.parent().unwrap_or(place), place.file_name().unwrap_or_default());
    // What else may be wrong with a mount is for others to say.
    let below = at(above).filter(|source| root.join(&TreePath::new(source)).is_dir());
    let Some(path) = at(place).or_else(|| below.map(|source| source.join(name))) else { return Ok(None) };
    let found = Untrusted::default().find(root, &path).and_then(|way| way.read(root, LIMIT));
    let content = found.context(|| format!("cannot look for users in {}", path.display()))?;
    Ok(Some(String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_mounted_there_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(dir.path().join("srv/etc/group")).unwrap();
        fs::write(dir.path().join("srv/passwd"), "alone").unwrap();
        fs::write(dir.path().join("srv/etc/passwd"), "in etc").unwrap();
        let seen = |texts: &[&str], place: &str| of_host(&root, &Settings::of(texts), place.as_ref());
        for (texts, expected) in [
            (["Volume=/srv/passwd:/etc/passwd:ro", "Volume=/srv/etc:/etc"].as_slice(), Some("alone")),
            (&["Mount=type=bind,src=/srv/etc,dst=/etc"], Some("in etc")),
            (&["Volume=/srv:/etc/passwd.d", "Tmpfs=/etc", "Volume=/etc"], None),
            (&["Volume=/srv/passwd:/etc"], None),
            // There is none then.
            (&["Volume=/none:/etc/passwd"], Some("")),
        ] {
            assert_eq!(seen(texts, "/etc/passwd").unwrap().as_deref(), expected, "{texts:?}");
        }
        let refused = seen(&["Volume=/srv/etc:/etc"], "/etc/group").unwrap_err().to_string();
        assert!(refused.starts_with("cannot look for users in /srv/etc/group: "), "{refused}");
    }
}
