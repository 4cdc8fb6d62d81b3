//! What a payload needs in its root file system that the image may lack: entries of passwd(5) and group(5) for its user
//! and group, since many programs want to know a name and a home, its working directory, /run, and where older programs look
//! for mounts. All is as with podman.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::run::additions::Addition;
use crate::system::files;

/// Size in bytes of a file of the image with accounts; one that is larger stays as it is.
const LIMIT: usize = 1 << 20;
/// Where programs keep what lasts until they end, and expect a directory.
const RUN: &str = "/run";
const ETC: &str = "/etc";
/// Where they looked for mounts before they had /proc, and may still do.
const MTAB: &str = "mtab";
const MOUNTS: &str = "/proc/mounts";

/// The payload of a configuration, and the files of its image.
pub struct Payload<'a> {
    config: &'a BundleConfig,
    image: &'a Path,
    uid: u32,
    gid: u32,
}

impl<'a> Payload<'a> {
    /// The payload of a configuration of a plain image, whose paths are settled, see [`crate::run::places`].
    pub fn new(config: &'a BundleConfig, image: &'a Path) -> Payload<'a> {
        let ((uid, gid), id) = (config.user(), |id: u64| u32::try_from(id).unwrap_or(0));
        Payload { config, image, uid: id(uid), gid: id(gid) }
    }

    /// What is missing. What is in another file system, such as a volume, stays as it is there.
    pub fn lacks(&self) -> Result<Vec<Addition>> {
        let (uid, gid) = (self.uid, self.gid);
        let home = self.directory().replace([':', '\n'], "_");
        let user = format!("{uid}:*:{uid}:{gid}:container user:{home}:/bin/sh\n");
        let group = format!("{gid}:x:{gid}:{uid}\n");
        let what = |path: &str| format!("cannot examine its {path}");
        let entries = [("/etc/passwd", uid, user), ("/etc/group", gid, group)];
        let entries =
            entries.iter().map(|(path, id, entry)| self.entry(path, *id, entry).context(|| what(path)));
        let directories = [(self.directory(), (uid, gid)), (RUN, (0, 0)), (ETC, (0, 0))];
        let directories = directories
            .iter()
            .map(|(path, owner)| self.missing_directory(path, *owner).context(|| what(path)));
        let mtab = std::iter::once_with(|| self.mtab().context(|| what(MTAB)));
        let all: Result<Vec<_>> = entries.chain(directories).chain(mtab).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    fn directory(&self) -> &str {
        self.config.working_directory().unwrap_or("/")
    }

    /// The place that a path leads to; `None` if it is in another file system.
    fn find(&self, path: &str) -> Result<Option<PathBuf>> {
        let place = files::resolve_inside(self.image, path.as_ref())?;
        Ok((!self.is_mounted(&place)).then_some(place))
    }

    /// The image's file at a place.
    fn at(&self, place: &Path) -> PathBuf {
        self.image.join(place.strip_prefix("/").unwrap_or(place))
    }

    fn is_mounted(&self, place: &Path) -> bool {
        let mut mounts = self.config.mounts().filter_map(|mount| mount.destination());
        mounts.any(|there| place.starts_with(there))
    }

    /// An entry for a file, if there is one, and it has none with this number.
    fn entry(&self, path: &str, id: u32, entry: &str) -> Result<Option<Addition>> {
        let Some(path) = self.find(path)? else { return Ok(None) };
        let Ok(Some(text)) = files::read_bounded(&self.at(&path), LIMIT) else { return Ok(None) };
        let text = String::from_utf8_lossy(&text);
        let number = |line: &str| line.split(':').nth(2).and_then(|field| field.parse::<u32>().ok());
        if text.lines().any(|line| number(line) == Some(id)) {
            return Ok(None);
        }
        let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        Ok(Some(Addition::Entry { path, text: format!("{line}{entry}") }))
    }

    /// A directory for a user, unless there is something of that name.
    fn missing_directory(&self, path: &str, (uid, gid): (u32, u32)) -> Result<Option<Addition>> {
        let Some(path) = self.find(path)? else { return Ok(None) };
        let is_missing = self.at(&path).symlink_metadata().is_err();
        Ok(is_missing.then_some(Addition::Directory { path, uid, gid }))
    }

    /// The link, unless the image or a mount has anything there.
    fn mtab(&self) -> Result<Option<Addition>> {
        let Some(etc) = self.find(ETC)? else { return Ok(None) };
        let path = etc.join(MTAB);
        // One that is missing is made before.
        let has_room = self.at(&etc).symlink_metadata().map_or(true, |etc| etc.is_dir());
        if !has_room || self.is_mounted(&path) || self.at(&path).symlink_metadata().is_ok() {
            return Ok(None);
        }
        Ok(Some(Addition::Link { path, target: MOUNTS.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn settle(rootfs: &Path, user: Value, mounts: Value) -> (String, String) {
        let config = BundleConfig::of(json!({"process": {"user": user, "cwd": "/w/a:b"}, "mounts": mounts}));
        let lacks = Payload::new(&config, rootfs).lacks().unwrap();
        lacks.iter().for_each(|addition| addition.make(rootfs).unwrap());
        let read = |file: &str| fs::read_to_string(rootfs.join(file)).unwrap_or_default();
        (read("etc/passwd"), read("etc/group"))
    }

    #[test]
    fn who_is_nowhere_gets_an_entry_and_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let own = fs::metadata(dir.path()).unwrap();
        let (uid, gid) = (own.uid(), own.gid());
        let user = json!({"uid": uid, "gid": gid});
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        // An image without these files does without.
        assert_eq!(settle(dir.path(), user.clone(), json!([])), (String::new(), String::new()));
        assert!(!dir.path().join("etc/passwd").exists() && dir.path().join("w/a:b").is_dir());
        // Links of the image lead to its own files.
        symlink("other", dir.path().join("etc/passwd")).unwrap();
        fs::write(dir.path().join("etc/other"), "x:x:77777:0::/root:/bin/sh").unwrap();
        fs::write(dir.path().join("etc/group"), "x:x:77777:\n").unwrap();
        let covered = settle(dir.path(), user.clone(), json!([{"destination": "/etc"}]));
        assert!(!covered.0.ends_with('\n') && covered.1 == "x:x:77777:\n");
        let (passwd, group) = settle(dir.path(), user.clone(), json!([]));
        let entry = format!("{uid}:*:{uid}:{gid}:container user:/w/a_b:/bin/sh\n");
        assert_eq!(passwd, format!("x:x:77777:0::/root:/bin/sh\n{entry}"));
        assert_eq!(group, format!("x:x:77777:\n{gid}:x:{gid}:{uid}\n"));
        assert!(dir.path().join("run").is_dir());
        // Once.
        assert_eq!(settle(dir.path(), user, json!([])), (passwd, group));
    }

    #[test]
    fn mounts_are_found_where_they_were_before_proc() {
        let made = |prepare: &dyn Fn(&Path), mounts: Value| {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            settle(dir.path(), json!({}), mounts);
            let found = |path: &str| fs::read_link(dir.path().join(path)).ok();
            (found("etc/mtab"), found("usr/etc/mtab"))
        };
        let link = Some(PathBuf::from(MOUNTS));
        assert_eq!(made(&|_| (), json!([])), (link.clone(), None));
        let linked = |dir: &Path| {
            fs::create_dir_all(dir.join("usr/etc")).unwrap();
            symlink("usr/etc", dir.join("etc")).unwrap();
        };
        assert_eq!(made(&linked, json!([])), (link.clone(), link));
        for place in ["/usr/etc", "/usr/etc/mtab", "/usr"] {
            assert_eq!(made(&linked, json!([{"destination": place}])), (None, None), "{place}");
        }
        // What the image has is its own, wherever it leads.
        let own = |dir: &Path| {
            fs::create_dir(dir.join("etc")).unwrap();
            symlink("none", dir.join("etc/mtab")).unwrap();
        };
        assert_eq!(made(&own, json!([])), (Some("none".into()), None));
        made(&|dir| fs::write(dir.join("etc"), "").unwrap(), json!([]));
    }

    #[test]
    fn a_working_directory_in_a_volume_is_made_by_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        settle(dir.path(), json!({"uid": 0, "gid": 0}), json!([{"destination": "/w"}]));
        assert!(!dir.path().join("w").exists());
    }
}
