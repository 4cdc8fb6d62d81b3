//! Whether git has the same sources that the image will contain.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use super::finding::{LintReport, Place};
use super::rules;
use super::target::Sources;
use crate::system::command;

/// Applies the rules for git. If git fails, a note says so.
pub fn check(source: &Sources, report: &mut LintReport) {
    let directory = source.directory();
    match git(directory, &["rev-parse", "--is-inside-work-tree"]) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report.notes.push("git is not installed, skipping the rules about it".into());
        }
        Err(error) => report.notes.push(format!("cannot run git, skipping the rules about it: {error}")),
        Ok(output) if output.status.success() => changed(source, report),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("not a git repository") {
                let message = "the directory is not in a git repository";
                report.add(&rules::NO_GIT, Place::file(directory.display().to_string()), message);
            } else {
                let cause = said.lines().find(|line| !line.is_empty()).unwrap_or("unknown error");
                report
                    .notes
                    .push(format!("git cannot read {}: {cause}, skipping its rules", directory.display()));
            }
        }
    }
}

fn changed(source: &Sources, report: &mut LintReport) {
    let directory = source.directory();
    let dockerfile =
        source.dockerfile().and_then(|file| Path::new(&file.file).file_name()?.to_str().map(str::to_owned));
    for name in source.files().into_iter().chain(dockerfile) {
        let Ok(output) = git(directory, &["status", "--porcelain", "--untracked-files=no", "--", &name])
        else {
            continue;
        };
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        // The second column says what differs from the index.
        if lines.lines().any(|line| matches!(line.as_bytes().get(1), Some(b'M' | b'D' | b'T'))) {
            let shown = directory.join(&name).display().to_string();
            report.add(&rules::UNSTAGED, Place::file(shown), "the file has changes that are not staged");
        }
    }
}

fn git(directory: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    let mut git = Command::new("git");
    // The repository is not trusted: its configuration must not name programs to run.
    git.args(["-c", "core.fsmonitor=false", "--no-optional-locks", "-C"]).arg(directory);
    command::collect(git.args(arguments).env("LC_ALL", "C"))
}
