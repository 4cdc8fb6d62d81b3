//! Programs that are run to their end.

use std::process::{Command, Output, Stdio};

use crate::error::{Context, Error, Result};
use crate::paths;

/// Runs a program; the last line that it wrote to stderr is the cause if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// As [`run`], and returns what the program printed.
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

/// As [`run`], but leaves it to the caller what a failure means. It is an error if the program cannot be run.
pub fn finish(command: &mut Command) -> Result<Output> {
    let line = line(command);
    let output = command.env("PATH", paths::search_path()).stdin(Stdio::null()).output();
    output.context(|| format!("cannot run '{line}'"))
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
    }
}
