//! What payloads wrote to their root file systems, which nobody needs any more.
//!
//! How much that is, and so how long it takes to remove it, was the payload's decision. So neither a stop nor a start waits for
//! it, or an update that is watched would fail by what its predecessor wrote: it is renamed, which takes no time, and removed
//! by a service of its own, unless it is little. Whoever finds something that is left has that service started; a prune and a
//! purge remove it as well.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container::entries::Entry;
use crate::container::registration;
use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::paths::{self, Root};
use crate::program::log;
use crate::system::systemd::host::Systemd;
use crate::system::systemd::manager::{Manager, Verb};
use crate::system::{files, limited, lock, quota};

/// The service that calls [`remove_all`].
pub const UNIT: &str = "syscontainers-forgotten.service";
/// How many may be left of one container. As long as nothing can be removed, nothing more is kept.
const MOST: u32 = if cfg!(test) { 8 } else { 1 << 16 };
/// How long a stop waits for what is little.
const MOMENT: Duration = Duration::from_secs(1);

/// Takes the scratch directory of a container from it, if there is one, and returns where it is now.
pub fn forget(scratch: &Path) -> Result<Option<PathBuf>> {
    let what = || format!("cannot rename {}", scratch.display());
    let entry = scratch.file_name().and_then(|name| name.to_str()).map(Entry::parse);
    let Some(Entry::Scratch(name)) = entry else {
        return Err(Error::new("it is no scratch directory")).context(what);
    };
    // While it has the name that is known.
    quota::lift(scratch);
    let free = free_name(scratch, &name).context(what)?;
    match fs::rename(scratch, &free) {
        Ok(()) => Ok(Some(free)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(what),
    }
}

/// Another name for a scratch directory that nothing has.
fn free_name(scratch: &Path, name: &Name) -> Result<PathBuf> {
    for number in 0..MOST {
        let path = scratch.with_file_name(Entry::Forgotten(name.clone(), number).to_string());
        match path.symlink_metadata() {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(path),
            // Of all others, it would be the same.
            Err(e) => return Err(e).context(|| format!("cannot examine {}", path.display())),
        }
    }
    Err(Error::new(format!(
        "there are {MOST} that are not removed yet; see 'systemctl status {UNIT}', or run syscontainer-prune"
    )))
}

/// Removes what [`forget`] left, unless that takes longer than a moment. Returns whether it is gone.
pub fn try_remove(path: PathBuf) -> Result<bool> {
    limited::within(MOMENT, move || remove(&path)).transpose().map(|removed| removed.is_some())
}

/// Removes it, however long that takes.
pub fn remove(path: &Path) -> Result<()> {
    // Another program that is at it may have removed any part.
    let Some(_lock) = lock::forgotten(path)? else { return Ok(()) };
    files::remove_tree(path)
}

/// The same; `false` if another program is at it.
pub fn remove_if_left(path: &Path) -> Result<bool> {
    let Some(_lock) = lock::try_forgotten(path)? else { return Ok(!path.exists()) };
    files::remove_tree(path).map(|()| true)
}

/// What is left of the containers in a directory of deployments.
pub fn found(directory: &Path) -> Result<Vec<(Name, PathBuf)>> {
    let entries = files::names(directory)?;
    let found = entries.into_iter().filter_map(|entry| match Entry::parse(&entry) {
        Entry::Forgotten(name, _) => Some((name, directory.join(entry))),
        _ => None,
    });
    Ok(found.collect())
}

/// Removes everything that is left of any container, and what is added meanwhile. What cannot be removed does not keep the rest.
pub fn remove_all(root: &Root) -> Result<()> {
    let mut failed = BTreeSet::new();
    loop {
        let mut left = Vec::new();
        for directory in directories(root) {
            left.extend(found(&directory)?.into_iter().map(|(_, path)| path));
        }
        left.retain(|path| !failed.contains(path));
        if left.is_empty() {
            break;
        }
        for path in left {
            if let Err(e) = remove(&path) {
                log::error(&e.to_string());
                failed.insert(path);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new("cannot remove everything that payloads wrote, see the messages above"))
}

/// The directories of deployments that containers are in.
fn directories(root: &Root) -> BTreeSet<PathBuf> {
    let (registered, _) = registration::list(root);
    let registered =
        registered.iter().filter_map(|(name, path)| registration::read(root, name, path).ok()?);
    let scratch = registered.map(|registration| root.join(&registration.scratch()));
    let above = scratch.filter_map(|path| path.parent().map(Path::to_path_buf));
    above.chain([root.join(&paths::deployments())]).collect()
}

/// Has the service remove what is left. Without it, the next start or prune does.
pub fn begin_removal(root: &Root) {
    let systemd = Systemd::new(root);
    if !systemd.is_running() {
        return;
    }
    if let Err(e) = systemd.queue(Verb::Start, &[UNIT.into()]) {
        // As while the system is shut down.
        log::info(&format!("leaving what was written to root file systems for the next start or prune: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::DEPLOYMENTS;

    #[test]
    fn what_was_written_has_another_name_before_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let directory = dir.path().join(&DEPLOYMENTS[1..]);
        let scratch = directory.join(".web.scratch");
        let make = || fs::create_dir_all(scratch.join("upper/x")).unwrap();
        make();
        assert_eq!(forget(&scratch).unwrap(), Some(directory.join(".web.0.scratch")));
        assert_eq!(forget(&scratch).unwrap(), None);
        make();
        let second = forget(&scratch).unwrap().unwrap();
        assert_eq!(second, directory.join(".web.1.scratch"));
        assert!(!scratch.exists() && second.join("upper/x").exists());
        assert!(try_remove(second).unwrap());
        make();
        fs::create_dir(directory.join("web.0")).unwrap();
        assert_eq!(found(&directory).unwrap().len(), 1);
        remove_all(&root).unwrap();
        // What is in use stays, and so does everything else.
        let mut left = files::names(&directory).unwrap();
        left.sort();
        assert_eq!(left, [".web.scratch", "web.0"]);
        assert!(forget(&directory.join("web.0")).is_err());
    }

    #[test]
    fn names_that_cannot_be_found_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let why = forget(&dir.path().join("loop/.web.scratch")).unwrap_err().to_string();
        assert!(why.contains("cannot examine") && why.contains("loop/.web.0.scratch"), "{why}");
        for number in 0..MOST {
            fs::create_dir(dir.path().join(format!(".web.{number}.scratch"))).unwrap();
        }
        let scratch = dir.path().join(".web.scratch");
        fs::create_dir(&scratch).unwrap();
        let why = forget(&scratch).unwrap_err().to_string();
        assert!(why.contains("there are 8 that are not removed yet") && scratch.exists(), "{why}");
    }

    /// Another program removes the same, or has done so.
    #[test]
    fn nothing_fails_that_others_remove() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".web.0.scratch");
        fs::create_dir(&path).unwrap();
        let held = lock::forgotten(&path).unwrap().unwrap();
        assert!(!try_remove(path.clone()).unwrap());
        fs::remove_dir(&path).unwrap();
        drop(held);
        remove(&path).unwrap();
        assert!(remove_if_left(&path).unwrap());
        fs::create_dir(&path).unwrap();
        let held = lock::forgotten(&path).unwrap();
        // Each thread is another program.
        let is_removed =
            std::thread::scope(|threads| threads.spawn(|| remove_if_left(&path).unwrap()).join().unwrap());
        assert!(!is_removed);
        drop(held);
        assert!(remove_if_left(&path).unwrap() && !path.exists());
    }
}
