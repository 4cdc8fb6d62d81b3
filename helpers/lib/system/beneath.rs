//! Directories that others wrote: what is below one is found by its path, and nothing else is.
//!
//! Symlinks are followed as long as they stay below the directory. Nothing that is waited for is opened, and no device.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::system::files;

/// How often a path is resolved anew while something is renamed under it.
const ATTEMPTS: usize = 64;

/// A directory that is open.
#[derive(Debug)]
pub struct Beneath {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

/// What is known of a file.
pub struct Found {
    pub kind: FileType,
    pub stat: Stat,
}

/// Whether the last component of a path is followed if it is a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    Followed,
    NotFollowed,
}

impl Beneath {
    /// Opens a directory by its path. Symlinks are followed: it is the path of somebody who is trusted.
    pub fn open(path: &Path) -> io::Result<Beneath> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Beneath { fd: fs::open(path, flags, Mode::empty())?, path: path.to_path_buf() })
    }

    /// Opens a directory below this one; `None` if it does not exist.
    pub fn directory(&self, path: &Path) -> Result<Option<Beneath>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.resolve(path, flags, LastLink::NotFollowed)?;
        Ok(fd.map(|fd| Beneath { fd, path: self.path.join(path) }))
    }

    /// What is known of a file, which may be a symlink; `None` if it does not exist.
    pub fn find(&self, path: &Path) -> Result<Option<Found>> {
        let Some(fd) = self.resolve(path, OFlags::PATH, LastLink::NotFollowed)? else { return Ok(None) };
        let stat = fs::fstat(&fd).context(|| self.cannot_read(path))?;
        Ok(Some(Found { kind: FileType::from_raw_mode(stat.st_mode), stat }))
    }

    /// Reads a regular file of at most `limit` bytes; `None` if it does not exist.
    pub fn read(&self, path: &Path, limit: usize, last: LastLink) -> Result<Option<Vec<u8>>> {
        let what = || self.cannot_read(path);
        // What it is has to be known before it is opened.
        let Some(fd) = self.resolve(path, OFlags::PATH, last)? else { return Ok(None) };
        if FileType::from_raw_mode(fs::fstat(&fd).context(what)?.st_mode) != FileType::RegularFile {
            return Err(Error::new("it is not a regular file")).context(what);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(fd) = self.resolve(path, flags, last)? else { return Ok(None) };
        files::read_opened(File::from(fd), limit).context(what).map(Some)
    }

    /// Target of a symlink in this directory.
    pub fn link(&self, name: &OsStr) -> Result<PathBuf> {
        let target =
            fs::readlinkat(&self.fd, name, Vec::new()).context(|| self.cannot_read(name.as_ref()))?;
        Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }

    /// Looks at everything in this directory, in no order, until that fails.
    pub fn each(&self, mut look: impl FnMut(&OsStr, &Found) -> Result<()>) -> Result<()> {
        let what = || format!("cannot read {}", self.path.display());
        for entry in Dir::read_from(&self.fd).context(what)? {
            let entry = entry.context(what)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let stat = fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .context(|| self.cannot_read(name.as_ref()))?;
            look(name, &Found { kind: FileType::from_raw_mode(stat.st_mode), stat })?;
        }
        Ok(())
    }

    fn resolve(&self, path: &Path, flags: OFlags, last: LastLink) -> Result<Option<OwnedFd>> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let mut flags = flags | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, last == LastLink::NotFollowed);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(Errno::XDEV) => {
                    let why = format!("it leads out of {}, and is not followed", self.path.display());
                    return Err(Error::new(why)).context(|| self.cannot_read(path));
                }
                opened => return opened.map(Some).context(|| self.cannot_read(path)),
            }
        }
        Err(Error::new("it is being renamed")).context(|| self.cannot_read(path))
    }

    fn cannot_read(&self, path: &Path) -> String {
        format!("cannot read {}", self.path.join(path).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_else_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        std::fs::create_dir_all(below.join("a/b")).unwrap();
        std::fs::write(below.join("a/b/file"), "x").unwrap();
        std::fs::write(dir.path().join("file"), "out").unwrap();
        for (link, target) in [
            ("root", "/"),
            ("up", ".."),
            ("near", "a/b"),
            ("around", "a/../../file"),
            ("absolute", "/etc/passwd"),
            ("loop", "loop"),
            ("magic", "/proc/self/root"),
            ("to-file", "a/b/file"),
        ] {
            symlink(target, below.join(link)).unwrap();
        }
        nix::unistd::mkfifo(&below.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(below.join("socket")).unwrap();
        let directory = Beneath::open(&below).unwrap();
        let read = |path: &str, last| {
            let content = directory.read(Path::new(path), 10, last);
            content
                .map(|content| content.map(|text| String::from_utf8(text).unwrap()))
                .map_err(|e| e.to_string())
        };
        for path in ["a/b/file", "near/file"] {
            assert_eq!(read(path, LastLink::NotFollowed), Ok(Some("x".into())), "{path}");
        }
        assert_eq!(read("to-file", LastLink::Followed), Ok(Some("x".into())));
        assert_eq!(read("none/file", LastLink::Followed), Ok(None));
        for (path, why) in [
            ("root/etc/passwd", "leads out of"),
            ("up/file", "leads out of"),
            ("around", "leads out of"),
            ("absolute", "leads out of"),
            ("../file", "leads out of"),
            ("/etc/passwd", "leads out of"),
            ("loop", "symbolic links"),
            ("magic/etc/passwd", ""),
            ("fifo", "not a regular file"),
            ("socket", "not a regular file"),
            ("a", "not a regular file"),
        ] {
            let error = read(path, LastLink::Followed).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
        assert!(read("to-file", LastLink::NotFollowed).unwrap_err().contains("not a regular file"));
        std::fs::write(below.join("large"), "12345678901").unwrap();
        assert!(read("large", LastLink::Followed).unwrap_err().contains("larger than"));
        assert!(directory.directory(Path::new("near")).unwrap().is_none());
        assert!(directory.directory(Path::new("root/etc")).is_err());
        assert!(directory.directory(Path::new("near/..")).unwrap().is_some());
    }
}
