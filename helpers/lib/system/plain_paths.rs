//! Paths without symlinks below a directory that others may have written, or be writing: none of them leads out of it,
//! and none is to a file that is waited for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

/// How often a path is resolved anew while something is renamed under it.
const ATTEMPTS: usize = 64;

/// A directory that is open.
#[derive(Debug)]
pub struct PlainPaths(OwnedFd);

impl PlainPaths {
    /// Opens a directory by a path that may contain symlinks.
    pub fn below(directory: &Path) -> io::Result<PlainPaths> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(PlainPaths(nix::fcntl::open(directory, flags, Mode::empty())?))
    }

    /// Opens a directory; `None` if there is none, or if there is a symlink in its path.
    pub fn directory(&self, path: &Path) -> io::Result<Option<PlainPaths>> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        for _ in 0..ATTEMPTS {
            return match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN) => continue,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
                opened => Ok(Some(PlainPaths(opened?))),
            };
        }
        Err(Errno::EAGAIN.into())
    }

    /// Opens the directory that a file is in; `None` as in [`PlainPaths::directory`].
    pub fn parent(&self, path: &Path) -> io::Result<Option<PlainPaths>> {
        self.directory(path.parent().unwrap_or(Path::new("")))
    }

    /// What is known of a file, which may be a symlink; `None` if there is none.
    pub fn find(&self, path: &Path) -> io::Result<Option<FileStat>> {
        let Some(parent) = self.parent(path)? else { return Ok(None) };
        match fstatat(&parent.0, path.file_name().unwrap_or_default(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Opens a regular file; `None` if there is none. Anything else is an error, and is not opened.
    pub fn open(&self, path: &Path) -> io::Result<Option<File>> {
        let not_regular = || io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
        match self.find(path)? {
            None => return Ok(None),
            Some(found) if kind(&found) == SFlag::S_IFREG => {}
            Some(_) => return Err(not_regular()),
        }
        let Some(parent) = self.parent(path)? else { return Ok(None) };
        let name = path.file_name().unwrap_or_default();
        // It may have been replaced meanwhile.
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = openat(&parent.0, name, flags, Mode::empty())?;
        if kind(&fstat(&file)?) == SFlag::S_IFREG { Ok(Some(file.into())) } else { Err(not_regular()) }
    }

    /// Reads a regular file of at most `limit` bytes; `None` if there is none.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut content = Vec::new();
        if file.take(limit + 1).read_to_end(&mut content)? as u64 > limit {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("it is larger than {limit} bytes")));
        }
        Ok(Some(content))
    }

    /// Names of what is in this directory, in order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::from_fd(self.0.try_clone()?)?.iter() {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Target of a symlink.
    pub fn read_link(&self, path: &Path) -> io::Result<OsString> {
        let parent = self.parent(path)?.ok_or(ErrorKind::NotFound)?;
        Ok(nix::fcntl::readlinkat(&parent.0, path.file_name().unwrap_or_default())?)
    }

    /// Makes a hard link to a file, which may be a symlink.
    pub fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let parent = self.parent(path)?.ok_or(ErrorKind::NotFound)?;
        let name = path.file_name().unwrap_or_default();
        Ok(nix::unistd::linkat(&parent.0, name, nix::fcntl::AT_FDCWD, target, AtFlags::empty())?)
    }
}

/// The type of a file.
pub fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_else_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::create_dir_all(dir.path().join("out/b")).unwrap();
        for path in [base.join("a/b/file"), dir.path().join("out/file"), dir.path().join("out/b/file")] {
            fs::write(path, "x").unwrap();
        }
        for (link, to) in [
            ("to-out", "../out"),
            ("to-root", "/"),
            ("near", "a"),
            ("loop", "loop"),
            ("a/file", "b/file"),
            ("proc", "/proc/self/root"),
        ] {
            symlink(to, base.join(link)).unwrap();
        }
        nix::unistd::mkfifo(&base.join("fifo"), Mode::S_IRWXU).unwrap();
        let paths = PlainPaths::below(&base).unwrap();
        let read = |path: &str| paths.read(Path::new(path), 1).map_err(|e| e.to_string());
        assert_eq!(read("a/b/file"), Ok(Some(b"x".to_vec())));
        for path in
            ["to-out/file", "to-out/b/file", "to-root/etc/passwd", "near/b/file", "loop/x", "proc/etc/passwd"]
        {
            assert_eq!(read(path), Ok(None), "{path}");
            assert!(paths.link(Path::new(path), &dir.path().join("linked")).is_err(), "{path}");
        }
        for path in ["fifo", "to-root", "near", "a", "a/file"] {
            assert_eq!(read(path), Err("it is not a regular file".into()), "{path}");
        }
        for path in ["../out/file", "a/../../out/file"] {
            assert!(read(path).is_err(), "{path}");
        }
        fs::write(base.join("large"), "xx").unwrap();
        assert!(read("large").unwrap_err().contains("larger than 1"));
        assert!(paths.directory(Path::new("near/b")).unwrap().is_none());
        assert_eq!(paths.directory(Path::new("a")).unwrap().unwrap().names().unwrap(), ["b", "file"]);
        assert_eq!(paths.read_link(Path::new("a/file")).unwrap(), "b/file");
        paths.link(Path::new("a/file"), &dir.path().join("linked")).unwrap();
        assert_eq!(fs::read_link(dir.path().join("linked")).unwrap(), Path::new("b/file"));
    }
}
