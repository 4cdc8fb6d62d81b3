//! The names that a payload resolves: /etc/resolv.conf, /etc/hosts and /etc/hostname of a plain image, which shares the
//! host's network.
//!
//! The first two are the host's own files, which the payload can read: what is changed in them is seen at once; a file
//! that takes the place of one is seen from the next start on. Where they cannot be bound, and for a container with a
//! host name of its own, there are copies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::error::{Context, Error, Result};
use crate::oci::mount::Mount;
use crate::paths::{Root, TreePath};
use crate::program::log;
use crate::system::directory::{self, Directory, Links};
use crate::system::files;

/// Size in bytes of a file of the host's that is copied.
const LIMIT: usize = 1 << 20;
/// The kernel's name of the host.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// What a host resolves that has no /etc/hosts.
const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// What a payload finds in the place of a file.
enum Content {
    /// A file of the host's.
    Bound(PathBuf),
    Written(Vec<u8>),
}

/// Where the names go.
pub struct Names<'a> {
    /// The host's tree.
    pub root: &'a Root,
    /// The root file system of the container, which may be written to, by nobody else yet.
    pub rootfs: &'a Path,
    /// A directory for files of the container's own; without one, they are in the root file system, and nothing is
    /// bound: the payload cannot read what has not the label of its root file system.
    pub directory: Option<&'a Path>,
}

impl Names<'_> {
    /// Adds them to a configuration, whose paths are settled, see [`crate::run::places`]. What is in another file system
    /// already, such as a volume, stays as it is there.
    pub fn add(&self, config: &mut Value) -> Result<()> {
        let own = config.get("hostname").and_then(Value::as_str).map(str::to_owned);
        let name = own.clone().map_or_else(|| self.host_name(), Ok)?;
        config["hostname"] = json!(name);
        let covered: Vec<_> = Mount::all(config).filter_map(|mount| mount.destination()).collect();
        let hosts = match own {
            None => self.of_host("/etc/hosts", LOCALHOST)?,
            Some(own) => self.hosts_with(&own)?,
        };
        for (file, content) in [
            ("resolv.conf", self.of_host("/etc/resolv.conf", "")?),
            ("hosts", hosts),
            ("hostname", Content::Written(format!("{name}\n").into_bytes())),
        ] {
            let mount =
                self.place(file, content, &covered).context(|| format!("cannot give it /etc/{file}"))?;
            let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
            mounts.ok_or_else(|| Error::new("the configuration has no mounts"))?.extend(mount);
        }
        Ok(())
    }

    /// What the host is called now.
    fn host_name(&self) -> Result<String> {
        let name =
            fs::read_to_string(self.root.join(HOST_NAME)).context(|| format!("cannot read {HOST_NAME}"))?;
        Ok(name.trim_end().to_owned())
    }

    /// The host's file, whatever links lead to it.
    fn of_host(&self, path: &str, otherwise: &str) -> Result<Content> {
        let real = files::resolve_inside(self.root.path(), path.as_ref())?;
        let real = self.root.join(&TreePath::new(real));
        match fs::metadata(&real) {
            Ok(found) if found.is_file() && found.mode() & 0o004 != 0 => Ok(Content::Bound(real)),
            // Its modes are for users of the host. Somewhere else, it may be a file that is for nobody but root.
            Ok(found) if found.is_file() && real == self.root.path().join(path.trim_start_matches('/')) => {
                self.copied(&real)
            }
            _ => Ok(Content::Written(otherwise.into())),
        }
    }

    fn copied(&self, path: &Path) -> Result<Content> {
        let content =
            files::read_bounded(path, LIMIT).context(|| format!("cannot read {}", path.display()))?;
        Ok(Content::Written(content.unwrap_or_default()))
    }

    /// The host's, and a name of the container's own.
    fn hosts_with(&self, name: &str) -> Result<Content> {
        let mut hosts = match self.of_host("/etc/hosts", LOCALHOST)? {
            Content::Bound(path) => self.copied(&path)?.into_bytes(),
            content => content.into_bytes(),
        };
        if hosts.last().is_some_and(|last| *last != b'\n') {
            hosts.push(b'\n');
        }
        hosts.extend(format!("127.0.1.1 {name}\n").bytes());
        Ok(Content::Written(hosts))
    }

    /// Puts a file in its place in the root file system, and returns what is to be mounted there.
    fn place(&self, file: &str, content: Content, covered: &[PathBuf]) -> Result<Option<Value>> {
        let etc = files::resolve_inside(self.rootfs, "/etc".as_ref())?;
        let place = etc.join(file);
        if covered.iter().any(|above| place.starts_with(above)) {
            return Ok(None);
        }
        if !self.make_room(&etc, file.as_ref())? {
            log::warning(&format!("the image has a directory {}, leaving it as it is", place.display()));
            return Ok(None);
        }
        let inside = self.rootfs.join(place.strip_prefix("/").unwrap_or(&place));
        let source = match (content, self.directory) {
            (Content::Bound(path), Some(_)) => path,
            (content, Some(directory)) => {
                let own = directory.join(file);
                files::replace_volatile(&own, &content.into_bytes(), 0o644)?;
                own
            }
            (Content::Bound(path), None) => return self.write(&inside, self.copied(&path)?).map(|()| None),
            (content, None) => return self.write(&inside, content).map(|()| None),
        };
        Ok(Some(json!({
            "destination": place.to_string_lossy(), "type": "bind", "source": source.to_string_lossy(),
            "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
        })))
    }

    fn write(&self, path: &Path, content: Content) -> Result<()> {
        files::replace_volatile(path, &content.into_bytes(), 0o644)
    }

    /// Makes a regular file of whatever the image has, unless that is a directory.
    fn make_room(&self, etc: &Path, file: &OsStr) -> Result<bool> {
        let image =
            Directory::open(self.rootfs).context(|| format!("cannot open {}", self.rootfs.display()))?;
        let inside = self.rootfs.join(etc.strip_prefix("/").unwrap_or(etc));
        // Nothing in its path is a link.
        fs::create_dir_all(&inside).context(|| format!("cannot create {}", inside.display()))?;
        let directory = image.directory(etc.strip_prefix("/").unwrap_or(etc), Links::Refused);
        let directory = directory.context(|| format!("cannot open {}", inside.display()))?;
        let path = directory.path_of(file);
        let found = directory.stat_of(file).context(|| format!("cannot look at {}", path.display()))?;
        match found.as_ref().map(directory::kind) {
            Some(FileType::RegularFile) => return Ok(true),
            Some(FileType::Directory) => return Ok(false),
            Some(_) => files::remove(&path).map(|_| ())?,
            None => {}
        }
        let made = fs::File::create_new(&path)
            .and_then(|made| made.set_permissions(fs::Permissions::from_mode(0o644)));
        made.context(|| format!("cannot create {}", path.display()))?;
        Ok(true)
    }
}

impl Content {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Content::Bound(_) => Vec::new(),
            Content::Written(content) => content,
        }
    }
}

#[cfg(test)]
mod tests;
