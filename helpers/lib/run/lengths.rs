//! How long the name of a container may be, so that its payload can be started.

use crate::container::readiness::Notify;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::oci::config::Normalised;
use crate::paths::{self, NOTIFY, TreePath};
use crate::run::bundle;

/// Maximum length in bytes of a host name, see sethostname(2).
const HOST_NAME: usize = 64;
/// Maximum length in bytes of the path of a socket, see unix(7).
const SOCKET: usize = 107;

/// Refuses a name that is too long for what the payload of this configuration gets by it.
pub fn check(name: &Name, config: &Normalised, notify: Notify) -> Result<()> {
    // The other one has no part of the name.
    let socket = match bundle::sees_host_run(config) {
        true => TreePath::from(NOTIFY),
        false => paths::bundle(name).join(bundle::SOCKET),
    };
    let host_name = config.host_name().unwrap_or_default();
    let lengths = [
        ("host name", host_name.len(), HOST_NAME),
        ("notification socket's path", socket.as_path().as_os_str().len(), SOCKET),
    ];
    // Only then there is a socket of its own.
    let used = if notify == Notify::Ready { 2 } else { 1 };
    let too_long = lengths.iter().take(used).find(|(_, length, limit)| length > limit);
    too_long.map_or(Ok(()), |(what, length, limit)| {
        Err(Error::new(format!(
            "its {what} would have {length} bytes, and Linux allows {limit}; choose a shorter name with --name=NAME"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::json;

    #[test]
    fn host_names_and_paths_of_sockets_are_limited() {
        let check = |length: usize, has_host_name: bool, notify| {
            let name: Name = "n".repeat(length).parse().unwrap();
            let config = if has_host_name { json!({"hostname": name}) } else { json!({}) };
            check(&name, &Config::new(config).normalised(), notify).map_err(|e| e.to_string())
        };
        check(64, true, Notify::Ready).unwrap();
        assert!(check(65, true, Notify::Created).unwrap_err().contains("host name would have 65 bytes"));
        check(81, false, Notify::Ready).unwrap();
        assert!(check(82, false, Notify::Ready).unwrap_err().contains("path would have 108 bytes"));
        check(200, false, Notify::Created).unwrap();
    }
}
