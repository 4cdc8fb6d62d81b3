//! The names that a payload resolves: /etc/resolv.conf, /etc/hosts and /etc/hostname of an image without a configuration.
//!
//! They are copies, made at every start, that the payload may write to: of the host's files it gets no inode, which it could
//! lock or hold a lease on. What changes on the host comes to the copies later, see [`update`].

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde_json::json;

use crate::error::{Context, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::oci::mount::{Mount, TMPCOPYUP};
use crate::paths::{KERNEL, Root};
use crate::program::log;
use crate::run::additions::Addition;
use crate::run::names::content::HostFiles;
use crate::run::names::copies::{Copies, FILES};
use crate::run::sources::{self, Source};
use crate::system::directory::{self, Directory, Links};
use crate::system::files;

pub mod content;
pub mod copies;
pub mod update;

/// Mode of what is made for something to be mounted there.
const MODE: u32 = 0o644;

/// Where the names go.
pub struct Names<'a> {
    /// The host's tree.
    pub root: &'a Root,
    /// The files of the image.
    pub image: &'a Path,
    /// The copies, of which there are none yet.
    pub copies: &'a Copies,
    /// The SELinux label of the payload's files, if they need one.
    pub label: Option<&'a str>,
    /// The sources that the configuration names by their numbers.
    pub nested: &'a [Source],
}

impl Names<'_> {
    /// Adds them to a configuration, whose paths are settled, see [`crate::run::places`]. What is mounted in the place of
    /// one itself stays. Returns what has to be made in the root file system for them.
    pub fn add(&self, config: &mut BundleConfig) -> Result<Vec<Addition>> {
        let own = config.host_name().map(str::to_owned);
        let name = own.clone().map_or_else(|| content::host_name(self.root), Ok)?;
        config.set_host_name(&name)?;
        let own = match own {
            // Nothing else knows any name there.
            _ if config.has_own_network() => format!("127.0.0.1 {name}\n"),
            Some(own) => format!("127.0.1.1 {own}\n"),
            None => String::new(),
        };
        let _lock = self.copies.make()?;
        self.copies.set_own(own.as_bytes())?;
        let host = HostFiles::read(self.root)?;
        let mut additions = Vec::new();
        for file in FILES {
            let what = || format!("cannot give it /etc/{file}");
            let Some((place, addition)) = self.place(file, config).context(what)? else { continue };
            additions.extend(addition);
            let content = host.content(file, own.as_bytes()).unwrap_or_else(|| format!("{name}\n").into());
            let source = self.copies.put(file, &content, self.label).context(what)?;
            let mut options = vec!["bind", "rprivate", "nosuid", "nodev", "noexec"];
            if config.has_read_only_root() {
                options.push("ro");
            }
            config.mounts_mut()?.push(json!({
                "destination": place.to_string_lossy(), "type": "bind", "source": source.to_string_lossy(),
                "options": options,
            }));
        }
        Ok(additions)
    }

    /// Where a file is to be mounted, and what has to be made there before; `None` if it is not.
    fn place(&self, file: &str, config: &BundleConfig) -> Result<Option<(PathBuf, Option<Addition>)>> {
        let mounts: Vec<(PathBuf, Mount<'_>)> =
            config.mounts().filter_map(|mount| Some((mount.destination()?, mount))).collect();
        let is_copy = |mount: &Mount<'_>| mount.options().any(|option| option == TMPCOPYUP);
        let is_covered =
            |at: &Path| mounts.iter().any(|(place, mount)| at.starts_with(place) && !is_copy(mount));
        let etc = files::trace(self.image, "/etc".as_ref(), &is_covered)?.place;
        let place = etc.join(file);
        if mounts.iter().any(|(other, _)| *other == place)
            || KERNEL.iter().any(|path| place.starts_with(path))
        {
            return Ok(None);
        }
        let has_room = match mounts.iter().rfind(|(above, _)| place.starts_with(above)) {
            Some((above, mount)) if mount.is_bind() => {
                self.make_room_in(*mount, place.strip_prefix(above).unwrap_or(&place))?
            }
            // The runtime makes it.
            Some((_, mount)) if !is_copy(mount) => true,
            _ => return self.room(&etc, file.as_ref()),
        };
        Ok(has_room.then_some((place, None)))
    }

    /// Room in the root file system for one to be mounted: a regular file, which is made of whatever the image has unless that
    /// is a directory.
    fn room(&self, etc: &Path, file: &OsStr) -> Result<Option<(PathBuf, Option<Addition>)>> {
        let what = || format!("cannot examine {} in the image", etc.display());
        let image = Directory::open(self.image).context(what)?;
        let inside = etc.strip_prefix("/").unwrap_or(etc);
        let place = etc.join(file);
        let addition = Some(Addition::File { path: place.clone() });
        // Nothing in its path is a link.
        let Some(directory) = image.find_directory(inside, Links::Refused).context(what)? else {
            return Ok(Some((place, addition)));
        };
        Ok(match directory.stat_of(file).context(what)?.as_ref().map(directory::kind) {
            Some(FileType::RegularFile) => Some((place, None)),
            Some(FileType::Directory) => {
                let shown = place.display();
                log::warning(&format!("the image has a directory {shown}, leaving it as it is"));
                None
            }
            _ => Some((place, addition)),
        })
    }

    /// Makes a regular file in a directory of the host that is mounted above it, such as a volume. What is there stays as it
    /// is: that may be a payload's.
    fn make_room_in(&self, mount: Mount<'_>, below: &Path) -> Result<bool> {
        let Some(source) = mount.bind_source() else { return Ok(false) };
        let (original, file) =
            (sources::original(source, self.nested), below.file_name().unwrap_or_default());
        let directory = match Directory::open(&original) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
            opened => opened.context(|| format!("cannot open {}", original.display()))?,
        };
        let above = below.parent().unwrap_or(Path::new(""));
        let what = || format!("cannot examine {}", original.join(below).display());
        let Some(directory) = directory.find_directory(above, Links::Refused).context(what)? else {
            return Ok(false);
        };
        let why = match directory.stat_of(file).context(what)? {
            Some(stat) if directory::kind(&stat) == FileType::RegularFile => return Ok(true),
            Some(stat) => format!("is {}", directory::kind_name(&stat)),
            // Its path may lead elsewhere by now, but not for the runtime.
            None if original != source => return Ok(!mount.is_read_only()),
            None => match directory.make_file(file, MODE) {
                Ok(()) => return Ok(true),
                Err(e) => format!("cannot be made ({e})"),
            },
        };
        log::warning(&format!(
            "{} {why}, starting it without this host's {}; put a regular file there",
            original.join(below).display(),
            file.to_string_lossy()
        ));
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
