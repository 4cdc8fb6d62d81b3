use super::*;
use crate::steps;
use serde_json::json;

fn registration(unit: &str) -> Registration {
    let written = json!({
        "version": 1, "name": "x", "directory": "/d", "deployment": "x.1", "image": "i", "unit": unit,
        "digest": format!("sha256:{:064}", 0),
        "execution": {"notify": "created", "runtime": {"path": "/usr/bin/crun", "kind": "crun"}},
    });
    serde_json::from_value(written).unwrap()
}

/// Whatever the lines are: each is looked at a few times, however many others there are.
#[test]
fn long_units_take_no_longer_than_they_are() {
    for (what, line) in [
        ("settings", "Environment=\"A=1\""),
        ("the same commands", "ExecStartPre=/usr/libexec/syscontainers/syscontainer-start x"),
        ("resets", "ExecStartPre="),
        ("users", "User=u\nExecStop=/usr/libexec/syscontainers/syscontainer-stop x"),
        ("sections", "[X-N]\nA=1\n[Service]"),
        ("continued lines", "Environment=A=1 \\\n  B=2"),
    ] {
        steps::assert_linear(what, |size| {
            let lines: String = (0..size).map(|n| line.replace("X-N", &format!("X-{n}")) + "\n").collect();
            let registration = registration(&format!("[Service]\nExecStart=/bin/x\n{lines}"));
            stub(&registration).unwrap();
            let body = compose(&registration, &TreePath::from("/r.json")).unwrap();
            assert!(line.ends_with('=') || body.lines().count() > size, "{body}");
        });
    }
}

#[test]
fn units_have_an_end() {
    let long = format!("[Service]\nExecStart=/bin/x\n{}", "Environment=A=1\n".repeat(20_000));
    let error = compose(&registration(&long), &TreePath::from("/r.json")).unwrap_err().to_string();
    assert!(error.contains("larger than the limit of 256 KiB"), "{error}");
    // The reason may quote what is too long.
    let name = "x".parse().unwrap();
    let body =
        crate::container::broken::body(&name, &TreePath::from("/r.json"), &"y\n".repeat(1 << 20)).unwrap();
    assert!(body.len() < 4096 && body.contains("(broken: y\\ny"), "{body}");
}

#[test]
fn descriptions_are_seen_as_they_are() {
    let registration = registration("[Unit]\nDescription=a\u{202e}b\u{200b}\n[Service]\nExecStart=/bin/x\n");
    for unit in [stub(&registration), compose(&registration, &TreePath::from("/r.json"))] {
        assert!(unit.unwrap().contains("\nDescription=a\\u202eb\\u200b\n"));
    }
}

#[test]
fn lines_of_paths_are_not_too_long() {
    let mut registration = registration("[Service]\nExecStart=/bin/x\n");
    registration.mounts = (0..5000).map(|n| TreePath::new(format!("/srv/{n}"))).collect();
    let body = compose(&registration, &TreePath::from("/r.json")).unwrap();
    assert!(body.lines().all(|line| line.len() < 64 << 10) && body.contains("\"/srv/4999\""));
}

#[test]
fn lines_of_plain_images_have_no_priority() {
    let mut registration = registration("[Service]\nExecStart=/bin/x\n");
    let has_none = |registration: &Registration| {
        let body = compose(registration, &TreePath::from("/r.json")).unwrap();
        // Without that, those of our own programs would be in their messages.
        let is_known = body.contains("\nEnvironment=SYSCONTAINERS_LOG_PREFIX=no\n");
        let has_none = body.contains("\nSyslogLevelPrefix=no\n");
        assert_eq!(is_known, has_none);
        has_none
    };
    assert!(!has_none(&registration));
    registration.execution.confined = true;
    assert!(has_none(&registration));
}
