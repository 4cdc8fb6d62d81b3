//! Whether a payload may open its output by name, `/dev/stdout` and the like: `Output=auto`.
//!
//! A payload that is wrongly taken for one that does has a process that it does not need; the other way round, it would
//! not work. So whatever cannot be looked at, or not to the end, counts.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use crate::container::output::{KEY, Output};
use crate::container::settings::Settings;
use crate::container::volume::Volume;

/// How much of an image is read, in bytes and in files.
const BYTES: u64 = 4 << 30;
const ENTRIES: usize = 1 << 20;
/// How much is read at once; names that cross the border are found, too.
const BLOCK: usize = 256 << 10;
const OVERLAP: usize = 64;

/// Keys by which an administrator brings what is not looked at.
const FOREIGN: [&str; 3] = ["EnvironmentFile", "Mount", "Volume"];

/// Directories whose files nobody runs or reads settings from.
const SILENT: [&str; 16] = [
    "dev",
    "proc",
    "sys",
    "usr/include",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/licenses",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
    "usr/local/share/doc",
    "usr/local/share/man",
    "var/cache/apt",
    "var/lib/apt",
    "var/lib/dpkg",
];
/// Texts for readers.
const DOCUMENTS: [&str; 3] = ["md", "rst", "html"];
/// Programs that are compressed archives, with their settings, such as logback.xml: what these name cannot be seen.
const SEALED: [&str; 4] = ["ear", "jar", "pyz", "war"];

/// Programs that open what somebody tells them to open, whose names they know: what tells them is looked at.
const TOOLS: [&str; 16] = [
    "awk",
    "bash",
    "busybox",
    "find",
    "gawk",
    "gencat",
    "mawk",
    "nawk",
    "original-awk",
    "perl",
    "script",
    "sed",
    "sh",
    "tar",
    "tee",
    "toybox",
];
const PROGRAMS: [&str; 6] = ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"];

/// What is known of a container.
pub struct Payload<'a> {
    /// What the administrator decided.
    pub settings: &'a Settings,
    /// The runtime configuration.
    pub config: &'a str,
    pub volumes: &'a [Volume],
    /// The root file system; `None` if it is not of an image.
    pub rootfs: Option<&'a Path>,
}

impl Payload<'_> {
    /// What its output is to be, if it is that of an image without a configuration of its own.
    pub fn output(&self) -> Output {
        match Output::chosen(self.settings.last(KEY)) {
            Some(chosen) => chosen,
            None if self.may_open_it() => Output::Pipe,
            None => Output::Journal,
        }
    }

    fn may_open_it(&self) -> bool {
        let is_foreign = FOREIGN.iter().any(|key| self.settings.all(key).next().is_some());
        let keeps_settings = self.volumes.iter().any(|volume| is_for_settings(&volume.destination));
        is_foreign
            || keeps_settings
            || Kind::Text.names_it(self.config.as_bytes())
            || self.rootfs.is_none_or(|rootfs| image_names_it(rootfs).unwrap_or(true))
    }
}

/// Whether settings are kept in a volume, and so may be changed there.
fn is_for_settings(volume: &Path) -> bool {
    let mut names = volume.iter().map(|name| name.to_string_lossy().to_lowercase());
    names.any(|name| name == "etc" || name.contains("conf"))
}

/// Whether something in an image names it; fails if not everything can be looked at.
fn image_names_it(rootfs: &Path) -> std::io::Result<bool> {
    let (mut bytes, mut entries) = (BYTES, ENTRIES);
    let mut buffer = vec![0; OVERLAP + BLOCK];
    let below = |entry: &DirEntry| entry.path().strip_prefix(rootfs).unwrap_or(entry.path()).to_owned();
    let is_silent = |entry: &DirEntry| SILENT.iter().any(|silent| below(entry) == Path::new(silent));
    let is_not_followed = WalkDir::new(rootfs).follow_links(false).follow_root_links(false);
    for entry in is_not_followed.into_iter().filter_entry(|entry| !is_silent(entry)) {
        let entry = entry?;
        entries = entries.checked_sub(1).ok_or_else(too_much)?;
        let found = if entry.file_type().is_symlink() {
            Kind::Text.names_it(fs::read_link(entry.path())?.as_os_str().as_bytes())
        } else if entry.file_type().is_file() && is_read(&below(&entry)) {
            has_extension(entry.path(), &SEALED) || file_names_it(entry.path(), &mut buffer, &mut bytes)?
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file is one that a payload may run or take settings from.
fn is_read(path: &Path) -> bool {
    let is_document = has_extension(path, &DOCUMENTS);
    let (directory, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    let is_tool = PROGRAMS.iter().any(|programs| directory == Path::new(programs))
        && TOOLS.iter().any(|tool| name == *tool);
    !is_document && !is_tool
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|own| extensions.iter().any(|extension| own == *extension))
}

fn file_names_it(path: &Path, buffer: &mut [u8], bytes: &mut u64) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let (mut kind, mut kept) = (None, 0);
    loop {
        let read = file.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        *bytes = bytes.checked_sub(read as u64).ok_or_else(too_much)?;
        let end = kept + read;
        let kind = *kind.get_or_insert_with(|| Kind::of(&buffer[..end]));
        if kind.names_it(&buffer[..end]) {
            return Ok(true);
        }
        kept = end.min(OVERLAP);
        buffer.copy_within(end - kept..end, 0);
    }
}

fn too_much() -> std::io::Error {
    std::io::Error::other("it is too large to be looked at")
}

/// What a file is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Names are written out there. What a program makes a name of, such as `/proc/self/fd/%d`, is in every library.
    Binary,
}

impl Kind {
    fn of(start: &[u8]) -> Kind {
        let start = &start[..start.len().min(4096)];
        if start.contains(&0) { Kind::Binary } else { Kind::Text }
    }

    fn names_it(self, bytes: &[u8]) -> bool {
        // Each name that counts has a letter f, d and a slash; few bytes follow a slash and are one of these.
        let mut rest = bytes;
        while let Some(at) = find(rest) {
            rest = &rest[at..];
            if self.begins_with_it(rest) {
                return true;
            }
            rest = &rest[1..];
        }
        false
    }

    /// Whether a name is at the beginning of what begins with `/dev/std`, or `/fd/`, or the same as sed(1) has it.
    fn begins_with_it(self, bytes: &[u8]) -> bool {
        let after = |start: &str| bytes.strip_prefix(start.as_bytes());
        if let Some(rest) = after("/dev/std").or_else(|| after("/dev\\/std")) {
            return rest.starts_with(b"out") || rest.starts_with(b"err") || self.computes(rest);
        }
        let Some(rest) = after("/fd/").or_else(|| after("/fd\\/")) else { return false };
        let is_number = rest.first().is_some_and(|b| matches!(b, b'1' | b'2'));
        is_number && !rest.get(1).is_some_and(u8::is_ascii_digit) || self.computes(rest)
    }

    /// Whether a text goes on with a variable.
    fn computes(self, rest: &[u8]) -> bool {
        matches!(self, Kind::Text) && rest.first().is_some_and(|b| matches!(b, b'$' | b'%' | b'{'))
    }
}

/// Finds `/dev` or `/fd`.
fn find(bytes: &[u8]) -> Option<usize> {
    // A d is in either, after at most two more bytes than a slash and at least one.
    let (mut at, end) = (0, bytes.len().saturating_sub(3));
    while at < end {
        // Both end within the step.
        match (bytes[at], bytes[at + 1], bytes[at + 2]) {
            (b'/', b'f', b'd') | (b'/', b'd', b'e') => return Some(at),
            (_, _, b'/') => at += 2,
            (_, b'/', _) => at += 1,
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests;
