//! What the programs load: those that are built without libostree must not depend on it, or on anything but the C library.

// As packages build them: with the feature, GNU ld keeps libraries that only discarded code refers to.
#![cfg(not(feature = "store"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

#[test]
fn only_libc() {
    for program in common::programs().into_iter().filter(|program| !program.needs_store) {
        let output = Command::new("ldd").arg(program.path()).output().unwrap();
        assert!(output.status.success(), "ldd {program:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let loaded: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let allowed = |name: &&str| {
            ["linux-vdso.so.1", "libgcc_s.so.1", "libc.so.6"].contains(name) || name.contains("/ld-linux")
        };
        assert!(loaded.len() > 1 && loaded.iter().all(allowed), "{program:?}: {loaded:?}");
    }
}
