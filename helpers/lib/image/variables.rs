//! Variables of templates: where their values come from, and which win.
//!
//! A value set by the user wins over the manifest's default, which wins over the built-in one; forced variables
//! describe the installation and cannot be set.

use std::collections::BTreeMap;
use std::path::Path;

use crate::container::units;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::oci::capabilities;

/// Values by name of variable.
pub type Values = BTreeMap<String, String>;

/// The facts that forced and built-in variables state.
pub struct Facts<'a> {
    /// The container.
    pub name: &'a Name,
    /// The image's name in the store.
    pub image: &'a str,
    /// Digest of its manifest.
    pub digest: &'a str,
    /// The runtime's path, where one is used.
    pub runtime: &'a Path,
    /// Who runs the installation.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// The container's UUID, if it has one already.
    pub uuid: Option<&'a str>,
}

/// Variables that units are built of, in the order of their use.
pub const COMMANDS: [&str; 4] = ["EXEC_STARTPRE", "EXEC_START", "EXEC_STOP", "EXEC_STOPPOST"];

/// Variables that are directories, and their built-in values.
pub const DIRECTORIES: [(&str, &str); 3] =
    [("RUN_DIRECTORY", "/run"), ("CONF_DIRECTORY", "/etc"), ("STATE_DIRECTORY", "/var/lib")];

/// The built-in value of PIDFILE.
pub fn pid_file(run_directory: &str, name: &str) -> String {
    format!("{run_directory}/container-{name}.pid")
}

/// Parses `NAME=VALUE` as given to `--set`.
pub fn parse_assignment(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some(("", _)) => Err(Error::usage("expected NAME=VALUE, the name is missing")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::usage("expected NAME=VALUE, as in --set PORT=8080")),
    }
}

/// All values, DESTDIR apart: it differs from file to file, see [`with_destdir`].
pub fn complete(facts: &Facts, user: &Values, defaults: &Values) -> Result<Values> {
    let chosen = |name: &str| user.get(name).or_else(|| defaults.get(name)).cloned();
    let run_directory = chosen("RUN_DIRECTORY").unwrap_or_else(|| DIRECTORIES[0].1.into());
    let mut values = Values::from([
        ("PIDFILE".into(), pid_file(&run_directory, facts.name.as_str())),
        ("RUN_DIRECTORY".into(), run_directory),
        ("ALL_PROCESS_CAPABILITIES".into(), all_capabilities()),
        ("RUNTIME".into(), facts.runtime.to_string_lossy().into_owned()),
        ("ATOMIC".into(), own_path()),
    ]);
    if chosen("UUID").is_none() {
        let uuid = facts.uuid.map_or_else(random_uuid, |uuid| Ok(uuid.to_owned()))?;
        values.insert("UUID".into(), uuid);
    }
    values.extend(DIRECTORIES.map(|(name, path)| (name.to_owned(), path.to_owned())).into_iter().skip(1));
    values.extend(defaults.clone());
    values.extend(user.clone());
    values.extend(forced(facts));
    Ok(values)
}

/// The values for one file: `destdir` is the deployment in config.json, and the symlink to it in units and tmpfiles.
pub fn with_destdir(values: &Values, destdir: &Path) -> Values {
    let mut values = values.clone();
    values.insert("DESTDIR".into(), destdir.to_string_lossy().into_owned());
    values
}

/// Names of variables that describe the installation, besides [`COMMANDS`].
const FORCED: [&str; 6] = ["DESTDIR", "NAME", "HOST_UID", "HOST_GID", "IMAGE_NAME", "IMAGE_ID"];

/// Whether a variable cannot be set by anyone.
pub fn is_forced(name: &str) -> bool {
    FORCED.contains(&name) || COMMANDS.contains(&name)
}

fn forced(facts: &Facts) -> Values {
    let mut values = Values::from([
        ("NAME".into(), facts.name.to_string()),
        ("HOST_UID".into(), facts.uid.to_string()),
        ("HOST_GID".into(), facts.gid.to_string()),
        ("IMAGE_NAME".into(), facts.image.to_owned()),
        ("IMAGE_ID".into(), facts.digest.strip_prefix("sha256:").unwrap_or(facts.digest).to_owned()),
    ]);
    for command in COMMANDS {
        values.insert(command.into(), units::expansion(command, facts.name));
    }
    values
}

fn own_path() -> String {
    std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned()
}

fn random_uuid() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => Err(Error::new(format!("cannot make a UUID: cannot read {path}: {e}"))),
    }
}

/// The capabilities of this kernel as JSON array elements, for `[${ALL_PROCESS_CAPABILITIES}]`.
fn all_capabilities() -> String {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let count = last.and_then(|text| text.trim().parse::<usize>().ok()).map_or(38, |last| last + 1);
    let names = capabilities::ALL.iter().take(count).map(|name| format!("\"CAP_{name}\""));
    names.collect::<Vec<_>>().join(",\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &Name) -> Facts<'_> {
        let runtime = Path::new("/usr/bin/crun");
        Facts { name, image: "r/i:1", digest: "sha256:abc", runtime, uid: 0, gid: 0, uuid: None }
    }

    fn map(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn user_then_manifest_then_built_in_and_forced_last() {
        let name: Name = "etcd".parse().unwrap();
        let user = map(&[("A", "user"), ("NAME", "evil"), ("RUN_DIRECTORY", "/run/x")]);
        let defaults = map(&[("A", "image"), ("B", "image"), ("CONF_DIRECTORY", "/usr/etc")]);
        let values = complete(&facts(&name), &user, &defaults).unwrap();
        for (key, value) in [
            ("A", "user"),
            ("B", "image"),
            ("NAME", "etcd"),
            ("CONF_DIRECTORY", "/usr/etc"),
            ("STATE_DIRECTORY", "/var/lib"),
            ("PIDFILE", "/run/x/container-etcd.pid"),
            ("IMAGE_ID", "abc"),
            ("RUNTIME", "/usr/bin/crun"),
        ] {
            assert_eq!(values.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(values["UUID"].len(), 36);
        let before = Facts { uuid: Some("before"), ..facts(&name) };
        assert_eq!(complete(&before, &user, &defaults).unwrap()["UUID"], "before");
        assert!(values["ALL_PROCESS_CAPABILITIES"].starts_with("\"CAP_CHOWN\",\n\"CAP_DAC_OVERRIDE\""));
    }

    #[test]
    fn assignments() {
        assert_eq!(parse_assignment("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(parse_assignment("A=").unwrap(), ("A".into(), "".into()));
        assert!(parse_assignment("A").unwrap_err().is_usage());
        assert!(parse_assignment("=x").unwrap_err().is_usage());
    }
}
