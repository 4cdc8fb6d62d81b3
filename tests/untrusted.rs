//! syscontainer-lint of sources that are not trusted: nothing of them is run, nothing elsewhere is read, nothing is waited for,
//! and what is shown of them is text.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn lint(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-lint"));
    command.args(arguments).env_remove("JOURNAL_STREAM").env_remove("SYSTEMD_SCOPE").output().unwrap()
}

fn git(directory: &Path, arguments: &[&str]) {
    assert!(Command::new("git").arg("-C").arg(directory).args(arguments).status().unwrap().success());
}

/// Sources that are good, in a directory of this name.
fn good_sources(directory: &Path, name: &str) -> PathBuf {
    let sources = directory.join(name);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint-base");
    assert!(Command::new("cp").arg("-r").arg(base).arg(&sources).status().unwrap().success());
    sources
}

/// The rules and messages of what lint finds.
fn found(sources: &Path) -> (Vec<String>, String) {
    let output = lint(&["--json", "--skip=no-git", sources.to_str().unwrap()]);
    let found: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let rules = found.iter().map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect();
    (rules, found.iter().map(|finding| format!("{finding}\n")).collect())
}

/// What git runs.
const RUN: [&str; 13] = [
    "filter.x.clean",
    "filter.x.process",
    "diff.x.textconv",
    "diff.x.command",
    "diff.external",
    "core.fsmonitor",
    "core.pager",
    "core.editor",
    "core.sshCommand",
    "core.askPass",
    "core.gitProxy",
    "core.alternateRefsCommand",
    "credential.helper",
];

/// Whatever the sources say that git, or any program, is to run.
#[test]
fn nothing_of_the_sources_is_run() {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: git is not installed");
        return;
    }
    let directory = TempDir::new().unwrap();
    let sources = good_sources(directory.path(), "sources");
    let (marker, script) = (directory.path().join("marker"), directory.path().join("script"));
    fs::write(&script, format!("#!/bin/sh\necho \"$0 $*\" >>{}\ncat\n", marker.display())).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    git(&sources, &["init", "--quiet"]);
    git(&sources, &["add", "--all"]);
    let script = script.to_str().unwrap();
    fs::write(sources.join(".git/more"), format!("[filter \"y\"]\nclean = {script}\nsmudge = {script}\n"))
        .unwrap();
    for key in RUN {
        git(&sources, &["config", key, script]);
    }
    for (key, value) in [
        ("filter.x.required", "true"),
        ("core.hooksPath", directory.path().to_str().unwrap()),
        ("include.path", "more"),
        ("core.worktree", "/"),
    ] {
        git(&sources, &["config", key, value]);
    }
    fs::create_dir_all(sources.join(".git/info")).unwrap();
    fs::write(sources.join(".git/info/attributes"), "* filter=x diff=x\n*.json filter=y\n").unwrap();
    fs::write(sources.join(".gitattributes"), "* filter=x diff=x\n").unwrap();
    for program in ["git", "systemd-analyze", "skopeo", "post-index-change", "fsmonitor-watchman"] {
        fs::copy(script, sources.join(program)).unwrap();
        fs::copy(script, sources.join(".git/hooks").join(program)).unwrap();
        fs::copy(script, directory.path().join(program)).unwrap();
    }
    // Of the same size, so that the content has to be looked at.
    let text =
        fs::read_to_string(sources.join("service.template")).unwrap().replace("[Service]", "[service]");
    fs::write(sources.join("service.template"), text).unwrap();
    let manifest = fs::read(sources.join("manifest.json")).unwrap();
    fs::write(sources.join("manifest.json"), manifest).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-lint"));
    command
        .current_dir(&sources)
        .args(["--skip=unit-syntax", "."])
        .env("PATH", format!(".:{}", sources.display()));
    command
        .env("GIT_DIR", sources.join(".git"))
        .env("GIT_EXTERNAL_DIFF", script)
        .env("SYSTEMD_PAGER", script);
    let output = command.output().unwrap();
    let ran = fs::read_to_string(&marker).unwrap_or_default();
    assert_eq!(ran, "", "the sources ran this");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "./service.template: warning: the file has changes that are not staged [unstaged]\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

fn link(target: &str, path: &Path) {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(target, path).unwrap();
}

/// Good sources with something else, in which a finding of `rule` has `message`.
fn finds(rule: &str, message: &str, what: &str, make: impl Fn(&Path)) {
    let directory = TempDir::new().unwrap();
    let sources = good_sources(directory.path(), "sources");
    make(&sources);
    let (rules, text) = found(&sources);
    let is_there = rules.iter().any(|found| found == rule) && text.contains(message);
    assert!(is_there && !text.contains("root:"), "{what}: expected {rule} with {message:?}, found\n{text}");
}

/// What leads elsewhere is a finding, and nothing behind it is shown.
#[test]
fn sources_lead_nowhere_else() {
    finds("hostfs", "is not followed", "the host", |dir| link("/", &dir.join("hostfs")));
    finds("hostfs", "is not followed", "what is above", |dir| link("..", &dir.join("hostfs")));
    for target in ["..", "/etc"] {
        finds("unreadable", "leads out of", target, |dir| link(target, &dir.join("exports")));
    }
    finds("unreadable", "leads out of", "a link on the way", |dir| {
        fs::create_dir(dir.join("a")).unwrap();
        link("../..", &dir.join("a/b"));
        link("a/b/x", &dir.join("exports"));
    });
    finds("unreadable", "not a regular file", "a template", |dir| {
        link("/etc/passwd", &dir.join("service.template"));
    });
    for target in ["/etc/passwd", "/dev/zero", "../../../../etc/passwd"] {
        finds("unreadable", "leads out of", target, |dir| link(target, &dir.join("Dockerfile")));
    }
}

/// What never comes, or never ends, is not waited for.
#[test]
fn sources_have_an_end() {
    finds("unreadable", "not a regular file", "a template", |dir| fifo(&dir.join("service.template")));
    finds("unreadable", "not a regular file", "a Dockerfile", |dir| fifo(&dir.join("Dockerfile")));
    finds("unreadable", "larger than the limit of 256 KiB", "a huge Dockerfile", |dir| {
        fs::File::create(dir.join("Dockerfile")).unwrap().set_len(1 << 40).unwrap();
    });
    finds("unreadable", "larger than the limit of 1024 KiB", "a huge template", |dir| {
        fs::File::create(dir.join("service.template")).unwrap().set_len(1 << 40).unwrap();
    });
    finds("hostfs", "not a file, directory or symlink", "a pipe for the host", |dir| {
        fs::create_dir(dir.join("hostfs")).unwrap();
        fifo(&dir.join("hostfs/pipe"));
    });
    finds("hostfs", "more than 10000 files", "many files", |dir| {
        fs::create_dir(dir.join("hostfs")).unwrap();
        (0..10_001).for_each(|n| drop(fs::File::create(dir.join(format!("hostfs/{n}"))).unwrap()));
    });
    finds("hostfs", "more than 64 directories", "many directories", |dir| {
        let deep: PathBuf = (0..200).map(|_| "d").collect();
        fs::create_dir_all(dir.join("hostfs").join(deep)).unwrap();
    });
}

/// A git directory leads nowhere else, either.
#[test]
fn repositories_lead_nowhere_else() {
    for (what, index) in [("a pipe", 0), ("a link", 1), ("not an index", 2)] {
        let directory = TempDir::new().unwrap();
        let sources = good_sources(directory.path(), "sources");
        fs::create_dir(sources.join(".git")).unwrap();
        fs::write(sources.join(".git/HEAD"), "ref: refs/heads/main").unwrap();
        let path = sources.join(".git/index");
        match index {
            0 => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            1 => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            _ => fs::write(path, [0xff; 1000]).unwrap(),
        }
        let output = lint(&[sources.to_str().unwrap()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
            (Some(0), ""),
            "{what}"
        );
        assert!(
            stderr.contains("unknown which files have changes") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}

/// Nothing of what a directory says reaches a terminal as anything but text.
#[test]
fn text_of_sources_is_shown_as_it_is() {
    let directory = TempDir::new().unwrap();
    let sources = good_sources(directory.path(), "\u{202e}\u{9b}2J\u{200b}\nerror: forged");
    let mut text = fs::read_to_string(sources.join("Dockerfile")).unwrap();
    text += "MAINTAINER \u{1b}]0;title\u{7} \u{2066}x\nADD a\u{feff}\u{e0041} /export/\u{9b}\u{202e}\n";
    fs::write(sources.join("Dockerfile"), text).unwrap();
    let path = sources.to_str().unwrap();
    for json in [false, true] {
        let arguments =
            if json { vec!["--json", "--skip=no-git", path] } else { vec!["--skip=no-git", path] };
        let shown = String::from_utf8(lint(&arguments).stdout).unwrap();
        let raw =
            |c: char| c.is_control() && c != '\n' || "\u{202e}\u{200b}\u{2066}\u{feff}\u{e0041}".contains(c);
        assert!(!shown.contains(raw), "{shown}");
        if json {
            let found: Vec<Value> = serde_json::from_str(&shown).unwrap();
            assert!(
                found.len() == 2 && found.iter().all(|f| f["file"] == format!("{path}/Dockerfile")),
                "{shown}"
            );
        } else {
            assert!(
                shown.lines().count() == 2 && shown.contains("\\u202e\\u009b2J\\u200b\\nerror: forged"),
                "{shown}"
            );
        }
    }
}
