//! Records: JSON files that are replaced as a whole, so that one write is one decision.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Result};
use crate::system::files;

/// Reads a record; `None` where there is none. `remedy` says what to do about one that is damaged.
pub fn load<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<Option<T>> {
    let what = || format!("cannot read {}", path.display());
    match fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).context(|| format!("it is damaged; {remedy}")).context(what)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(what),
    }
}

/// Writes a record so that it lasts.
pub fn save(path: &Path, record: &impl Serialize) -> Result<()> {
    files::replace(path, to_json(path, record)?.as_bytes(), 0o600)?;
    files::sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// As [`save`], on a file system that does not outlive a power cut.
pub fn save_volatile(path: &Path, record: &impl Serialize) -> Result<()> {
    files::replace_volatile(path, to_json(path, record)?.as_bytes(), 0o600)
}

/// Removes a record; one that is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    files::remove_file(path).context(|| format!("cannot remove {}", path.display()))?;
    Ok(())
}

fn to_json(path: &Path, record: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(record).context(|| format!("cannot write {}", path.display()))?;
    Ok(text + "\n")
}
