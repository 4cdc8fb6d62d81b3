//! Second step from an image to a deployment: the values of variables.
//!
//! A value that the user set overrides the manifest's default, which overrides the built-in one. Forced variables
//! describe the installation and cannot be set.

use std::collections::BTreeSet;

use crate::container::info::Values;
use crate::container::units;
use crate::error::{Error, Result};
use crate::image::installation::Installation;
use crate::oci::capabilities;
use crate::paths::TreePath;

/// Variables that stand for our commands in units, in the order in which systemd runs them.
pub const EXEC_VARIABLES: [&str; 4] = ["EXEC_STARTPRE", "EXEC_START", "EXEC_STOP", "EXEC_STOPPOST"];

const RUN_DIRECTORY: &str = "RUN_DIRECTORY";
/// Variables that are directories of the host, with their built-in values.
pub const DIRECTORIES: [(&str, &str); 3] =
    [(RUN_DIRECTORY, "/run"), ("CONF_DIRECTORY", "/etc"), ("STATE_DIRECTORY", "/var/lib")];

/// Returns the built-in value of `PIDFILE`.
pub fn pid_file(run_directory: &str, name: &str) -> String {
    format!("{run_directory}/container-{name}.pid")
}

/// Parses `VARIABLE=VALUE` as given to `--set`.
pub fn parse_assignment(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some(("", _)) => Err(Error::usage("expected VARIABLE=VALUE, the name of the variable is missing")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::usage("expected VARIABLE=VALUE, as in --set PORT=8080")),
    }
}

/// Returns the values of all variables but `DESTDIR`, which differs from file to file: see [`with_destdir`].
pub fn complete(installation: &Installation, defaults: &Values) -> Result<Values> {
    let user = installation.user_values;
    let chosen = |name: &str| user.get(name).or_else(|| defaults.get(name)).cloned();
    let directories = DIRECTORIES.map(|(name, path)| (name.to_owned(), path.to_owned()));
    let mut values = Values::from(directories);
    let run_directory = chosen(RUN_DIRECTORY).unwrap_or_else(|| values[RUN_DIRECTORY].clone());
    values.insert("PIDFILE".into(), pid_file(&run_directory, installation.name.as_str()));
    values.insert("ALL_PROCESS_CAPABILITIES".into(), all_capabilities());
    values.insert("RUNTIME".into(), installation.runtime.map(TreePath::to_string).unwrap_or_default());
    values.insert("ATOMIC".into(), own_path());
    if chosen("UUID").is_none() {
        let uuid = installation.uuid.map_or_else(random_uuid, |uuid| Ok(uuid.to_owned()))?;
        values.insert("UUID".into(), uuid);
    }
    values.extend(defaults.clone());
    values.extend(user.clone());
    values.extend(forced(installation));
    Ok(values)
}

/// Returns the values for one file: in config.json `destdir` is the deployment, elsewhere the symlink to it.
pub fn with_destdir(values: &Values, destdir: &TreePath) -> Values {
    let mut values = values.clone();
    values.insert("DESTDIR".into(), destdir.to_string());
    values
}

/// Variables that describe the installation, besides [`EXEC_VARIABLES`].
const FORCED: [&str; 6] = ["DESTDIR", "NAME", "HOST_UID", "HOST_GID", "IMAGE_NAME", "IMAGE_ID"];
/// Variables that have a value of their own unless the image or the user gives one, besides [`DIRECTORIES`].
const COMPUTED: [&str; 5] = ["PIDFILE", "UUID", "RUNTIME", "ATOMIC", "ALL_PROCESS_CAPABILITIES"];

/// Returns whether neither an image nor a user can set the variable.
pub fn is_forced(name: &str) -> bool {
    FORCED.contains(&name) || EXEC_VARIABLES.contains(&name)
}

/// Returns the built-in value of a variable as it is shown to users; `None` if it has none, or is forced.
pub fn built_in(name: &str) -> Option<&'static str> {
    if COMPUTED.contains(&name) {
        return Some("(built in)");
    }
    DIRECTORIES.iter().find(|(known, _)| *known == name).map(|(_, path)| *path)
}

/// Fails if a variable is said to be secret whose value is none: it describes the host or the installation, and is shown.
pub fn check_secrets(of_user: &BTreeSet<String>, of_image: &[String]) -> Result<()> {
    match of_user.iter().chain(of_image).find(|name| is_forced(name) || built_in(name).is_some()) {
        Some(name) => {
            Err(Error::new(format!("{name} cannot be secret, since it describes the installation")))
        }
        None => Ok(()),
    }
}

fn forced(installation: &Installation) -> Values {
    let mut values = Values::from([
        ("NAME".into(), installation.name.to_string()),
        ("HOST_UID".into(), installation.uid.to_string()),
        ("HOST_GID".into(), installation.gid.to_string()),
        ("IMAGE_NAME".into(), installation.image.to_owned()),
        ("IMAGE_ID".into(), installation.digest.hex().to_owned()),
    ]);
    for variable in EXEC_VARIABLES {
        values.insert(variable.into(), units::expansion(variable, installation.name));
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

/// Returns the capabilities of this kernel as JSON array elements, for `[${ALL_PROCESS_CAPABILITIES}]`.
fn all_capabilities() -> String {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let count = last.and_then(|text| text.trim().parse::<usize>().ok()).map_or(38, |last| last + 1);
    let names = capabilities::ALL.iter().take(count).map(|name| format!("\"CAP_{name}\""));
    names.collect::<Vec<_>>().join(",\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::name::Name;
    use crate::paths::Root;

    fn map(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn user_then_manifest_then_built_in_and_forced_last() {
        let name: Name = "etcd".parse().unwrap();
        let user = map(&[("A", "user"), ("NAME", "evil"), ("RUN_DIRECTORY", "/run/x")]);
        let defaults = map(&[("A", "image"), ("B", "image"), ("CONF_DIRECTORY", "/usr/etc")]);
        let runtime = TreePath::from("/usr/bin/crun");
        let installation = Installation {
            name: &name,
            image: "r/i:1",
            digest: &Digest::of(b"x"),
            root: &Root::default(),
            link: "/d/etcd".into(),
            deployment: "/d/etcd.0".into(),
            runtime: Some(&runtime),
            uid: 0,
            gid: 0,
            uuid: None,
            user_values: &user,
            user_secrets: &Default::default(),
            settings: &Default::default(),
            user_notify: None,
        };
        let values = complete(&installation, &defaults).unwrap();
        for (key, value) in [
            ("A", "user"),
            ("B", "image"),
            ("NAME", "etcd"),
            ("CONF_DIRECTORY", "/usr/etc"),
            ("STATE_DIRECTORY", "/var/lib"),
            ("PIDFILE", "/run/x/container-etcd.pid"),
            ("IMAGE_ID", Digest::of(b"x").hex()),
            ("RUNTIME", "/usr/bin/crun"),
        ] {
            assert_eq!(values.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(values["UUID"].len(), 36);
        let before = Installation { uuid: Some("before"), ..installation };
        assert_eq!(complete(&before, &defaults).unwrap()["UUID"], "before");
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
