//! What systemd says about a unit that is not installed yet.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Context, Result};
use crate::name::Name;
use crate::system::{command, files};

/// One message of systemd about a unit.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Line number in the unit, from 1, if the message is about a line.
    pub line: Option<usize>,
    /// The text of the message.
    pub message: String,
    /// Whether systemd refuses to load the unit because of it.
    pub is_refusal: bool,
}

/// Checks a unit with systemd-analyze(1); `None` if that is not installed.
pub fn verify(unit: &str, name: &Name) -> Result<Option<Vec<Complaint>>> {
    let directory = files::temporary_directory(&std::env::temp_dir(), "syscontainer-")?;
    let path = directory.path().join(name.unit());
    fs::write(&path, unit).context(|| format!("cannot write {}", path.display()))?;
    let mut program = command::program("systemd-analyze");
    program.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path);
    // What is not ours to know is not passed on: neither the caller's environment nor where it is.
    program.env_clear().current_dir(directory.path());
    // Other units are not looked up: those of this host say nothing about other hosts.
    program.env("SYSTEMD_UNIT_PATH", directory.path()).env("LC_ALL", "C");
    program.env("SYSTEMD_LOG_LEVEL", "info").env("SYSTEMD_LOG_TARGET", "console").env("SYSTEMD_COLORS", "0");
    match command::collect(&mut program) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| "cannot run systemd-analyze".into()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Ok(Some(said.lines().filter_map(|line| complaint(line, &path, name)).collect()))
        }
    }
}

/// Parses a line of output. Messages about other units, and about programs that this host lacks, are left out.
fn complaint(line: &str, path: &Path, name: &Name) -> Option<Complaint> {
    let (number, message) = match line.strip_prefix(&format!("{}:", path.display())) {
        Some(rest) => match rest.split_once(": ") {
            Some((number, message)) => (number.parse().ok(), message),
            None => (None, rest.trim()),
        },
        None => (None, line.strip_prefix(&format!("{}: ", name.unit()))?),
    };
    if message.contains("is not executable") {
        return None;
    }
    let is_refusal = message.contains("Refusing");
    Some(Complaint { line: number, message: message.to_owned(), is_refusal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemd_says() {
        let name: Name = "x".parse().unwrap();
        let read = |line: &str| complaint(line, Path::new("/t/x.service"), &name);
        let found = read("/t/x.service:12: Unknown key 'Foo' in section [Service], ignoring.").unwrap();
        assert_eq!((found.line, found.is_refusal), (Some(12), false));
        assert_eq!(found.message, "Unknown key 'Foo' in section [Service], ignoring.");
        assert!(read("x.service: Service has no ExecStart=. Refusing.").unwrap().is_refusal);
        assert_eq!(read("x.service: Command /y is not executable: No such file or directory"), None);
        assert_eq!(read("/t/y.service:1: Unknown"), None);
        assert_eq!(read("y.service: Refusing"), None);
    }
}
