//! Golden tests: each directory below `tests/generator` is one run of the real generator.
//!
//! `tree/` is the root file system (`NAME.link` files stand for symlinks, their content is the target),
//! `expected/` what must be written (as the file `stdout` what must be printed), `stderr` and `status` what must
//! be said. Optional: `env` with `KEY=VALUE` lines, `args` with arguments instead of the output directory,
//! `there/` what other generators wrote before. `UPDATE_EXPECTED=1` rewrites what is expected.
//!
//! All cases are run, and all that failed are reported at the end, each as a unified diff per file.

#![allow(clippy::unwrap_used)]

mod differences;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use walkdir::WalkDir;

use differences::unified_diff;

const GENERATOR: &str = env!("CARGO_BIN_EXE_syscontainer-generator");

/// What one run did.
#[derive(PartialEq)]
struct Outcome {
    /// Files by relative path; the content of a symlink is its target.
    files: BTreeMap<String, String>,
    stderr: String,
    /// The exit status, or the signal, as one line.
    status: String,
}

impl Outcome {
    /// Everything by the name that a case has for it.
    fn parts(&self) -> BTreeMap<String, &str> {
        let files = self.files.iter().map(|(name, content)| (format!("expected/{name}"), content.as_str()));
        files.chain([("stderr".into(), &*self.stderr), ("status".into(), &*self.status)]).collect()
    }

    /// What is different in `actual`, as a unified diff per file; empty if nothing is.
    fn differences(&self, actual: &Outcome) -> String {
        let (expected, actual) = (self.parts(), actual.parts());
        let mut names: Vec<_> = expected.keys().chain(actual.keys()).collect();
        names.sort();
        names.dedup();
        let diff = |name: &String| unified_diff(name, expected.get(name).copied(), actual.get(name).copied());
        names.into_iter().map(diff).collect()
    }
}

/// Text as it is; what is not UTF-8 is escaped, which no expected file is.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().escape_ascii().to_string())
}

fn files_of(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(directory).into_iter().map(Result::unwrap) {
        if !entry.file_type().is_dir() {
            let name = entry.path().strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            let content = match fs::read_link(entry.path()) {
                Ok(target) => target.to_str().unwrap().to_owned(),
                Err(_) => text(fs::read(entry.path()).unwrap()),
            };
            files.insert(name, content);
        }
    }
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    if !from.exists() {
        return;
    }
    for (name, content) in files_of(from) {
        let path = to.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match name.strip_suffix(".link") {
            Some(name) => symlink(content.trim(), to.join(name)).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
}

fn run(case: &Path, root: &Path) -> Outcome {
    let out = tempfile::tempdir().unwrap();
    let normal = out.path().join("normal");
    copy(&case.join("there"), &normal);
    let mut command = Command::new(GENERATOR);
    command.env_clear().current_dir("/").arg(format!("--root={}", root.display()));
    match fs::read_to_string(case.join("args")) {
        Ok(args) => command.args(args.split_whitespace()),
        Err(_) => command.arg(&normal).arg(out.path().join("early")).arg(out.path().join("late")),
    };
    for line in fs::read_to_string(case.join("env")).unwrap_or_default().lines() {
        let (key, value) = line.split_once('=').unwrap();
        command.env(key, value);
    }
    let output = command.output().unwrap();
    let mut files = files_of(&normal);
    if !output.stdout.is_empty() {
        files.insert("stdout".into(), text(output.stdout));
    }
    // Nothing of ours goes there.
    for other in ["early", "late"] {
        if out.path().join(other).exists() {
            files.insert(other.into(), "a directory\n".into());
        }
    }
    Outcome {
        files,
        stderr: text(output.stderr).replace(normal.to_str().unwrap(), "OUT"),
        status: match output.status.code() {
            Some(code) => format!("{code}\n"),
            None => format!("signal {}\n", output.status.signal().unwrap()),
        },
    }
}

fn expected(case: &Path) -> Outcome {
    let read = |name, default: &str| fs::read_to_string(case.join(name)).unwrap_or(default.to_owned());
    let directory = case.join("expected");
    Outcome {
        files: if directory.exists() { files_of(&directory) } else { BTreeMap::new() },
        stderr: read("stderr", ""),
        status: read("status", "0\n"),
    }
}

fn update(case: &Path, outcome: &Outcome) {
    let directory = case.join("expected");
    let _ = fs::remove_dir_all(&directory);
    for (name, content) in &outcome.files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for (name, content, default) in [("stderr", &outcome.stderr, ""), ("status", &outcome.status, "0\n")] {
        match content == default {
            true => drop(fs::remove_file(case.join(name))),
            false => fs::write(case.join(name), content).unwrap(),
        }
    }
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator");
    let mut cases: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 15);
    cases
}

/// What is wrong with a case; empty if nothing is.
fn differences_of(case: &Path) -> String {
    let name = Path::new("tests/generator").join(case.file_name().unwrap());
    let root = tempfile::tempdir().unwrap();
    copy(&case.join("tree"), root.path());
    let outcome = run(case, root.path());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        update(case, &outcome);
    }
    let mut report = expected(case).differences(&outcome);
    if !report.is_empty() {
        report = format!("\n{}:\n{report}", name.display());
    }
    // At boot /var is not mounted, at a reload it is: both must give the same.
    let deployment = root.path().join("var/lib/containers/atomic/good.0");
    fs::create_dir_all(&deployment).unwrap();
    fs::write(deployment.join("info"), "{}").unwrap();
    symlink("good.0", root.path().join("var/lib/containers/atomic/good")).unwrap();
    let differences = outcome.differences(&run(case, root.path()));
    if !differences.is_empty() {
        report += &format!("\n{}, without (-) and with (+) /var:\n{differences}", name.display());
    }
    report
}

#[test]
fn golden() {
    let cases = cases();
    let reports = cases.iter().map(|case| differences_of(case)).filter(|report| !report.is_empty());
    let failures: Vec<String> = reports.collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases failed:\n{}",
        failures.len(),
        cases.len(),
        failures.concat()
    );
}

/// Whatever a registration holds, the generator ends, and a good one beside it is converted.
#[test]
fn damaged_registrations_hide_nothing() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator/02-one");
    let root = tempfile::tempdir().unwrap();
    copy(&case.join("tree"), root.path());
    let attached = root.path().join("etc/syscontainers/attached");
    let good = fs::read(attached.join("good.json")).unwrap();
    let expected = files_of(&case.join("expected"));
    let mut state = 7u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for round in 0..100 {
        let mut bad = good.clone();
        match round % 3 {
            0 => bad.truncate(next(good.len())),
            1 => bad[next(good.len())] = next(256) as u8,
            _ => drop(bad.splice(next(good.len() / 2)..good.len() / 2, [])),
        }
        fs::write(attached.join("bad.json"), &bad).unwrap();
        let outcome = run(&case, root.path());
        let shown = String::from_utf8_lossy(&bad);
        for (name, content) in &expected {
            let difference = unified_diff(name, Some(content), outcome.files.get(name).map(String::as_str));
            assert!(difference.is_empty(), "beside this registration:\n{shown}\n{difference}");
        }
        let body = outcome.files.get("bad.service.d/00-syscontainer.conf");
        assert!(
            bad.is_empty() || body.is_some_and(|b| b.contains("bad (broken: ")),
            "this registration is not called broken:\n{shown}\non stderr:\n{}",
            outcome.stderr
        );
    }
}

/// A registration that is not one at all, or too much of one, is not waited for: its unit says what is wrong, and those before
/// and behind it in the alphabet are converted.
#[test]
fn no_registration_keeps_others_from_being_converted() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator/02-one");
    let root = tempfile::tempdir().unwrap();
    copy(&case.join("tree"), root.path());
    let attached = root.path().join("etc/syscontainers/attached");
    let good = fs::read_to_string(attached.join("good.json")).unwrap();
    let put = |name: &str, content: &[u8]| fs::write(attached.join(format!("{name}.json")), content).unwrap();
    let named = |name: &str| good.replace("good", name);
    nix::unistd::mkfifo(&attached.join("bad-fifo.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(attached.join("bad-directory.json")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(attached.join("bad-socket.json")).unwrap();
    symlink("bad-loop.json", attached.join("bad-loop.json")).unwrap();
    symlink("/nowhere", attached.join("bad-link.json")).unwrap();
    symlink("bad-fifo.json", attached.join("bad-link-to-fifo.json")).unwrap();
    let sparse = fs::File::create(attached.join("bad-sparse.json")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let keys: String = (0..1_000_000).map(|n| format!("\"{n}\": 0,")).collect();
    put("bad-keys", good.replacen('{', &format!("{{{keys}"), 1).as_bytes());
    put("bad-key", good.replacen('{', &format!("{{\"{}\": 0,", "k".repeat(900_000)), 1).as_bytes());
    put("bad-depth", "[".repeat(500_000).as_bytes());
    put("bad-utf8", &[b'{', b'"', 0xff, b'"', b'}']);
    put(
        "bad-unit",
        named("bad-unit").replace("[Service]", &format!("[Service]{}", "\\nA=1".repeat(70_000))).as_bytes(),
    );
    let lines = "\\nEnvironment=A=1".repeat(10_000);
    put("long", named("long").replace("[Service]", &format!("[Service]{lines}")).as_bytes());
    put("zzz", named("zzz").as_bytes());
    let outcome = run(&case, root.path());
    let body = |name: &str| outcome.files.get(&format!("{name}.service.d/00-syscontainer.conf"));
    // Large ones come last.
    let at = |name: &str| outcome.stderr.find(&format!("cannot generate {name}.service")).unwrap();
    assert!(at("bad-utf8") < at("bad-keys") && at("bad-utf8") < at("bad-depth"), "{}", outcome.stderr);
    let mut bad = 0;
    for entry in
        fs::read_dir(&attached).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
    {
        let name = entry.strip_suffix(".json").unwrap();
        let body = body(name).unwrap_or_else(|| panic!("{name} has no body:\n{}", outcome.stderr));
        assert_eq!(body.contains(&format!("{name} (broken: ")), name.starts_with("bad-"), "{name}:\n{body}");
        assert!(body.lines().all(|line| line.len() < 4096), "{name} has a long line");
        bad += usize::from(name.starts_with("bad-"));
    }
    assert_eq!(bad, 12);
    assert_eq!(body("long").unwrap().matches("\nEnvironment=A=1\n").count(), 5_000, "{}", lines.len());
    assert_eq!(body("zzz"), body("good").map(|body| body.replace("good", "zzz")).as_ref());
}

/// The same of declarations, which anybody may have put there who provisions a host.
#[test]
fn no_declaration_keeps_others_from_being_read() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator/02-one");
    let root = tempfile::tempdir().unwrap();
    copy(&case.join("tree"), root.path());
    let directory = root.path().join("etc/syscontainers");
    let put =
        |name: &str, content: &[u8]| fs::write(directory.join(format!("{name}.conf")), content).unwrap();
    let good = "[Container]\nImage=quay.io/web:1\n";
    ["aaa", "good", "zzz"].iter().for_each(|name| put(name, good.as_bytes()));
    nix::unistd::mkfifo(&directory.join("bad-fifo.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(directory.join("bad-directory.conf")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.join("bad-socket.conf")).unwrap();
    symlink("bad-loop.conf", directory.join("bad-loop.conf")).unwrap();
    symlink("/nowhere", directory.join("bad-link.conf")).unwrap();
    fs::File::create(directory.join("bad-sparse.conf")).unwrap().set_len(1 << 40).unwrap();
    put("bad-large", format!("{good}{}", "#\n".repeat(40_000)).as_bytes());
    put("bad-lines", "x\n".repeat(30_000).as_bytes());
    put("bad-section", format!("[{}\n", "[".repeat(60_000)).as_bytes());
    put("bad-percent", format!("{good}Label=a={}\n", "%".repeat(60_001)).as_bytes());
    put("bad-utf8", b"[Container]\nImage=\xff\n");
    put("bad-terminal", b"[Container]\nImage=\x1b[2J\n");
    put("unknown", format!("{good}{}", "a=1\n".repeat(100)).as_bytes());
    put("long", format!("{good}Label={}\n[Service]\nNice=1\n", "a=1 ".repeat(15_000)).as_bytes());
    put("not a name", good.as_bytes());
    let outcome = run(&case, root.path());
    let mut bad = 0;
    for entry in
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
    {
        let Some(name) = entry.strip_suffix(".conf").filter(|name| *name != "good") else { continue };
        let unit = outcome.files.get(&format!("{name}.service"));
        if name == "not a name" {
            assert_eq!(unit, None);
            continue;
        }
        let unit = unit.unwrap_or_else(|| panic!("{name} has no unit:\n{}", outcome.stderr));
        assert_eq!(unit.contains(&format!("{name} (broken: ")), name.starts_with("bad-"), "{name}:\n{unit}");
        let link = format!("multi-user.target.wants/syscontainer-install@{name}.service");
        assert_eq!(outcome.files.contains_key(&link), !name.starts_with("bad-"), "{link}");
        assert!(unit.lines().all(|line| line.len() < 4096), "{name} has a long line");
        bad += usize::from(name.starts_with("bad-"));
    }
    assert_eq!(bad, 12);
    let shown = |c: char| c == '\n' || !c.is_control();
    assert!(outcome.stderr.chars().all(shown) && outcome.stderr.lines().all(|line| line.len() < 8192));
    let body = |files: &BTreeMap<String, String>| files.get("good.service.d/00-syscontainer.conf").cloned();
    assert_eq!(body(&outcome.files), body(&files_of(&case.join("expected"))));
}
