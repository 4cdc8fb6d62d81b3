//! Running programs and waiting for them to end.

use std::io;
use std::process::{Command, Output, Stdio};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths;

/// A command that runs a program of this host, found by its name in the directories of [`paths::search_path`] and nowhere
/// else: the caller's `PATH` may be that of somebody else, as with sudo. One that is not there cannot be run.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(paths::find_program(name));
    command.env("PATH", paths::search_path());
    command
}

/// A command that runs this program again for another part of its work, on the container `name`.
pub fn again(part: &str, name: &Name) -> Result<Command> {
    let program = std::env::current_exe().context(|| "cannot find this program".into())?;
    let mut command = Command::new(program);
    command.arg(part).arg(name.as_str());
    Ok(command)
}

/// Runs a program. If it fails, the cause of the error is the last line that it wrote to stderr.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// Like [`run`], and returns what the program wrote to stdout.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = line(command);
    let output = finish(command)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let cause = match stderr.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!("{line} ({})", output.status),
        None => output.status.to_string(),
    };
    Err(Error::new(cause)).context(|| format!("cannot run '{line}'"))
}

/// Like [`run`], but leaves it to the caller what a failure of the program means. Only a program that cannot be run is
/// an error.
pub fn finish(command: &mut Command) -> Result<Output> {
    let line = line(command);
    collect(command).context(|| format!("cannot run '{line}'"))
}

/// Like [`finish`], with the system's own error: its kind is `NotFound` if the program is not installed.
pub fn collect(command: &mut Command) -> io::Result<Output> {
    command.env("PATH", paths::search_path()).stdin(Stdio::null()).output()
}

/// Runs a program that shares this one's input and output, and so prints its own errors.
pub fn succeed(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.env("PATH", paths::search_path()).status();
    let status = status.context(|| format!("cannot run '{line}'"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::new(format!("'{line}' failed: {status}; see its own messages")))
    }
}

fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_last_line_of_stderr() {
        let shell = |script: &str| output(Command::new("sh").args(["-c", script]));
        assert_eq!(shell("echo out; echo err >&2").unwrap(), b"out\n");
        let error = shell("echo first >&2; echo last >&2; echo >&2; exit 3").unwrap_err().to_string();
        assert!(
            error.starts_with("cannot run 'sh -c ") && error.ends_with("': last (exit status: 3)"),
            "{error}"
        );
        assert!(shell("exit 3").unwrap_err().to_string().ends_with("': exit status: 3"));
        assert!(finish(&mut Command::new("/nowhere")).is_err());
        assert_eq!(collect(&mut Command::new("/nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn another_part_is_of_the_same_program() {
        let command = again("--part", &"web".parse().unwrap()).unwrap();
        assert_eq!(command.get_program(), std::env::current_exe().unwrap());
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["--part", "web"]);
    }

    #[test]
    fn programs_have_an_absolute_path() {
        let shell = program("sh");
        let path = std::path::Path::new(shell.get_program());
        assert!(
            path.is_absolute() && std::env::split_paths(&paths::search_path()).any(|d| path.starts_with(d))
        );
        assert_eq!(output(program("sh").args(["-c", "echo $PATH"])).unwrap().trim_ascii_end(), {
            paths::search_path().into_encoded_bytes()
        });
        assert_eq!(collect(&mut program("no-such-program")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn failures_name_the_program_that_printed_why() {
        assert!(succeed(&mut Command::new("true")).is_ok());
        let error = succeed(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "'sh -c exit 3' failed: exit status: 3; see its own messages");
    }
}
