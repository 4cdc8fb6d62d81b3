//! The user of a unit's commands, where a drop-in of the administrator sets one. Runtimes need root, and nothing but root
//! enters a deployment; systemd would say no more than `status=200/CHDIR` or the like.

use crate::container::registration::Registration;
use crate::container::units;
use crate::error::{Error, Result};
use crate::paths::Root;
use crate::system::systemd::host::Systemd;
use crate::system::systemd::manager::show_one;

/// Refuses a unit whose start command would not run as root.
pub fn check(registration: &Registration) -> Result<()> {
    let of_environment = std::env::var("USER").unwrap_or_default();
    // systemd sets it where there is a User=, also for the commands that it runs as root all the same.
    if is_root(&of_environment) || units::has_other_users(registration) {
        return Ok(());
    }
    let unit = registration.name.unit();
    // But the unit may set it, too.
    judge(&unit, &show_one(&Systemd::new(&Root::default()), &unit)?.user)
}

fn judge(unit: &str, user: &str) -> Result<()> {
    if is_root(user) {
        return Ok(());
    }
    Err(Error::new(format!(
        "a drop-in of {unit} has User={user} or DynamicUser=, but an OCI runtime needs root; remove that line with 'systemctl edit {unit}'; the payload's user is in the image"
    )))
}

fn is_root(user: &str) -> bool {
    matches!(user, "" | "root" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_starts_containers() {
        for user in ["", "root", "0"] {
            judge("web.service", user).unwrap();
        }
        let error = judge("web.service", "www").unwrap_err().to_string();
        assert!(error.starts_with("a drop-in of web.service has User=www or DynamicUser=, but"), "{error}");
    }
}
