//! Variables, labels and annotations.

use crate::container::keys::words;
use crate::quadlet::draft::Draft;
use crate::quadlet::key::Key;
use crate::quadlet::syntax::Entry;
use crate::quadlet::values;

/// Beginnings of annotations that runtimes and podman act on.
const ACTIVE: [&str; 4] = ["run.oci.", "io.podman.", "io.containers.", "org.systemd."];

/// `Environment=`: words `NAME=VALUE`.
pub fn variables(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    assignments(draft, entry, key, |word| match word.contains('=') {
        true => Ok(word),
        false => {
            Err("a name without a value is taken from podman's own environment; write NAME=VALUE".into())
        }
    });
}

/// The label by which podman knows what to update; `AutoUpdate=` sets it.
const UPDATED: &str = "io.containers.autoupdate=";

/// `Label=`: words `NAME=VALUE`, or NAME for an empty value.
pub fn labels(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let words = words::split(&entry.value).unwrap_or_default();
    if words
        .iter()
        .filter_map(|word| word.strip_prefix(UPDATED))
        .any(|policy| ["registry", "image"].contains(&policy))
    {
        draft.set(entry, "AutoUpdate", "yes");
    }
    assignments(draft, entry, key, |word| match word.contains('=') {
        true => Ok(word),
        false => Ok(word + "="),
    });
}

fn assignments(draft: &mut Draft<'_>, entry: &Entry, key: &Key, each: fn(String) -> Result<String, String>) {
    let words = words::split(&entry.value).map_err(|e| e.to_string());
    let words = words.and_then(|words| words.into_iter().map(each).collect::<Result<Vec<_>, _>>());
    match words.and_then(|words| values::quoted(&words)) {
        Ok(text) => draft.set(entry, key.name, &text),
        Err(why) => draft.refuse(entry, &why),
    }
}

/// `EnvironmentFile=`: paths, which may be relative to the quadlet.
pub fn files(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match words::split(&entry.value) {
        Ok(paths) => {
            for path in paths {
                let path = draft.quadlet.resolve(&path);
                draft.carry(entry, key.name, &path);
            }
        }
        Err(e) => draft.refuse(entry, &e.to_string()),
    }
}

/// `Annotation=`: most of them are only there to be read.
pub fn annotations(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let is_active = |word: &String| ACTIVE.iter().any(|begin| word.starts_with(begin));
    match words::split(&entry.value) {
        Ok(words) if !words.iter().any(is_active) => draft.leave_out(entry, key.note),
        Ok(_) => draft.refuse(entry, "runtimes act on it"),
        Err(e) => draft.refuse(entry, &e.to_string()),
    }
}
