//! Units whose commands run as another user. Only root can enter a deployment, so such commands cannot use its files by
//! their paths on the host. systemd itself can: it opens `RootDirectory=` as root.

use std::fmt;

use crate::unit::syntax::UnitFile;

/// Settings with commands.
const COMMANDS: [&str; 7] =
    ["ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"];

/// A command that runs a file which its user cannot reach.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable<'a> {
    /// Number of the line in the unit.
    pub line: usize,
    /// The setting.
    pub key: &'a str,
    /// Path of the file.
    pub file: &'a str,
}

impl fmt::Display for Unreachable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}= runs {} as another user, but only root can enter the deployment; set RootDirectory=$DESTDIR/rootfs, and write the path as it is in the image",
            self.key, self.file
        )
    }
}

/// Whether commands of a service run as another user or group than root's, unless they have a prefix that prevents it.
pub fn is_other(unit: &UnitFile) -> bool {
    let is_set = |key| unit.last("Service", key).is_some_and(|value| !matches!(value, "root" | "0"));
    is_set("User") || is_set("Group") || is_set("DynamicUser")
}

/// The commands of a service.
pub fn commands(unit: &UnitFile) -> impl Iterator<Item = &str> {
    let commands = unit.effective("Service").filter(|(key, _)| COMMANDS.contains(key));
    commands.map(|(_, value)| value)
}

/// Finds commands that run a file in `directory`, which only root can enter, as another user.
pub fn unreachable<'a>(unit: &'a UnitFile, directory: &str) -> Vec<Unreachable<'a>> {
    if !is_other(unit) || has_own_root(unit) {
        return Vec::new();
    }
    let commands = unit.lines("Service").filter(|(_, key, _)| COMMANDS.contains(key));
    let unreachable = commands.filter_map(|(line, key, value)| {
        let path = value.trim_start_matches(['-', '@', ':', '+', '!', '|']);
        let prefixes = &value[..value.len() - path.len()];
        let as_root = prefixes.contains('+') || prefixes.matches('!').count() == 1;
        let file = path.trim_start().trim_start_matches(['"', '\'']);
        let file = file.split([' ', '\t', '"', '\'']).next().unwrap_or_default();
        (!as_root && is_below(file, directory)).then_some(Unreachable { line, key, file })
    });
    unreachable.collect()
}

/// Whether a line sets a working directory in `directory` that the user of the unit's commands cannot enter. Commands
/// of root can.
pub fn is_closed_directory(unit: &UnitFile, key: &str, value: &str, directory: &str) -> bool {
    key == "WorkingDirectory" && is_below(value, directory) && is_other(unit) && !has_own_root(unit)
}

/// Whether commands have another root directory.
pub fn has_own_root(unit: &UnitFile) -> bool {
    unit.last("Service", "RootDirectory").is_some() || unit.last("Service", "RootImage").is_some()
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String)> {
        let unit = UnitFile::parse(&format!("[Service]\n{text}")).unwrap();
        let found = unreachable(&unit, "/d/web");
        found.into_iter().map(|u| (u.line, format!("{}={}", u.key, u.file))).collect()
    }

    #[test]
    fn commands_of_other_users_cannot_be_files_of_the_deployment() {
        for (text, expected) in [
            ("User=web\nExecStart=/d/web/rootfs/bin/x -v", "ExecStart=/d/web/rootfs/bin/x"),
            ("DynamicUser=yes\nExecStart=-@\"/d/web/x\" y", "ExecStart=/d/web/x"),
            ("Group=web\nExecReload=!!/d/web/x", "ExecReload=/d/web/x"),
        ] {
            assert_eq!(found(text), [(3, expected.to_owned())], "{text}");
        }
        for text in [
            "ExecStart=/d/web/x",
            "User=root\nExecStart=/d/web/x",
            "User=web\nExecStart=+/d/web/x",
            "User=web\nExecStart=!/d/web/x",
            "User=web\nExecStart=/d/website/x",
            "User=web\nExecStart=/bin/cat /d/web/x",
            "User=web\nRootDirectory=/d/web/rootfs\nExecStart=/d/web/x",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn working_directories_of_other_users() {
        let is_closed = |text: &str, value| {
            let unit = UnitFile::parse(&format!("[Service]\n{text}")).unwrap();
            is_closed_directory(&unit, "WorkingDirectory", value, "/d/web")
        };
        assert!(is_closed("User=web", "/d/web") && is_closed("User=web", "/d/web/rootfs"));
        assert!(!is_closed("User=web", "/srv") && !is_closed("", "/d/web"));
        assert!(!is_closed("User=web\nRootDirectory=/d/web/rootfs", "/d/web"));
    }
}
