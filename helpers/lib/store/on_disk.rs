//! Files as they are on disk, and the checksums that they have as objects: of owner, mode, extended attributes and content.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::attributes::Attributes;
use super::limits;
use crate::digest;
use crate::system::copy;
use crate::system::directory::{Directory, kind};

/// How much of a file is read at a time.
const CHUNK: usize = 1 << 20;

/// The checksum of a regular file or a symlink in a directory, `stat` being what is known of it; `None` if it is neither.
pub fn checksum(directory: &Directory, name: &OsStr, stat: &Stat) -> io::Result<Option<String>> {
    let attributes = attributes(directory, name, stat)?;
    let mut hasher = match kind(stat) {
        FileType::RegularFile => Sha256::new_with_prefix(attributes.file_header()),
        FileType::Symlink => {
            let target = directory.link_target(name)?;
            // An object has none that is not UTF-8.
            let target = target.to_string_lossy();
            return Ok(Some(digest::hex(&Sha256::digest(attributes.symlink_header(&target)))));
        }
        _ => return Ok(None),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(directory, name, flags, Mode::empty())?);
    update(&mut hasher, file)?;
    Ok(Some(digest::hex(&hasher.finalize())))
}

/// The checksum of a file that is an object by itself, as those of directories and commits are.
pub fn content(directory: &Directory, name: &OsStr) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(directory, name, flags, Mode::empty())?);
    let mut hasher = Sha256::new();
    update(&mut hasher, file)?;
    Ok(digest::hex(&hasher.finalize()))
}

fn update(hasher: &mut Sha256, mut file: File) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Owner, mode and extended attributes of a file in a directory, but for its SELinux label, which is the host's.
pub fn attributes(directory: &Directory, name: &OsStr, stat: &Stat) -> io::Result<Attributes> {
    // The one way to those of a symlink that is not a path from the root.
    let path = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string()).join(name);
    let mut xattrs = Vec::new();
    for name in names(&path)?.split(|byte| *byte == 0).filter(|name| copy::is_own(name)) {
        let value = value(&path, name)?;
        // libostree stores no empty one.
        if !value.is_empty() {
            xattrs.push(([name, &b"\0"[..]].concat(), value));
        }
    }
    xattrs.sort();
    Ok(Attributes { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777, xattrs })
}

fn names(path: &PathBuf) -> io::Result<Vec<u8>> {
    let mut names = vec![0; limits::XATTRS];
    match fs::llistxattr(path, names.as_mut_slice()) {
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        length => {
            names.truncate(length?);
            Ok(names)
        }
    }
}

fn value(path: &PathBuf, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0; limits::XATTRS];
    let length = fs::lgetxattr(path, name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}
