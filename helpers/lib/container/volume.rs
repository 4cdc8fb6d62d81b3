//! Volumes: directories of an image that its payload writes to and that outlive deployments.
//!
//! Each is a directory of its own on the host, `/var/lib/syscontainers/NAME/VOLUME`, and none is in another. Only root
//! can enter the directory of the container, nothing else is in it, and neither image nor user choose where it is.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::Name;
use crate::paths::{TreePath, VOLUMES};

/// Up to this length, a directory has the whole escaped path as its name.
const WHOLE: usize = 128;
/// Of a longer path, so much is in the name, and so many digits of a digest.
const BEGINNING: usize = 95;
const DIGITS: usize = 32;

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Path of the directory in the container, absolute and without `..`.
    pub destination: PathBuf,
    /// User and group ID of the owner, if the image has no such directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

impl Volume {
    /// The directory on the host.
    pub fn directory(&self, name: &Name) -> TreePath {
        home(name).join(self.file_name())
    }

    /// Name of the directory on the host: the path, escaped as in the name of a unit. Of a path that is too long for
    /// that it is the beginning, `~`, which is in no escaped path, and a digest of the whole.
    pub fn file_name(&self) -> String {
        let escaped = escape(&self.destination);
        if escaped.len() <= WHOLE {
            return escaped;
        }
        let digest = Digest::of(escaped.as_bytes());
        format!("{}~{}", &escaped[..BEGINNING], &digest.hex()[..DIGITS])
    }
}

/// The directory of all volumes of a container.
pub fn home(name: &Name) -> TreePath {
    TreePath::from(VOLUMES).join(name.as_str())
}

/// As `systemd-escape --path` does it. The result is ASCII, has no slash, and does not begin with a dot.
fn escape(path: &Path) -> String {
    let below: PathBuf = path.components().filter(|part| part.as_os_str() != "/").collect();
    let mut escaped = String::new();
    for byte in below.as_os_str().as_bytes() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if escaped.is_empty() => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => escaped.push(char::from(*byte)),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn file_name(destination: &str) -> String {
        Volume { destination: destination.into(), owner: None }.file_name()
    }

    #[test]
    fn directories_are_named_as_units() {
        for (destination, expected) in [
            ("/data", "data"),
            ("/var/lib/x/", "var-lib-x"),
            ("/a-b//c", "a\\x2db-c"),
            ("/.hidden/.new", "\\x2ehidden-.new"),
            ("/ä %~", "\\xc3\\xa4\\x20\\x25\\x7e"),
        ] {
            assert_eq!(file_name(destination), expected);
        }
        let name = "web".parse().unwrap();
        let volume = Volume { destination: "/var/log".into(), owner: None };
        assert_eq!(volume.directory(&name), TreePath::new("/var/lib/syscontainers/web/var-log"));
    }

    #[test]
    fn no_two_volumes_have_one_directory_or_a_temporary_name() {
        let long = format!("/{}", "a/".repeat(500));
        let destinations = [
            "/a/b".to_owned(),
            "/a-b".into(),
            "/a\\x2db".into(),
            "/.a".into(),
            "/-a".into(),
            "/\\x2ea".into(),
            long.clone(),
            format!("{long}b"),
            // What would have the name of the long one, if the name were made of nothing but its parts.
            format!("/{}", file_name(&long).replace('-', "/")),
        ];
        let names: BTreeSet<String> = destinations.iter().map(|destination| file_name(destination)).collect();
        assert_eq!(names.len(), destinations.len());
        assert!(
            names.iter().all(|name| name.len() <= WHOLE && !name.starts_with('.') && !name.contains('/'))
        );
    }
}
