//! Notes on registrations whose deployments are not there, for the generator, which does not look at deployments.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::container::deployment::Deployments;
use crate::container::standing::Elsewhere;
use crate::container::{derived, registration};
use crate::error::Result;
use crate::name::Name;
use crate::paths::{Root, STALE, TreePath};
use crate::system::{files, record};

/// Maximum size of a note in bytes.
const NOTE_MAX: usize = 16 << 10;

/// What is known of the deployments of a container; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Note {
    /// Whether they are gone. If not, the directory of deployments is another one, and nothing is known.
    pub gone: bool,
    /// Why, and what to do.
    pub why: String,
}

/// Notes that the deployments of a registration are gone. Returns whether the note is new.
pub fn mark(deployments: &Deployments, name: &Name) -> Result<bool> {
    let root = deployments.root();
    let path = derived::registration(name);
    // The generator reports registrations that cannot be read.
    let Ok(Some(registration)) = registration::read(root, name, &path) else { return Ok(false) };
    let reason = format!(
        "deployment {} is not in {}; install image {} again, or remove what is left with 'syscontainer-remove {name}'",
        registration.deployment, registration.directory, registration.image
    );
    let text = files::read_text_if_exists(&root.join(&path)).ok().flatten().unwrap_or_default();
    let line = text.lines().position(|line| line.trim_start().starts_with("\"deployment\""));
    let why = format!("{path}:{}: {reason}", line.map_or(1, |line| line + 1));
    write(root, name, &Note { gone: true, why })
}

/// Notes that nothing is known of them. Returns whether the note is new.
pub fn mark_elsewhere(root: &Root, name: &Name, elsewhere: &Elsewhere) -> Result<bool> {
    write(root, name, &Note { gone: false, why: elsewhere.to_string() })
}

fn write(root: &Root, name: &Name, note: &Note) -> Result<bool> {
    if read(root, name).as_ref() == Some(note) {
        return Ok(false);
    }
    files::make_directory(&root.join(STALE), 0o700)?;
    record::save_volatile(&root.join(&note_of(name)), note)?;
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

/// The note on a container, if there is one.
pub fn read(root: &Root, name: &Name) -> Option<Note> {
    let text = files::read_bounded(&root.join(&note_of(name)), NOTE_MAX).ok()??;
    serde_json::from_slice(&text).ok()
}

/// Names of the containers that have such a note.
pub fn names(root: &Root) -> Result<Vec<Name>> {
    let names = files::names(&root.join(STALE))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn note_of(name: &Name) -> TreePath {
    TreePath::from(STALE).join(name.as_str())
}
