//! What a prune takes and leaves, as data.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "store/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "store/layout.rs"]
mod layout;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use host::{Host, contents};
use layout::{Layer, Layout, file};
use serde_json::Value;

/// Runs a prune of the host's repository; there are no deployments.
fn prune(host: &Host, args: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-prune"));
    command.arg(format!("--repo={}", host.repo().display())).arg("--json").args(args);
    command.env("ATOMIC_OSTREE_CHECKOUT_PATH", host.path("deployments"));
    let outcome = host.run(command);
    (outcome.status, serde_json::from_str(&outcome.stdout).unwrap_or_default())
}

fn names(report: &Value, list: &str, kind: &str) -> Vec<String> {
    let items = report[list].as_array().unwrap();
    let items = items.iter().filter(|item| item["kind"] == kind);
    let names = items.map(|item| item["name"].as_str().unwrap().to_owned());
    // Each of them says why.
    assert!(report[list].as_array().unwrap().iter().all(|item| item["reason"].as_str().unwrap().len() > 5));
    names.collect()
}

/// The ref of an image.
fn reference(host: &Host, name: &str) -> PathBuf {
    let encoded = name.replace('_', "_5F").replace('/', "_2F").replace(':', "_3A");
    host.repo().join("refs/heads/ociimage").join(encoded)
}

fn set_age(host: &Host, name: &str, days: u64) {
    let time = SystemTime::now() - Duration::from_secs(days * 86_400);
    File::open(reference(host, name)).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_prune_says_what_it_takes_and_leaves() {
    let Some(host) = Host::new() else { return };
    let base = Layer::of(&[file("base", "b")]);
    let one = host.write("one", &Layout::new([base.clone(), Layer::of(&[file("one", "1")])]));
    let two = host.write("two", &Layout::new([base, Layer::of(&[file("two", "2")])]));
    host.pull(&one);
    host.pull(&two);
    set_age(&host, &one, 8);
    set_age(&host, &two, 6);
    let (status, dry) = prune(&host, &["--dry-run"]);
    assert_eq!((status, &dry["dry-run"], &dry["failed"]), (Some(0), &true.into(), &Value::Array(vec![])));
    let (status, report) = prune(&host, &[]);
    assert_eq!(status, Some(0));
    for key in ["removed", "objects", "bytes"] {
        assert_eq!(dry[key], report[key], "{key}");
    }
    assert!(report["objects"].as_u64().unwrap() > 3 && report["bytes"].as_u64().unwrap() > 300);
    assert_eq!(names(&report, "removed", "image"), [one]);
    assert_eq!(names(&report, "removed", "layer").len(), 1);
    assert_eq!(names(&report, "kept", "image"), std::slice::from_ref(&two));
    assert_eq!(names(&report, "kept", "layer").len(), 2);
    host.fsck();
    assert_eq!(contents(&host.checkout(&two)), "base=b two=2");
    // Nothing is done twice; and what is unchanged counts as pulled today.
    host.pull(&two);
    let (_, report) = prune(&host, &["--keep-for=5d"]);
    assert_eq!((&report["objects"], &report["bytes"]), (&0.into(), &0.into()));
    // Layers that no image has are those of a pull that was cut.
    fs::remove_file(reference(&host, &two)).unwrap();
    let (_, report) = prune(&host, &[]);
    assert_eq!(names(&report, "removed", "layer").len(), 2);
    assert_eq!(prune(&host, &["two"]).0, Some(3));
    assert_eq!(prune(&host, &["--keep-for=soon"]).0, Some(2));
    let left: Vec<_> = host.inside().into_keys().filter(|path| path.is_file()).collect();
    assert_eq!(left, [host.repo().join(".lock"), host.repo().join("config")]);
}
