//! Every rule of syscontainer-lint has sources with one planted mistake, which it finds and nothing else, and sources without
//! one, in which nothing is found.
//!
//! `lint/RULE/bad` and `lint/RULE/good` hold what differs from `lint-base`: files that are added or replaced, and `FILE.none`
//! for FILE to be left out. `image.json` is the configuration of an image instead; `options` has what lint is called with.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn lint(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-lint"));
    command.args(arguments).env_remove("JOURNAL_STREAM").env_remove("SYSTEMD_SCOPE");
    // Images are pulled to there: /tmp may have no extended attributes.
    command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).output().unwrap()
}

fn rules() -> Vec<(String, String)> {
    let output = lint(&["--list", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let rules: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    rules.as_array().unwrap().iter().map(|rule| (text(rule, "rule"), text(rule, "severity"))).collect()
}

/// Exit status, and findings as rule, severity and the line that is printed.
fn findings(options: &[&str], target: &str) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = lint(&[options, &["--json", target]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "", "{target}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let printed = String::from_utf8(lint(&[options, &[target]].concat()).stdout).unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(printed.lines().count(), found.len(), "{printed}");
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let found = found.iter().zip(printed.lines());
    let found = found.map(|(f, line)| (text(f, "rule"), text(f, "severity"), line.to_owned()));
    (output.status.code(), found.collect())
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn git(directory: &Path, arguments: &[&str]) {
    assert!(Command::new("git").arg("-C").arg(directory).args(arguments).status().unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    for entry in
        WalkDir::new(from).into_iter().map(|entry| entry.unwrap()).filter(|e| e.file_type().is_file())
    {
        let path = to.join(entry.path().strip_prefix(from).unwrap());
        match path.to_str().unwrap().strip_suffix(".none") {
            Some(path) => fs::remove_file(path).unwrap(),
            None if path.ends_with(".as-base") || path.ends_with("/options") => {}
            None => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::copy(entry.path(), path).unwrap();
            }
        }
    }
}

/// What is to be checked, made of a fixture; `None`, and the reason printed, where that cannot be here.
fn make(rule: &str, kind: &str, directory: &Path) -> Option<String> {
    let fixture = tests().join("lint").join(rule).join(kind);
    if fixture.join("image.json").exists() {
        return image(&fs::read_to_string(fixture.join("image.json")).unwrap(), directory);
    }
    if fixture.join("web.conf").exists() {
        return Some(fixture.join("web.conf").to_str().unwrap().to_owned());
    }
    // A name that is not a container's would be another one.
    let sources = directory.join("sources");
    copy(&tests().join("lint-base"), &sources);
    copy(&fixture, &sources);
    if rule == "too-large" {
        let lines = "# a line\n".repeat(if kind == "bad" { 30_000 } else { 25_000 });
        let text = fs::read_to_string(sources.join("service.template")).unwrap() + &lines;
        fs::write(sources.join("service.template"), text).unwrap();
    }
    if (rule, kind) != ("no-git", "bad") {
        git(&sources, &["init", "--quiet"]);
        git(&sources, &["add", "--all"]);
    }
    if (rule, kind) == ("unstaged", "bad") {
        fs::write(
            sources.join("service.template"),
            fs::read_to_string(sources.join("service.template")).unwrap() + "\n",
        )
        .unwrap();
    }
    Some(sources.to_str().unwrap().to_owned())
}

fn image(config: &str, directory: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() || !has("skopeo") {
        eprintln!("skipped: images are pulled by root, with skopeo");
        return None;
    }
    let (layout, layer) = (directory.join("layout"), directory.join("layer"));
    // What the configurations of images run.
    for program in ["bin/web", "usr/bin/it"].map(|path| layer.join(path)) {
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    }
    let mut build = Command::new(tests().join("build-image"));
    build.args(["--bare", &format!("--config={config}")]).arg(&layout).arg(&layer);
    assert!(build.output().unwrap().status.success());
    Some(format!("oci:{}:latest", layout.display()))
}

#[test]
fn every_rule_has_bad_and_good_sources() {
    let rules = rules();
    for (rule, _) in &rules {
        for kind in ["bad", "good"] {
            let fixture = tests().join("lint").join(rule).join(kind);
            assert!(fixture.is_dir(), "{} is missing", fixture.display());
        }
    }
    for entry in fs::read_dir(tests().join("lint")).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(rules.iter().any(|(rule, _)| *rule == name), "there is no rule {name}");
    }
}

#[test]
fn finds_the_planted_mistake_only() {
    if !has("git") || !has("systemd-analyze") {
        eprintln!("skipped: git or systemd-analyze is not installed");
        return;
    }
    let mut wrong = Vec::new();
    for (rule, severity) in rules() {
        for kind in ["bad", "good"] {
            let directory = TempDir::new().unwrap();
            let Some(target) = make(&rule, kind, directory.path()) else { continue };
            let options = tests().join("lint").join(&rule).join(kind).join("options");
            let options = fs::read_to_string(options).unwrap_or_default();
            let options: Vec<&str> = options.lines().collect();
            let (status, found) = findings(&options, &target);
            let mut problems = Vec::new();
            let names: Vec<_> = found.iter().map(|(rule, severity, _)| (&**rule, &**severity)).collect();
            let expected = if kind == "bad" { vec![(&*rule, &*severity)] } else { vec![] };
            if names != expected {
                problems.push(format!("expected to be found: {expected:?}; found: {names:?}"));
            }
            if found.iter().any(|(rule, severity, line)| {
                !line.contains(&format!(": {severity}: ")) || !line.ends_with(&format!(" [{rule}]"))
            }) {
                problems.push("a line is not '…: SEVERITY: … [RULE]'".into());
            }
            let fails = kind == "bad" && severity == "error";
            if status != Some(i32::from(fails)) {
                problems.push(format!("the exit status is {status:?}"));
            }
            if kind == "bad" {
                let strict = lint(&[&options[..], &["--strict", &target]].concat());
                if strict.status.code() != Some(1) {
                    problems.push(format!("with --strict, the exit status is {:?}", strict.status.code()));
                }
                let skipped =
                    lint(&[&options[..], &["--strict", &format!("--skip={rule}"), &target]].concat());
                if (skipped.status.code(), skipped.stdout.len()) != (Some(0), 0) {
                    let text = String::from_utf8_lossy(&skipped.stdout);
                    problems
                        .push(format!("with --skip, the exit status is {:?}: {text}", skipped.status.code()));
                }
            }
            if !problems.is_empty() {
                let lines: String = found.iter().map(|(_, _, line)| format!("\n    {line}")).collect();
                wrong.push(format!("tests/lint/{rule}/{kind}: {}{lines}", problems.join("; ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where findings are, to the column.
#[test]
fn places_are_those_in_the_template() {
    let mut wrong = Vec::new();
    for (rule, place) in [
        ("readonly-root", "config.json.template:9:44: error: root.readonly must be true"),
        ("config-syntax", "config.json.template:7:9: error: invalid JSON: expected `,` or `}`"),
        ("no-default", "config.json.template:7:40: warning: PORT has no default value"),
        ("mount-type", "config.json.template:12:42: error: "),
        ("unit-syntax", "service.template:11:1: error: unknown section [Instal]"),
        ("unit-setting", "service.template:10:1: warning: "),
        ("double-limit", "service.template:10:1: warning: MemoryMax=2M "),
        ("maintainer", "Dockerfile:2:1: warning: "),
        ("manifest-key", "manifest.json:4:21: warning: "),
        ("unescapable", "tmpfiles.template:1:3: error: "),
    ] {
        let directory = TempDir::new().unwrap();
        let sources = directory.path().join("sources");
        copy(&tests().join("lint-base"), &sources);
        copy(&tests().join("lint").join(rule).join("bad"), &sources);
        let output = lint(&["--skip=no-git", sources.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = format!("{}/{place}", sources.display());
        if !text.lines().any(|line| line.starts_with(&expected)) {
            wrong.push(format!(
                "{rule}: expected a line that begins with\n{expected}\nbut these came:\n{text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rules that are found once one thing of the good sources is another.
#[test]
fn variations() {
    const CONFIG: &str = "config.json.template";
    const SERVICE: &str = "service.template";
    let mut wrong = Vec::new();
    for (file, from, to, rules) in [
        (
            CONFIG,
            "\"source\": \"proc\"}",
            &*mount(r#"{"destination": "/a", "source": "/etc"}"#),
            &["mount-type"][..],
        ),
        (
            CONFIG,
            "\"source\": \"proc\"}",
            &*mount(r#"{"destination": "/a", "source": "/etc", "options": ["rbind"]}"#),
            &[],
        ),
        (CONFIG, "\"/proc\"", "\"proc\"", &["relative-path"]),
        (CONFIG, "\"ociVersion\": \"1.0.2\",", "", &["oci-version"]),
        (
            CONFIG,
            "\"linux\": {",
            "\"linux\": {\"capabilities\": [\"CAP_X\"],",
            &["capability", "capability-list"],
        ),
        (
            CONFIG,
            "\"cwd\": \"/\"",
            "\"user\": {\"uid\": $ID, \"gid\": ${ID}}, \"cwd\": \"/\"",
            &["no-default"],
        ),
        (CONFIG, "[\"/usr/bin/it\"]", "[\"/usr/bin/it\" $ARGS]", &["no-default"]),
        (CONFIG, "[\"/usr/bin/it\"]", "[\"sh\", \"-ec\", \"trap : TERM; it\"]", &[]),
        (CONFIG, "[\"/usr/bin/it\"]", "[\"bash\", \"-l\", \"-c\", \"it\"]", &["stop-signal"]),
        (CONFIG, "{", "[", &["config-syntax"]),
        (CONFIG, "\"readonly\": true", "\"readonly\": \"yes\"", &["readonly-root"]),
        (SERVICE, "ExecStart=$EXEC_START\n", "", &["unit-syntax"]),
        (
            SERVICE,
            "ExecStart=$EXEC_START\n",
            "ExecStart=$EXEC_START\nExecStart=/bin/true\n",
            &["unit-syntax"],
        ),
        (SERVICE, "[Service]", "[Service]\nType=dbus", &["unit-syntax"]),
        (SERVICE, "[Service]", "[Service]\nRestart=$WHEN", &["no-default", "readable-variable"]),
        (SERVICE, "[Service]", "[Service]\n$LINES", &["no-default", "readable-variable"]),
        (SERVICE, "[Service]", "[Service]\nUser=it\nNice=5\nMemoryMax=1G", &["service-user"]),
        (SERVICE, "[Service]", "[Service]\nKey with blanks=1", &["unit-syntax"]),
        (SERVICE, "WantedBy=", "WantedBye=", &["unit-setting"]),
        ("manifest.json", "{", "{,", &["manifest-invalid"]),
        ("manifest.json", "{}", "{\"HOST_UID\": 0, \"UUID\": \"x\"}", &["forced-default"]),
        ("Dockerfile", "FROM", "# escape=`\nFROM", &[]),
        ("Dockerfile", "COPY config", "COPY --chown=0:0 ./config", &[]),
    ] {
        let (names, printed) = vary(file, from, to);
        if names != rules {
            wrong
                .push(format!("{file}, {from:?} is {to:?}: expected {rules:?}, found {names:?}:\n{printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn systemd_is_process_1() {
    let (names, printed) =
        vary("config.json.template", "[\"/usr/bin/it\"]", "[\"/bin/sh\", \"-c\", \"/sbin/init\"]");
    assert!(
        names == ["stop-signal"] && printed.contains("/bin/sh is process 1 as long as /sbin/init runs"),
        "{printed}"
    );
    let (names, printed) =
        vary("config.json.template", "[\"/usr/bin/it\"]", "[\"/sbin/init\", \"-c\", \"x\"]");
    assert!(names.is_empty(), "{printed}");
}

#[test]
fn options_that_contradict_the_image_or_each_other() {
    let directory = TempDir::new().unwrap();
    let Some(target) = image(r#"{"Cmd": ["/bin/web"], "User": "5"}"#, directory.path()) else { return };
    for (options, expected) in [
        (
            &["-oUser=nobody-of-it"][..],
            Some("cannot use User=nobody-of-it: its user \"nobody-of-it\" is not in"),
        ),
        (
            &["-oReadOnly=yes", "-oScratchSize=1G"],
            Some("ScratchSize= limits what is written to the root file system"),
        ),
        (&["-oTmpfs=/x", "-oVolume=/x"], Some("two of Volume=, Tmpfs= and Mount= are for /x")),
        (&["-oUser=7", "-oEntrypoint=it", "-oReadOnly=yes"], None),
        (&["-oUser=7", "-oUser=nobody-of-it", "-oUser="], None),
    ] {
        let (status, found) = findings(options, &target);
        let found: Vec<_> = found.iter().map(|(rule, _, line)| (&**rule, &**line)).collect();
        match expected {
            None => assert_eq!((status, found), (Some(0), vec![]), "{options:?}"),
            Some(text) => {
                assert!(
                    matches!(found[..], [("option", line)] if line.contains(text)),
                    "{options:?}: {found:?}"
                );
                assert_eq!(status, Some(1));
            }
        }
    }
}

/// A mount after that of /proc.
fn mount(text: &str) -> String {
    format!("\"source\": \"proc\"}},\n{text}")
}

/// The rules that the good sources break once a text of one of their files is another, sorted, and what is printed then.
fn vary(file: &str, from: &str, to: &str) -> (Vec<String>, String) {
    let directory = TempDir::new().unwrap();
    let sources = directory.path().join("sources");
    copy(&tests().join("lint-base"), &sources);
    let text = fs::read_to_string(sources.join(file)).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(sources.join(file), text.replacen(from, to, 1)).unwrap();
    let output = lint(&["--json", "--skip=no-git", sources.to_str().unwrap()]);
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut names: Vec<String> = found.iter().map(|f| f["rule"].as_str().unwrap().to_owned()).collect();
    names.sort();
    let printed = lint(&["--skip=no-git", sources.to_str().unwrap()]).stdout;
    (names, String::from_utf8(printed).unwrap())
}

/// What others begin with.
#[test]
fn nothing_is_wrong_with_the_example() {
    let example = tests().join("hello-world");
    // A tarball of this source is in no repository, and whoever works on the example has not staged it.
    let output = lint(&["--strict", "--skip=no-git", "--skip=unstaged", example.to_str().unwrap()]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), ""));
}

#[test]
fn calls_that_are_wrong() {
    let base = tests().join("lint-base");
    let base = base.to_str().unwrap();
    for arguments in [
        &["--skip=nothing", base][..],
        &["-oPod=x", base],
        &[],
        &["--list", base],
        &[base, base],
        &["--no"],
        &["ftp://x/y"],
    ] {
        let output = lint(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!((output.stdout.len(), String::from_utf8_lossy(&output.stderr).lines().count()), (0, 1));
    }
    for target in
        ["/nonexistent", "./nothing", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "/proc/sys"]
    {
        let output = lint(&[target]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{target}");
        assert!(
            stderr.starts_with("syscontainer-lint: cannot check ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}
