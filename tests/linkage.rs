//! What the programs load: the generator and the helpers of every start must not depend on libostree.

// As packages build them: with the feature, GNU ld keeps libraries that only discarded code refers to.
#![cfg(not(feature = "store"))]
#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn only_libc() {
    for program in [
        env!("CARGO_BIN_EXE_syscontainer-generator"),
        env!("CARGO_BIN_EXE_syscontainer-prepare"),
        env!("CARGO_BIN_EXE_syscontainer-start"),
        env!("CARGO_BIN_EXE_syscontainer-stop"),
        env!("CARGO_BIN_EXE_syscontainer-reconcile"),
        env!("CARGO_BIN_EXE_syscontainer-remove"),
    ] {
        let output = Command::new("ldd").arg(program).output().unwrap();
        assert!(output.status.success(), "ldd {program}");
        let text = String::from_utf8(output.stdout).unwrap();
        let loaded: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let allowed = |name: &&str| {
            ["linux-vdso.so.1", "libgcc_s.so.1", "libc.so.6"].contains(name) || name.contains("/ld-linux")
        };
        assert!(loaded.len() > 1 && loaded.iter().all(allowed), "{program}: {loaded:?}");
    }
}
