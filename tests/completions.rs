//! The completions of shells, as each shell loads them, with the real programs; those that list names say what is set up here.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::programs;

/// Command lines, what they are completed to, and what bash is told besides.
const CASES: [(&str, &str, &str); 34] = [
    ("syscontainer-pull --c", "--container= --check", "-o nospace"),
    ("syscontainer-pull --ch", "--check", ""),
    ("syscontainer-pull --arch=a", "amd64 arm arm64", ""),
    ("syscontainer-pull --arch=p", "ppc64le", ""),
    ("syscontainer-pull --tls-verify ", "true false", ""),
    ("syscontainer-pull --container=", "web worker db", ""),
    ("syscontainer-pull --container=w", "web worker", ""),
    ("syscontainer-pull --container w", "web worker", ""),
    ("syscontainer-pull oci", "oci: oci-archive:", "-o nospace"),
    ("syscontainer-pull --container=web --j", "--json", ""),
    ("syscontainer-checkout ", "r.example/etcd:3 r.example:5000/web:latest r.example/x@sha256:12", ""),
    ("syscontainer-checkout r.example:5", "5000/web:latest", ""),
    ("syscontainer-checkout r.example:5000/web:l", "latest", ""),
    ("syscontainer-checkout r.example/x@s", "sha256:12", ""),
    ("syscontainer-checkout --update ", "web worker db", ""),
    ("syscontainer-checkout --update d", "db", ""),
    ("syscontainer-checkout --update --rebase=r.example/e", "r.example/etcd:3", ""),
    ("syscontainer-checkout --notify=", "no ready full", ""),
    ("syscontainer-checkout --set=A", "", ""),
    ("syscontainer-checkout --set A=", "", ""),
    ("syscontainer-checkout --root=DIRECTORY/s", "DIRECTORY/some", "-o filenames"),
    ("syscontainer-checkout --root DIRECTORY/s", "DIRECTORY/some", "-o filenames"),
    ("syscontainer-checkout --runtime=DIRECTORY/a", "DIRECTORY/a file", "-o filenames"),
    ("syscontainer-lint DIRECTORY/s", "DIRECTORY/some", "-o filenames"),
    ("syscontainer-lint DIRECTORY/a", "", "-o filenames"),
    ("syscontainer-lint --skip=no-", "no-dockerfile no-git no-default", ""),
    ("syscontainer-list --filter=", "name= state= image= digest= problem=", "-o nospace"),
    ("syscontainer-list --filter=n", "name=", "-o nospace"),
    ("syscontainer-list ", "--quiet --json --filter= --root= --help --version", ""),
    ("syscontainer-images r.example/", "r.example/etcd:3 r.example/x@sha256:12", ""),
    ("syscontainer-prune x r.example/e", "r.example/etcd:3", ""),
    ("syscontainer-remove --root=/x ", "below /x", ""),
    ("syscontainer-remove --nothing", "", ""),
    ("syscontainer-rollback d", "db", ""),
];

/// A directory with `bin/`, whose programs know of containers and images, and the completions as they are installed.
fn set_up() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = |below: &str| directory.path().join(below);
    let completions = Path::new(env!("CARGO_MANIFEST_DIR")).join("helpers/completions");
    for below in ["bin", "bash", "fish", "some"] {
        fs::create_dir(path(below)).unwrap();
    }
    fs::write(path("a file"), "").unwrap();
    for program in programs() {
        symlink(program.path(), path(&format!("bin/{}", program.name))).unwrap();
        symlink(completions.join("syscontainers.bash"), path(&format!("bash/{}", program.name))).unwrap();
        symlink(completions.join("syscontainers.fish"), path(&format!("fish/{}.fish", program.name)))
            .unwrap();
    }
    for (program, names) in [
        ("syscontainer-list", "web worker db"),
        ("syscontainer-images", "r.example/etcd:3 r.example:5000/web:latest r.example/x@sha256:12"),
    ] {
        let file = path(&format!("bin/{program}"));
        let real = fs::read_link(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n--quiet) printf '%s\\n' {names} ;;\n'--quiet --root=/x') echo 'below /x' ;;\n*) exec {} \"$@\" ;;\nesac\n",
            real.display()
        );
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    directory
}

/// Runs a shell with `bin/` on its path; `None` where it is not installed.
fn shell(directory: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let path = format!("{}:{}", directory.join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .env("PATH", path)
        .env("HOME", directory)
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory)
        .output();
    if output.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return None;
    }
    let output = output.unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && message.is_empty(), "{program} {arguments:?}: {message}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What bash does when the tabulator is pressed, but for showing it: `complete` says which function is called.
const BASH: &str = r#"
    compopt() { told+=" $*"; }
    . "bash/$1"
    function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\) .*/\1/')
    COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9 told=''
    COMP_WORDBREAKS=$' \t\n"\'@><=;|&(:'
    "$function" "$1" '' ''
    printf '%s|%s\n' "${COMPREPLY[*]}" "${told# }"
"#;

#[test]
fn bash_completes_options_values_and_operands() {
    let directory = set_up();
    let here = directory.path().to_str().unwrap();
    for (line, wanted, options) in CASES {
        let line = line.replace("DIRECTORY", here);
        let program = line.split(' ').next().unwrap();
        let found = shell(directory.path(), "bash", &["--norc", "-euc", BASH, "bash", program, &line]);
        let wanted = format!("{}|{options}\n", wanted.replace("DIRECTORY", here));
        assert_eq!(found.unwrap_or_else(|| panic!("there is no bash")), wanted, "{line}");
    }
}

#[test]
fn bash_replaces_whole_words_where_nothing_breaks_them() {
    let directory = set_up();
    let script = BASH.replace("\"\\'@><=;|&(:", "");
    for (line, wanted) in [
        ("syscontainer-checkout r.example:5", "r.example:5000/web:latest|\n"),
        ("syscontainer-pull --container=d", "--container=db|\n"),
    ] {
        let program = line.split(' ').next().unwrap();
        let found = shell(directory.path(), "bash", &["--norc", "-euc", &script, "bash", program, line]);
        assert_eq!(found.unwrap(), wanted, "{line}");
    }
}

/// Where fish is installed: it completes a line by itself.
#[test]
fn fish_completes_options_values_and_operands() {
    let directory = set_up();
    for (line, wanted) in [
        ("syscontainer-pull --c", "--check --container"),
        ("syscontainer-pull --container=w", "--container=web --container=worker"),
        ("syscontainer-pull oci", "oci-archive: oci:"),
        ("syscontainer-pull --container=web ", ""),
        ("syscontainer-checkout r.example/e", "r.example/etcd:3"),
        ("syscontainer-checkout --update d", "db"),
        ("syscontainer-checkout --notify ", "full no ready"),
        ("syscontainer-checkout --root=so", "--root=some/"),
        ("syscontainer-list --filter=n", "--filter=name="),
    ] {
        let script =
            "set -p fish_complete_path fish; complete -C $argv[1] | string replace -r '\\t.*' '' | sort";
        let Some(found) = shell(directory.path(), "fish", &["--no-config", "-c", script, line]) else {
            return;
        };
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), wanted, "{line}");
    }
}

/// Where zsh is installed: it can read the file. Only an interactive one completes.
#[test]
fn zsh_reads_its_completion() {
    let directory = set_up();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/helpers/completions/_syscontainers");
    assert!(common::file(file).starts_with("#compdef -p syscontainer-*\n"));
    let _ = shell(directory.path(), "zsh", &["-n", file]);
}
