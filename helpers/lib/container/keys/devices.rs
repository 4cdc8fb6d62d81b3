//! `AddDevice=`: devices of the host that a payload gets.

use std::path::{Path, PathBuf};

use crate::container::keys::mounts;
use crate::error::{Error, Result};

/// Where devices are, on the host and in a container.
const DEV: &str = "/dev";

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDevice {
    /// Its path on the host, or that of a directory with devices in it.
    pub host: PathBuf,
    /// Its path in the container.
    pub container: PathBuf,
    /// What the payload may do: letters of `rwm`.
    pub access: String,
    /// Whether the container starts without it where the host does not have it.
    pub optional: bool,
}

/// Parses `[-]HOST-DEVICE[:CONTAINER-DEVICE][:PERMISSIONS]`.
pub fn device(text: &str) -> Result<UserDevice> {
    let (optional, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, second] if second.starts_with('/') => (host, second, "rwm"),
        [host, access] => (host, host, access),
        [host, container, access] => (host, container, access),
        _ => return Err(Error::new("expected HOST-DEVICE[:CONTAINER-DEVICE][:PERMISSIONS]")),
    };
    let is_access = |c: char| matches!(c, 'r' | 'w' | 'm');
    let is_once = |c: char| access.matches(c).count() == 1;
    if access.is_empty() || !access.chars().all(|c| is_access(c) && is_once(c)) {
        return Err(Error::new(format!("invalid permissions {access:?}: expected letters of rwm")));
    }
    if !host.starts_with('/') {
        return Err(Error::new(format!("{host:?} is not an absolute path")));
    }
    let (host, container) = (mounts::path(host)?, mounts::path(container)?);
    for path in [&host, &container] {
        if !path.starts_with(DEV) || path == Path::new(DEV) {
            return Err(Error::new(format!("{} is not in {DEV}, where devices are", path.display())));
        }
    }
    if let Some(own) = mounts::own_device(&container) {
        return Err(Error::new(format!("every container has {DEV}/{own} of its own")));
    }
    Ok(UserDevice { host, container, access: access.to_owned(), optional })
}

/// [`crate::container::settings::Key::check`] of devices.
pub fn check_device(text: &str) -> Result<()> {
    device(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_those_of_podman() {
        let make = |host: &str, container: &str, access: &str, optional| UserDevice {
            host: host.into(),
            container: container.into(),
            access: access.into(),
            optional,
        };
        for (text, expected) in [
            ("/dev/fuse", make("/dev/fuse", "/dev/fuse", "rwm", false)),
            ("-/dev/dri", make("/dev/dri", "/dev/dri", "rwm", true)),
            ("/dev/sda:r", make("/dev/sda", "/dev/sda", "r", false)),
            ("/dev/sda:/dev/xvda", make("/dev/sda", "/dev/xvda", "rwm", false)),
            ("/dev/sda:/dev/x/../xvda:rw", make("", "", "", false)),
            ("/dev/disk/x:/dev/x//y:rw", make("/dev/disk/x", "/dev/x/y", "rw", false)),
        ] {
            match device(text) {
                Ok(found) => assert_eq!(found, expected),
                Err(error) => assert!(expected.access.is_empty(), "{text}: {error}"),
            }
        }
        for (bad, reason) in [
            ("fuse", "\"fuse\" is not an absolute path"),
            ("vendor.com/gpu=all", "\"vendor.com/gpu=all\" is not an absolute path"),
            ("/dev/a:x", "invalid permissions \"x\": expected letters of rwm"),
            ("/dev/a:rr", "invalid permissions \"rr\": expected letters of rwm"),
            ("/dev/a:", "invalid permissions \"\": expected letters of rwm"),
            ("/dev/a:/srv/a", "/srv/a is not in /dev, where devices are"),
            ("/dev/a:/dev", "/dev is not in /dev, where devices are"),
            ("/dev/sda:/dev/null", "every container has /dev/null of its own"),
            ("/dev/a:/dev/b:r:w", "expected HOST-DEVICE[:CONTAINER-DEVICE][:PERMISSIONS]"),
        ] {
            assert_eq!(device(bad).unwrap_err().to_string(), reason, "{bad}");
        }
    }
}
