//! Quadlets: each directory below `tests/quadlet` is one run of the real program with all `.container` files in it, in order.
//! `expected` is what it prints, `stderr` what it says, and `status` how it ends; `UPDATE_EXPECTED=1` rewrites these. What
//! is converted without anything refused must be a declaration. And the table of the manual page is that of the code.

#![allow(clippy::unwrap_used)]

mod common;
mod differences;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Page;
use differences::unified_diff;
use syscontainers::declaration::files;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::quadlet::key::OTHERS;
use syscontainers::quadlet::keys::KEYS;
use syscontainers::quadlet::{self, Quadlet, SUFFIX};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quadlet")
}

/// The quadlets in a directory, sorted.
fn quadlets(directory: &Path) -> Vec<String> {
    common::names_in(directory).into_iter().filter(|name| name.ends_with(SUFFIX)).collect()
}

fn run(directory: &Path, arguments: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-from-quadlet"));
    command.args(arguments).current_dir(directory).env("SYSTEMD_LOG_TARGET", "console").output().unwrap()
}

fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn golden() {
    let (mut count, mut differences) = (0, String::new());
    for case in fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path()) {
        let output = run(&case, &quadlets(&case));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let status = format!("{}\n", output.status.code().unwrap());
        let parts = [("expected", text(output.stdout)), ("stderr", text(output.stderr)), ("status", status)];
        for (name, actual) in parts {
            let path = case.join(name);
            if std::env::var_os("UPDATE_EXPECTED").is_some() {
                fs::write(path, actual).unwrap();
                continue;
            }
            let expected = fs::read_to_string(&path).ok();
            differences += &unified_diff(&path.display().to_string(), expected.as_deref(), Some(&actual));
        }
        count += 1;
    }
    assert!(count >= 4 && differences.is_empty(), "{count} cases:\n{differences}");
}

/// Every file that is converted without anything refused is a declaration without warnings. `QUADLETS=DIR` also tries all
/// files below a directory.
#[test]
fn conversions_are_declarations() {
    let mut directories = vec![cases()];
    directories.extend(std::env::var_os("QUADLETS").map(PathBuf::from));
    let files = directories.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let files = files.filter(|path| path.to_str().is_some_and(|path| path.ends_with(SUFFIX)));
    let (mut good, mut refused, mut broken) = (0, 0, 0);
    for path in files {
        let Ok(quadlet) = Quadlet::read(&path) else {
            broken += 1;
            continue;
        };
        let conversion = quadlet::convert(&[quadlet]).remove(0);
        if conversion.is_refused() {
            refused += 1;
            continue;
        }
        let tree = tempfile::tempdir().unwrap();
        let directory = tree.path().join("etc/syscontainers");
        fs::create_dir_all(&directory).unwrap();
        let mut name = conversion.name.clone();
        fs::write(directory.join(format!("{name}.conf")), &conversion.text).unwrap();
        if name.ends_with('@') {
            let template = format!("{name}.conf");
            name += "instance";
            symlink(template, directory.join(format!("{name}.conf"))).unwrap();
        }
        let (root, name) = (Root::new(tree.path()), name.parse::<Name>().unwrap());
        let source = files::find(&root, &name).unwrap().unwrap();
        let declaration = files::read(&root, &name, &source);
        let declaration =
            declaration.unwrap_or_else(|e| panic!("{}: {e}\n{}", path.display(), conversion.text));
        assert!(declaration.warnings.is_empty(), "{}: {:?}", path.display(), declaration.warnings);
        assert!(declaration.choices.plain, "{}", path.display());
        good += 1;
    }
    println!("{good} converted, {refused} refused, {broken} not read");
    assert!(good >= 5 && refused >= 1 && broken >= 1);
}

#[test]
fn files_are_written_once_and_only_if_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("out")).unwrap();
    fs::write(path("good.container"), "[Container]\nImage=r.example/x\nNetwork=host\n").unwrap();
    fs::write(path("bad.container"), "[Container]\nImage=r.example/x\nPod=x.pod\n").unwrap();
    let template =
        "[Container]\nImage=r.example/x\nNetwork=none\n[Install]\nDefaultInstance=1\nWantedBy=a.target\n";
    fs::write(path("many@.container"), template).unwrap();
    let written = || common::names_in(&path("out"));
    let convert = |words: &[&str]| {
        let output = run(directory.path(), &arguments(words));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, _) = convert(&["--output=out", "good.container", "bad.container", "many@.container"]);
    assert_eq!((status, written()), (1, arguments(&["good.conf", "many@.conf", "many@1.conf"])));
    assert_eq!(fs::read_link(path("out/many@1.conf")).unwrap(), Path::new("many@.conf"));
    fs::write(path("out/good.conf"), "mine").unwrap();
    let (status, said) = convert(&["--output=out", "good.container"]);
    assert!(status == 1 && said.contains("it exists; replace it with --force"), "{said}");
    assert_eq!(fs::read_to_string(path("out/good.conf")).unwrap(), "mine");
    assert_eq!(convert(&["--output=out", "--force", "good.container", "many@.container"]).0, 0);
    assert!(fs::read_to_string(path("out/good.conf")).unwrap().contains("\nImage=r.example/x\n"));
    assert_eq!(convert(&["--output=out", "--force", "bad.container"]).0, 1);
    assert_eq!(written().len(), 3);
    for (words, expected) in [
        (&["good.conf"][..], 2),
        (&[], 2),
        (&["--force", "good.container"], 2),
        (&["none.container"], 3),
        (&["none.container", "good.container"], 1),
        (&["--output=none", "good.container"], 1),
    ] {
        assert_eq!(convert(words).0, expected, "{words:?}");
    }
}

/// The page has a row for each key, with the same words.
#[test]
fn the_manual_has_the_table() {
    let page = Page::read("helpers/syscontainer-from-quadlet.8");
    let (mut rows, mut section) = (Vec::new(), String::new());
    let mut lines = page.section("KEYS").iter().map(|line| common::plain(line));
    let mut raw = page.section("KEYS").iter();
    while let (Some(line), Some(source)) = (lines.next(), raw.next()) {
        if source.starts_with(".SS ") {
            section = line;
        } else if let [key, fate, note] = line.split('|').collect::<Vec<_>>()[..] {
            let note = if note == "T{" { (raw.next(), lines.next().unwrap()).1 } else { note.to_owned() };
            rows.push([section.clone(), key.to_owned(), fate.to_owned(), note]);
        }
    }
    rows.retain(|row| row[1] != "key");
    let wanted = KEYS.iter().map(|key| {
        let name = if key.name == OTHERS { OTHERS.to_owned() } else { format!("{}=", key.name) };
        [key.section.header().to_owned(), name, key.fate.as_str().to_owned(), key.note.to_owned()]
    });
    assert_eq!(rows, wanted.collect::<Vec<_>>());
}
