//! Bind sources that nothing creates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::config::LintedConfig;
use super::finding::LintReport;
use super::inspection::{Inspection, NO_VALUE};
use super::rules;
use super::unit::Unit;
use crate::image::layout::Layout;
use crate::unit::tmpfiles;

/// Directories that every host has, along with everything in them.
const TREES: [&str; 5] = ["/dev", "/proc", "/sys", "/usr", "/run/systemd"];
/// Files and directories that every host has, but not what is in these directories.
const PATHS: [&str; 34] = [
    "/",
    "/boot",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/var",
    "/bin",
    "/sbin",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/tmp",
    "/lib/modules",
    "/run/dbus",
    "/run/udev",
    "/var/log/journal",
    "/run/lock",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/ssl",
];
/// Settings of units that create directories, and the directories that these are in.
const SETTINGS: [(&str, &str); 5] = [
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
    ("ConfigurationDirectory", "/etc"),
];

/// Looks for bind sources that may be missing. Where the image brings no tmpfiles, missing directories are created
/// anyway.
pub fn check(config: &LintedConfig, inspection: &Inspection, unit: Option<&Unit>, report: &mut LintReport) {
    let Some(rendered) = &inspection.rendered.tmpfiles else { return };
    let mut made: BTreeSet<PathBuf> =
        tmpfiles::lines(&rendered.text).filter_map(|line| line.created()).collect();
    let layout = inspection.rendered.layout.iter().flat_map(Layout::files);
    made.extend(layout.map(|file| file.path.as_path().to_path_buf()));
    made.extend(unit.into_iter().flat_map(unit_directories));
    let commands: BTreeSet<&str> = unit.into_iter().flat_map(command_words).collect();
    for (index, mount) in config.written.mounts().enumerate() {
        let Some(source) = mount.bind_source() else { continue };
        let shown = source.display().to_string();
        let is_there = is_everywhere(source) || shown.contains(NO_VALUE);
        // Something that is created below it creates it, too.
        let is_made = made.range(source.to_path_buf()..).next().is_some_and(|path| path.starts_with(source));
        let by_command = commands.range(&*shown..).next().is_some_and(|word| word.starts_with(&shown));
        if !is_there && !is_made && !by_command {
            let message = format!("nothing creates the bind source {shown}; add it to tmpfiles.template");
            report.add(&rules::BIND_SOURCE, config.place(&format!("/mounts/{index}/source")), message);
        }
    }
}

fn is_everywhere(path: &Path) -> bool {
    TREES.iter().any(|tree| path.starts_with(tree)) || PATHS.iter().any(|there| path == Path::new(there))
}

fn unit_directories(unit: &Unit) -> Vec<PathBuf> {
    let values = unit.parsed.section("Service").filter_map(|(key, value)| {
        let (_, above) = SETTINGS.iter().find(|(setting, _)| *setting == key)?;
        Some((above, value))
    });
    values
        .flat_map(|(above, value)| value.split_whitespace().map(move |name| Path::new(above).join(name)))
        .collect()
}

/// Paths in commands, each to the end of its word.
fn command_words<'a>(unit: &'a Unit) -> impl Iterator<Item = &'a str> {
    let commands = unit.parsed.section("Service").filter(|(key, _)| key.starts_with("ExecStartPre"));
    let is_end = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ':' | ';' | ',' | '{' | '(' | '<' | '>')
    };
    commands.flat_map(move |(_, value)| value.split(is_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_everywhere() {
        assert!(is_everywhere(Path::new("/sys/fs/cgroup")) && is_everywhere(Path::new("/etc")));
        assert!(!is_everywhere(Path::new("/etc/x")) && !is_everywhere(Path::new("/var/lib/x")));
    }
}
