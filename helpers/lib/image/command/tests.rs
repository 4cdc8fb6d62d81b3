use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use super::*;
use crate::image::tree::Directory;
use crate::oci::config::Config;

/// A program of these headers: the class, and the loader that it names.
fn elf(is_64: bool, loader: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    let mut put = |at: usize, number: u64, size: usize| {
        bytes[at..at + size].copy_from_slice(&number.to_le_bytes()[..size]);
    };
    let length = loader.len() as u64 + 1;
    if is_64 {
        [(32, 64, 8), (54, 56, 2), (56, 2, 2)].iter().for_each(|(at, number, size)| put(*at, *number, *size));
        // The first header is another one.
        [(64, 6, 4), (120, 3, 4), (128, 0x180, 8), (152, length, 8)]
            .iter()
            .for_each(|(a, n, s)| put(*a, *n, *s));
    } else {
        [(28, 52, 4), (42, 32, 2), (44, 2, 2)].iter().for_each(|(at, number, size)| put(*at, *number, *size));
        [(52, 6, 4), (84, 3, 4), (88, 0x180, 4), (100, length, 4)]
            .iter()
            .for_each(|(a, n, s)| put(*a, *n, *s));
    }
    bytes[..6].copy_from_slice(if is_64 { b"\x7fELF\x02\x01" } else { b"\x7fELF\x01\x01" });
    bytes[0x180..0x180 + loader.len()].copy_from_slice(loader.as_bytes());
    bytes
}

fn image() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in ["usr/bin", "srv/bin", "lib", "opt"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    symlink("usr/bin", dir.path().join("bin")).unwrap();
    for (path, mode, content) in [
        ("usr/bin/sh", 0o755, elf(true, "/lib/ld.so")),
        ("usr/bin/env", 0o755, b"\x7fELF\x02\x01static".to_vec()),
        ("lib/ld.so", 0o755, b"\x7fELF\x02\x01".to_vec()),
        ("odd", 0o755, elf(true, "/lib64/ld-none.so")),
        ("odd32", 0o755, elf(false, "/lib/ld32.so")),
        ("good32", 0o755, elf(false, "/lib/ld.so")),
        ("cut", 0o755, elf(true, "/lib/ld-none.so")[..0x100].to_vec()),
        ("good", 0o755, b"#! /bin/sh -e\necho".to_vec()),
        ("by-env", 0o755, b"#!/usr/bin/env sh\n".to_vec()),
        ("by-env-none", 0o755, b"#!/usr/bin/env python3\n".to_vec()),
        ("by-env-options", 0o755, b"#!/usr/bin/env -S A=b python3\n".to_vec()),
        ("plain", 0o644, b"#!/bin/sh\n".to_vec()),
        ("none", 0o755, b"#!/bin/none\n".to_vec()),
        ("crlf", 0o755, b"#!/bin/sh\r\necho\r\n".to_vec()),
        ("crlf-argument", 0o755, b"#!/bin/sh -e\r\n".to_vec()),
        ("nested", 0o755, b"#!/none x\n".to_vec()),
        ("itself", 0o755, b"#!/itself\n".to_vec()),
        ("unknown", 0o755, b"echo\n".to_vec()),
        ("usr/bin/dull", 0o600, Vec::new()),
        ("srv/bin/go", 0o755, b"#!../bin/sh\n".to_vec()),
    ] {
        fs::write(dir.path().join(path), content).unwrap();
        fs::set_permissions(dir.path().join(path), Permissions::from_mode(mode)).unwrap();
    }
    dir
}

fn found(args: &[&str], cwd: &str) -> Option<String> {
    let dir = image();
    let config = json!({
        "process": {"args": args, "env": ["PATH=/usr/local/bin:/usr/bin", "PATH=/none"], "cwd": cwd},
        "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/opt", "type": "tmpfs"}],
    });
    fault(&Directory(dir.path().into()), &Config::new(config).normalised()).unwrap()
}

#[test]
fn what_can_be_run_is_left_alone() {
    for command in [
        "/bin/sh",
        "sh",
        "/good",
        "./good",
        "/by-env",
        "/by-env-options",
        "/good32",
        "/cut",
        "/itself",
        "/unknown",
        "/opt/mounted",
        "/proc/self/exe",
    ] {
        assert_eq!(found(&[command], "/"), None, "{command}");
    }
    assert_eq!(found(&["bin/go"], "/srv"), None);
    assert_eq!(found(&[], "/"), None);
}

#[test]
fn what_cannot_be_run_is_said_with_the_reason() {
    for (command, expected) in [
        ("/no/such", "/no/such is not in it"),
        ("/srv", "/srv is a directory"),
        ("/plain", "/plain is not executable"),
        ("/good/x", "/good/x is not a regular file"),
        ("bin/go", "bin/go is not in it"),
        ("go", "go is not in any directory of its PATH, \"/usr/local/bin:/usr/bin\""),
        ("dull", "dull is not executable"),
        ("/none", "/none needs /bin/none, which is not in it"),
        ("/nested", "/nested needs /none, which needs /bin/none, which is not in it"),
        ("/by-env-none", "/by-env-none needs python3, which is not in any directory of its PATH"),
        ("/odd", "/odd needs /lib64/ld-none.so, which is not in it"),
        ("/odd32", "/odd32 needs /lib/ld32.so, which is not in it"),
        ("/crlf", "/crlf has a first line that ends in CR LF"),
        ("/crlf-argument", "/crlf-argument has a first line that ends in CR LF"),
        ("", "\"\" is not the name of a program"),
        ("/a\u{1b}", "/a\\u{1b} is not in it"),
    ] {
        let fault = found(&[command], "/").unwrap_or_default();
        assert!(fault.starts_with(&format!("its command {expected}")), "{command}: {fault}");
    }
}
