//! What the host says of names: its /etc/hosts and /etc/resolv.conf, as payloads get them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Context, Result};
use crate::paths::{Root, TreePath};
use crate::system::files;

/// Size in bytes that such a file may have.
pub const LIMIT: usize = 16 << 20;
/// The kernel's name of the host.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// What every payload resolves, whether or not its host has it in a file.
const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// Those files, as they are now.
#[derive(Debug, PartialEq, Eq)]
pub struct HostFiles {
    hosts: Vec<u8>,
    resolver: Vec<u8>,
}

impl HostFiles {
    pub fn read(root: &Root) -> Result<HostFiles> {
        let resolver = of_host(root, "/etc/resolv.conf")?.unwrap_or_default();
        let hosts = of_host(root, "/etc/hosts")?.unwrap_or_default();
        Ok(HostFiles { hosts, resolver })
    }

    /// What a payload has in a file; `own` are lines of its container's own. `None` if that is not the host's.
    pub fn content(&self, file: &str, own: &[u8]) -> Option<Vec<u8>> {
        match file {
            "resolv.conf" => Some(self.resolver.clone()),
            "hosts" => Some(followed(self.hosts.clone(), own)),
            _ => None,
        }
    }
}

/// The host's lines, and after them localhost and `own`, as far as no line of the host has such a name: as with podman.
fn followed(mut hosts: Vec<u8>, own: &[u8]) -> Vec<u8> {
    let ours = lines(LOCALHOST.as_bytes()).chain(lines(own));
    let is_missing = |line: &&[u8]| !names(line).any(|name| has(&hosts, name));
    let missing: Vec<&[u8]> = ours.filter(is_missing).collect();
    if !missing.is_empty() && hosts.last().is_some_and(|last| *last != b'\n') {
        hosts.push(b'\n');
    }
    hosts.extend(missing.concat());
    hosts
}

fn has(hosts: &[u8], name: &[u8]) -> bool {
    lines(hosts).any(|line| names(line).any(|other| other == name))
}

fn lines(hosts: &[u8]) -> impl Iterator<Item = &[u8]> {
    hosts.split_inclusive(|byte| *byte == b'\n')
}

/// The names of a line, which are behind an address.
fn names(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1)
}

/// What the host is called now.
pub fn host_name(root: &Root) -> Result<String> {
    let name = fs::read_to_string(root.join(HOST_NAME)).context(|| format!("cannot read {HOST_NAME}"))?;
    Ok(name.trim_end().to_owned())
}

/// The host's file, whatever links lead to it; `None` if there is none for its users.
fn of_host(root: &Root, path: &str) -> Result<Option<Vec<u8>>> {
    let place = files::resolve_inside(root.path(), path.as_ref())?;
    let real = root.join(&TreePath::new(&place));
    // Its modes are for users of the host. Somewhere else, it may be a file that is for nobody but root, by its own mode or
    // that of a directory: who may write to what a link leads to, as the user of a service, could have put another one there.
    let is_own_place = place == Path::new(path);
    let mode = |path: &Path| fs::metadata(path).map_or(0, |found| found.mode());
    let is_entered = |above: &Path| mode(&root.join(&TreePath::new(above))) & 0o001 != 0;
    let mut above = place.ancestors().skip(1).filter(|above| *above != Path::new("/"));
    let mut is_for_users = || mode(&real) & 0o004 != 0 && above.all(is_entered);
    if fs::metadata(&real).is_ok_and(|found| found.is_file()) && (is_own_place || is_for_users()) {
        read(&real)
    } else {
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    files::read_bounded(path, LIMIT).context(|| format!("cannot read {}", path.display()))
}
