//! Presets, systemd.preset(5): which units are enabled when they are installed.
//!
//! systemd says that only of units that are there. So it is asked in a tree that has a unit of the name, and this one's presets.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{Context, Result};
use crate::name::Name;
use crate::paths::{Root, SYSTEMCTL, TreePath};
use crate::system::command::{collect, run};
use crate::system::{files, tree};

/// Directories of presets, as systemd reads them.
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    "/usr/local/lib/systemd/system-preset",
    "/usr/lib/systemd/system-preset",
];
/// Where the unit is in the tree.
const UNITS: &str = "etc/systemd/system";
/// A unit that can be enabled.
const UNIT: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
/// Maximum size of a file with presets, in bytes.
const MAX_SIZE: usize = 1 << 20;

/// Whether the presets of a tree enable the unit of a container.
pub fn enables(root: &Root, name: &Name) -> Result<bool> {
    let what = || format!("cannot find out whether presets enable {}", name.unit());
    let tree = files::temporary_directory(&std::env::temp_dir(), "syscontainers-preset-").context(what)?;
    fill(root, name, tree.path()).context(what)?;
    let systemctl = || {
        let mut command = Command::new(SYSTEMCTL);
        command.arg(format!("--root={}", tree.path().display())).arg("--quiet");
        command
    };
    run(systemctl().args(["preset", "--", &name.unit()])).context(what)?;
    let enabled = collect(systemctl().args(["is-enabled", "--", &name.unit()])).context(what)?;
    Ok(enabled.status.success())
}

fn fill(root: &Root, name: &Name, to: &Path) -> Result<()> {
    files::make_directory(&to.join(UNITS), 0o755)?;
    files::replace_volatile(&to.join(UNITS).join(name.unit()), UNIT.as_bytes(), 0o644)?;
    for directory in DIRECTORIES {
        let copy = to.join(directory.trim_start_matches('/'));
        let directory = TreePath::from(directory);
        let names = files::names(&tree::place(root, &directory)?)?;
        for file in names.iter().filter(|file| file.ends_with(".preset")) {
            let path = tree::place(root, &directory.join(file))?;
            // One that is masked is a link to /dev/null, and hides those of its name elsewhere.
            let is_masked = fs::metadata(&path).is_ok_and(|file| !file.is_file());
            let text = if is_masked { None } else { files::read_bounded(&path, MAX_SIZE)? };
            files::make_directory(&copy, 0o755)?;
            files::replace_volatile(&copy.join(file), &text.unwrap_or_default(), 0o644)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_decides() {
        if !Path::new(SYSTEMCTL).exists() {
            eprintln!("skipped: there is no systemctl");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let is_enabled = |name: &str| enables(&root, &name.parse().unwrap()).unwrap();
        assert!(is_enabled("web"));
        write("usr/lib/systemd/system-preset/90-default.preset", "enable db.service\ndisable *\n");
        assert_eq!((is_enabled("web"), is_enabled("db")), (false, true));
        write("etc/systemd/system-preset/10-site.preset", "enable web*\n");
        assert!(is_enabled("web") && !is_enabled("other"));
        // One that is empty hides the other of its name.
        write("etc/systemd/system-preset/90-default.preset", "");
        assert!(is_enabled("other"));
        // Links are followed as programs in the tree see them.
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("a.preset"), "disable other.service\n").unwrap();
        write(outside.path().strip_prefix("/").unwrap().join("b.preset").to_str().unwrap(), "disable web*\n");
        fs::remove_dir_all(root.path().join("etc/systemd/system-preset")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("etc/systemd/system-preset")).unwrap();
        write("usr/lib/systemd/system-preset/90-default.preset", "");
        assert_eq!((is_enabled("web"), is_enabled("other")), (false, true));
    }
}
