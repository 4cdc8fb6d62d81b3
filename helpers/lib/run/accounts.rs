//! Entries of passwd(5) and group(5) for a payload whose user or group the image does not know, as with podman: many
//! programs want to know a name and a home.
//!
//! What the image has stays in front. The files are in the bundle, and mounted over the image's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, Error, Result};
use crate::system::files;

/// Size in bytes of a file of the image with accounts; one that is larger stays as it is.
const LIMIT: usize = 1 << 20;

/// Adds what is missing to the configuration of a start, whose root file system is `rootfs`, and whose bundle is
/// `directory`.
pub fn add(config: &mut Value, rootfs: &Path, directory: &Path) -> Result<()> {
    let id = |key: &str| config["process"]["user"][key].as_u64().unwrap_or(0);
    let (uid, gid) = (id("uid"), id("gid"));
    let home = config["process"]["cwd"].as_str().unwrap_or("/").replace([':', '\n'], "_");
    let entries = [
        ("/etc/passwd", uid, format!("{uid}:*:{uid}:{gid}:container user:{home}:/bin/sh\n")),
        ("/etc/group", gid, format!("{gid}:x:{gid}:{uid}\n")),
    ];
    for (path, id, entry) in entries {
        let what = || format!("cannot add an entry to {path}");
        if is_hidden(config, path) {
            continue;
        }
        let found = files::resolve_inside(rootfs, path.as_ref()).context(what)?;
        let found = rootfs.join(found.strip_prefix("/").unwrap_or(&found));
        let Ok(Some(text)) = files::read_bounded(&found, LIMIT) else { continue };
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if text.lines().any(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(id)) {
            continue;
        }
        text.push_str(if text.is_empty() || text.ends_with('\n') { "" } else { "\n" });
        let file = directory.join(path.trim_start_matches("/etc/"));
        files::replace_volatile(&file, (text + &entry).as_bytes(), 0o644).context(what)?;
        // Whatever this process's umask is.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).context(what)?;
        let mount = json!({
            "destination": path, "type": "bind", "source": file.to_string_lossy(),
            "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
        });
        let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
        mounts.ok_or_else(|| Error::new("mounts is not an array"))?.push(mount);
    }
    Ok(())
}

/// Whether something else is mounted at or above a path, so that the image's file is not seen.
fn is_hidden(config: &Value, path: &str) -> bool {
    let mounts = config.get("mounts").and_then(Value::as_array).into_iter().flatten();
    mounts
        .filter_map(|mount| mount["destination"].as_str())
        .any(|destination| Path::new(path).starts_with(destination))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn added(user: Value, mounts: Value, rootfs: &Path) -> (Vec<String>, String, String) {
        let bundle = tempfile::tempdir().unwrap();
        let mut config = json!({"process": {"user": user, "cwd": "/a:b"}, "mounts": mounts});
        add(&mut config, rootfs, bundle.path()).unwrap();
        let read = |file: &str| fs::read_to_string(bundle.path().join(file)).unwrap_or_default();
        let places = config["mounts"].as_array().unwrap().iter();
        let places = places.map(|mount| mount["destination"].as_str().unwrap().to_owned()).collect();
        (places, read("passwd"), read("group"))
    }

    #[test]
    fn who_is_nowhere_gets_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        let nobody = json!({"uid": 7, "gid": 8});
        // An image without these files does without.
        assert_eq!(added(nobody.clone(), json!([]), dir.path()).0, [""; 0]);
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh").unwrap();
        fs::write(dir.path().join("etc/group"), "root:x:0:\n").unwrap();
        let (places, passwd, group) = added(nobody.clone(), json!([]), dir.path());
        assert_eq!(places, ["/etc/passwd", "/etc/group"]);
        assert_eq!(passwd, "root:x:0:0::/root:/bin/sh\n7:*:7:8:container user:/a_b:/bin/sh\n");
        assert_eq!(group, "root:x:0:\n8:x:8:7\n");
        let known = added(json!({"uid": 0, "gid": 8}), json!([]), dir.path());
        assert_eq!((known.0, known.1), (vec!["/etc/group".to_owned()], String::new()));
        let hidden = added(nobody.clone(), json!([{"destination": "/etc"}]), dir.path());
        assert_eq!(hidden.0, ["/etc"]);
        // Links of the image lead to its own files.
        fs::rename(dir.path().join("etc/passwd"), dir.path().join("etc/other")).unwrap();
        symlink("/etc/other", dir.path().join("etc/passwd")).unwrap();
        assert!(added(nobody, json!([]), dir.path()).1.ends_with("/a_b:/bin/sh\n"));
    }
}
