//! Where things are mounted in a container whose configuration was made here.
//!
//! Runtimes find the place of a mount by its path, and look it up again to set its flags. Between the two, symlinks on the
//! way can be covered, or lead elsewhere: those of the image, which its author made for that, and those that a payload
//! put in a volume. So the paths that runtimes get have no link of the image on the way, and what is in a volume, or in
//! any other directory that is bound, may have none on the way to what is mounted in it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::container::room;
use crate::error::{Context, Error, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::oci::mount::{Mount, TMPCOPYUP};
use crate::paths::{KERNEL, VOLUMES};
use crate::run::sources::{self, Source};
use crate::system::directory::{self, Directory};
use crate::system::files;

/// Has a configuration mount everything at a path without symlinks of the image, whose files are in `rootfs`. Fails if
/// anything would be where it must not be.
pub fn settle(config: &mut BundleConfig, rootfs: &Path) -> Result<()> {
    check_kernel(rootfs)?;
    let (mut places, mut bound, mut links) = (HashSet::new(), HashSet::new(), Vec::new());
    let mounts = config.mounts_mut()?;
    for value in mounts.iter_mut() {
        let mount = Mount::new(value);
        let Some(destination) = mount.destination() else { continue };
        let shown = shown(mount);
        let is_covered = |at: &Path| at.ancestors().any(|above| places.contains(above));
        let found = files::trace(rootfs, &destination, &is_covered)?;
        check_place(mount, &destination, &found.place)
            .map_err(|why| Error::new(format!("its {shown} {why}")))?;
        if mount.is_bind() {
            bound.insert(found.place.clone());
        }
        links.extend(found.links.into_iter().map(|link| (shown.clone(), link)));
        // One that begins with the files of the image has its links.
        if !mount.options().any(|option| option == TMPCOPYUP) {
            places.insert(found.place.clone());
        }
        value["destination"] = json!(found.place.to_string_lossy());
    }
    // What is in the place of another one is mounted after it, whatever links led there.
    let depth = |mount: &Value| Mount::new(mount).destination().map_or(0, |place| place.components().count());
    mounts.sort_by_key(depth);
    for (shown, link) in &links {
        if let Some(place) = link.ancestors().find(|above| bound.contains(*above)) {
            return Err(Error::new(format!(
                "its {shown} is behind the symlink {}, which would be covered by what is mounted at {}; name it by where that leads",
                link.display(),
                place.display()
            )));
        }
    }
    Ok(())
}

/// The same as [`crate::image::kernel`], of what is about to be started.
fn check_kernel(rootfs: &Path) -> Result<()> {
    let what = || format!("cannot examine {}", rootfs.display());
    let root = Directory::open(rootfs).context(what)?;
    for path in KERNEL {
        let name = path.trim_start_matches('/');
        let Some(stat) = root.stat_of(name.as_ref()).context(what)? else { continue };
        if directory::kind(&stat) != FileType::Directory {
            return Err(Error::new(format!(
                "{path} in {} is {}, and the runtime would write to wherever that leads on this host; put a directory there",
                rootfs.display(),
                directory::kind_name(&stat)
            )));
        }
    }
    Ok(())
}

/// What a mount is called in messages.
fn shown(mount: Mount<'_>) -> String {
    let destination = mount.destination().unwrap_or_default();
    format!("{} {:?}", if is_volume(mount) { "volume" } else { "mount" }, destination.to_string_lossy())
}

fn is_volume(mount: Mount<'_>) -> bool {
    mount.bind_source().is_some_and(|source| source.starts_with(VOLUMES))
}

fn check_place(mount: Mount<'_>, destination: &Path, place: &Path) -> Result<(), String> {
    if place == Path::new("/") {
        return Err("would be its whole root file system".into());
    }
    let is_named = !is_volume(mount) && KERNEL.iter().any(|path| destination.starts_with(path));
    match KERNEL.iter().find(|path| place.starts_with(path)) {
        Some(path) if !is_named => Err(format!("would be in {path}, which is the kernel's")),
        _ => Ok(()),
    }
}

/// Fails if a symlink, or anything else than a directory, is on the way to what is mounted in a directory of the host, as
/// it is now. The configuration is settled; `nested` are the sources that it names by their numbers.
pub fn check(config: &BundleConfig, nested: &[Source]) -> Result<()> {
    // What is mounted at each place: a directory or file of the host, or something else.
    let mut outer: HashMap<PathBuf, Option<PathBuf>> = HashMap::new();
    for mount in config.mounts() {
        let Some(place) = mount.destination() else { continue };
        let found = place.ancestors().skip(1).find_map(|above| Some((above, outer.get(above)?)));
        if let Some((above, Some(source))) = found {
            let below = place.strip_prefix(above).unwrap_or(&place);
            check_way(source, below).context(|| {
                format!(
                    "cannot mount {} in the directory that is mounted at {}",
                    shown(mount),
                    above.display()
                )
            })?;
        }
        let source = mount.bind_source().map(|source| sources::original(source, nested));
        outer.insert(place, source);
    }
    Ok(())
}

fn check_way(source: &Path, below: &Path) -> Result<()> {
    let leads = |why: &str| Error::new(format!("{} in {} {why}", below.display(), source.display()));
    let mut directory = match Directory::open(source) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.context(|| format!("cannot open {}", source.display()))?,
    };
    let names: Vec<&OsStr> = below.iter().collect();
    for (number, name) in names.iter().enumerate() {
        let what = || format!("cannot examine {}", directory.path_of(name).display());
        match directory.stat_of(name).context(what)?.as_ref().map(directory::kind) {
            // The runtime makes what is missing.
            None => return room::check(source, below),
            Some(FileType::Symlink) => {
                return Err(leads("leads through a symlink, and so could lead elsewhere; remove it"));
            }
            Some(FileType::Directory) => {}
            Some(_) if number + 1 == names.len() => return Ok(()),
            Some(_) => return Err(leads("leads through something that is not a directory; remove it")),
        }
        directory = directory.child(name).context(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
