//! What the units of this package may do, as systemd-analyze(1) judges it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The highest exposure that needs no explanation.
const EXPOSURE: f64 = 3.0;

/// The services, by the names that they are installed by, with their texts.
fn services() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    let names =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter_map(|name| name.strip_suffix(".in").map(str::to_owned));
    let text = |name: &str| fs::read_to_string(directory.join(format!("{name}.in"))).unwrap();
    let placed = |text: String| {
        text.replace("@BINDIR@", "/usr/bin").replace("@LIBEXECDIR@", "/usr/libexec").replace("@AGAIN@", "")
    };
    names.map(|name| (name.clone(), placed(text(&name)))).collect()
}

fn analyze(name: &str, text: &str, option: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    let mut command = Command::new("systemd-analyze");
    let output =
        command.args(["security", "--offline=yes", "--no-pager", option]).arg(&path).output().ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("unrecognized option") {
        return None;
    }
    assert!(output.status.success(), "{name}: {stderr}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The settings of which systemd-analyze says that they are not as strict as they could be, and the total.
fn exposure(name: &str, text: &str) -> Option<(f64, Vec<String>)> {
    let total = analyze(name, text, "--json=off")?;
    let total = total.rsplit_once("Overall exposure level for ").unwrap().1.split_once(": ").unwrap().1;
    let total = total.split_whitespace().next().unwrap().parse().unwrap();
    let table: serde_json::Value = serde_json::from_str(&analyze(name, text, "--json=short")?).unwrap();
    let open =
        table.as_array().unwrap().iter().filter(|row| row["set"] == false && !row["exposure"].is_null());
    Some((total, open.map(|row| row["name"].as_str().unwrap().to_owned()).collect()))
}

/// Whether the comments of a unit name a setting, or one of several that it may be. Of a list of capabilities, system calls or
/// address families the setting is enough.
fn is_explained(setting: &str, text: &str) -> bool {
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let names = setting.split('/').map(|name| name.split('=').next().unwrap());
    names.into_iter().any(|name| comments.iter().any(|line| line.contains(&format!("{name}="))))
}

#[test]
fn services_are_confined_or_say_why_not() {
    let services = services();
    assert!(services.len() >= 6, "{}", services.len());
    for (name, text) in services {
        let Some((total, open)) = exposure(&name, &text) else {
            eprintln!("skipped: systemd-analyze is not there, or older than version 250");
            return;
        };
        println!("{name}: {total}");
        let unexplained: Vec<&String> = open.iter().filter(|setting| !is_explained(setting, &text)).collect();
        assert!(
            total <= EXPOSURE || unexplained.is_empty(),
            "{name}: {total}, and no comment says why {unexplained:?} are as they are"
        );
        // Even those are not far above.
        assert!(total <= EXPOSURE + 0.5, "{name}: {total}");
    }
}

#[test]
fn services_that_say_nothing_are_found() {
    let bare = "[Service]\nExecStart=/bin/true\n";
    let Some((total, open)) = exposure("bare.service", bare) else {
        eprintln!("skipped: systemd-analyze is not there, or older than version 250");
        return;
    };
    assert!(total > 9.0 && open.len() > 20, "{total}: {open:?}");
    assert!(open.iter().all(|setting| !is_explained(setting, bare)));
    assert!(is_explained("User=/DynamicUser=", "# User=: root\n") && !is_explained("UMask=", "UMask=0022\n"));
}
