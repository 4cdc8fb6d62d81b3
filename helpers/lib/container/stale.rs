//! Notes on registrations whose deployments are gone, for the generator, which does not look at deployments.

use std::fs;

use crate::container::deployment::Deployments;
use crate::container::{derived, registration};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::paths::{Root, STALE, TreePath};
use crate::system::files;

/// Maximum size of a note in bytes.
const NOTE_MAX: usize = 16 << 10;

/// Notes that the deployments of a registration are gone. Returns whether the note is new.
pub fn mark(deployments: &Deployments, name: &Name) -> Result<bool> {
    let root = deployments.root();
    let path = derived::registration(name);
    // The generator reports registrations that cannot be read.
    let Ok(Some(registration)) = registration::read(root, name, &path) else { return Ok(false) };
    if registration.directory != *deployments.directory() {
        return Ok(false);
    }
    let reason = format!(
        "deployment {} is not in {}; check image {} out again, or remove this file",
        registration.deployment, registration.directory, registration.image
    );
    let text = files::read_text_if_exists(&root.join(&path)).ok().flatten().unwrap_or_default();
    let line = text.lines().position(|line| line.trim_start().starts_with("\"deployment\""));
    let note = format!("{path}:{}: {reason}\n", line.map_or(1, |line| line + 1));
    let file = root.join(&note_of(name));
    if files::read_bounded(&file, NOTE_MAX).is_ok_and(|old| old.as_deref() == Some(note.as_bytes())) {
        return Ok(false);
    }
    files::make_directory(&root.join(STALE), 0o700)?;
    files::replace_volatile(&file, note.as_bytes(), 0o600)?;
    Ok(true)
}

/// Removes the note. Returns whether there was one.
pub fn unmark(root: &Root, name: &Name) -> Result<bool> {
    let was_there = files::remove(&root.join(&note_of(name)))?;
    if was_there {
        // Fails while there are other notes.
        let _ = fs::remove_dir(root.join(STALE));
    }
    Ok(was_there)
}

/// Why the registration of a container is stale, if it is.
pub fn reason(root: &Root, name: &Name) -> Option<Error> {
    let note = files::read_bounded(&root.join(&note_of(name)), NOTE_MAX).ok()??;
    Some(Error::new(String::from_utf8_lossy(&note).trim_end().to_owned()))
}

/// Names of the containers that have such a note.
pub fn names(root: &Root) -> Result<Vec<Name>> {
    let names = files::names(&root.join(STALE))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn note_of(name: &Name) -> TreePath {
    TreePath::from(STALE).join(name.as_str())
}
