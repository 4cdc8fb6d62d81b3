//! Records: JSON files that are replaced as a whole, so that every write takes effect completely or not at all.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Result};
use crate::system::files;

/// Reads a record; `None` if there is none. `remedy` is the advice in the error about a damaged one.
pub fn load<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<Option<T>> {
    let Some(text) = files::read_if_exists(path)? else { return Ok(None) };
    let record = serde_json::from_slice(&text).context(|| format!("it is damaged; {remedy}"));
    record.map(Some).context(|| format!("cannot read {}", path.display()))
}

/// Writes a record and syncs it.
pub fn save(path: &Path, record: &impl Serialize) -> Result<()> {
    files::replace(path, to_json(path, record)?.as_bytes(), 0o600)?;
    files::sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Like [`save`] but without a sync, for records that need not survive a power failure.
pub fn save_volatile(path: &Path, record: &impl Serialize) -> Result<()> {
    files::replace_volatile(path, to_json(path, record)?.as_bytes(), 0o600)
}

/// Removes a record, if it exists.
pub fn remove(path: &Path) -> Result<()> {
    files::remove(path).map(|_| ())
}

/// Why text is not the JSON that was expected, without the place.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

fn to_json(path: &Path, record: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(record).context(|| format!("cannot write {}", path.display()))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        assert_eq!(load::<u32>(&path, "").unwrap(), None);
        save(&path, &1).unwrap();
        assert_eq!(load::<u32>(&path, "").unwrap(), Some(1));
        remove(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let why = load::<u32>(&path, "remove it").unwrap_err().to_string();
        assert!(why.ends_with("/record: it is not a regular file"), "{why}");
    }
}
