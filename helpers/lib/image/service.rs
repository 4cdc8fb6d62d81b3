//! What the unit of an image may ask for that a container cannot have.

use std::fmt;

use crate::container::readiness::Notify;
use crate::error::{Error, Result};
use crate::image::exports::SERVICE_TEMPLATE;
use crate::paths;
use crate::unit::syntax::UnitFile;
use crate::unit::user;

/// A line of a unit that has no effect on the payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Unkept {
    /// Number of the line.
    pub line: usize,
    /// The setting.
    pub key: String,
    /// Why it has none, and what to do instead.
    pub why: String,
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SERVICE_TEMPLATE}:{}: {}", self.line, self.why)
    }
}

/// Where a unit that runs a payload waits for a daemon that forks; returns the number of the line.
pub fn forking(unit: &UnitFile) -> Option<usize> {
    let line = unit.lines("Service").filter(|(_, key, value)| *key == "Type" && !value.is_empty()).last();
    line.filter(|(_, _, value)| *value == "forking").map(|(line, _, _)| line)
}

/// Why [`forking`] is refused.
pub const FORKING: &str = "a container ends with its first process, so a program that forks and exits would take its daemon along; have it stay in the foreground, and write Type=simple, or Type=notify if it notifies";

/// Refuses a unit whose payload would end as soon as it has started.
pub fn check(unit: &UnitFile) -> Result<()> {
    match forking(unit) {
        Some(line) => Err(Error::new(format!("line {line}: Type=forking: {FORKING}"))),
        None => Ok(()),
    }
}

/// What a unit that runs a payload asks for and does not get.
pub fn unkept(unit: &UnitFile, notify: Notify) -> Vec<Unkept> {
    let is_useless = user::is_other(unit) && user::commands(unit).all(is_ours);
    let lines = unit.lines("Service").filter(|(_, key, value)| unit.last("Service", key) == Some(value));
    let unkept = lines.filter_map(|(line, key, value)| {
        let why = match key {
            "WatchdogSec" if notify != Notify::Socket && value != "0" => {
                format!("{key}= is not kept, since keep-alive messages cannot leave the PID namespace of the payload: nothing restarts it when it hangs; --notify=full gives it systemd's own socket")
            }
            "User" | "Group" | "DynamicUser" if is_useless => {
                format!("{key}= is for other commands of the unit, and there are none; the payload's user is process.user in config.json, or the User of the image")
            }
            _ => return None,
        };
        Some(Unkept { line, key: key.to_owned(), why })
    });
    unkept.collect()
}

/// Whether a command is one of those that run the payload.
fn is_ours(command: &str) -> bool {
    command.contains(&paths::helper("syscontainer-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(lines: &str) -> UnitFile {
        UnitFile::parse(&format!("[Service]\n{lines}\n")).unwrap()
    }

    #[test]
    fn payloads_that_fork_are_refused() {
        let error = check(&unit("Type=simple\nType=forking")).unwrap_err().to_string();
        assert!(
            error.starts_with("line 3: Type=forking: a container ends with its first process"),
            "{error}"
        );
        for good in ["Type=forking\nType=simple", "Type=notify", "Restart=no", "Type="] {
            check(&unit(good)).unwrap();
        }
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let keys = |lines: &str, notify| {
            let unkept = unkept(&unit(lines), notify);
            unkept.into_iter().map(|unkept| format!("{}:{}", unkept.line, unkept.key)).collect::<Vec<_>>()
        };
        assert_eq!(keys("Type=notify\nWatchdogSec=30", Notify::Ready), ["3:WatchdogSec"]);
        assert_eq!(keys("Type=notify\nWatchdogSec=30", Notify::Socket), [""; 0]);
        assert_eq!(keys("WatchdogSec=0\nUser=root", Notify::Created), [""; 0]);
        assert_eq!(keys("User=web\nGroup=web", Notify::Created), ["2:User", "3:Group"]);
        let start = format!("ExecStart={} web", paths::helper("syscontainer-start"));
        assert_eq!(keys(&format!("DynamicUser=yes\n{start}"), Notify::Created), ["2:DynamicUser"]);
        assert_eq!(keys(&format!("User=web\n{start}\nExecStartPre=/bin/x"), Notify::Created), [""; 0]);
    }
}
