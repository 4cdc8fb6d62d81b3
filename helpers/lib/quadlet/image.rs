//! The image, and when it is pulled and updated.

use crate::program::reference;
use crate::quadlet::draft::Draft;
use crate::quadlet::key::Key;
use crate::quadlet::specifiers;
use crate::quadlet::syntax::Entry;

/// Transports that podman has in references, as syscontainer-pull(8) does.
const TRANSPORTS: [&str; 7] =
    ["docker://", "containers-storage:", "docker-daemon:", "docker-archive:", "oci-archive:", "oci:", "dir:"];
/// The host of names that podman gives to what it builds.
const LOCAL: &str = "localhost";

/// `Image=`: a reference.
pub fn image(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let reference = entry.text();
    if reference.contains(char::is_whitespace) {
        return draft.refuse(entry, "it is not a reference of an image");
    }
    if [".image", ".build"].iter().any(|suffix| reference.ends_with(suffix)) {
        return draft.refuse(entry, "it is made by another quadlet; write the reference of the image itself");
    }
    if TRANSPORTS.iter().any(|transport| reference.starts_with(transport)) {
        return carry(draft, entry, key, reference);
    }
    let host = reference.split_once('/').map(|(host, _)| host);
    match host {
        // Nothing serves these: it is what podman has built.
        Some(LOCAL) => {
            carry(draft, entry, key, &format!("containers-storage:{reference}"));
            draft.note(entry, "is an image of podman's own storage, and is copied from there");
        }
        Some(host) if host.contains(['.', ':', '%']) => carry(draft, entry, key, reference),
        _ => draft.refuse(
            entry,
            "which registry a short name is of is decided by podman's configuration; write the whole name, with its registry",
        ),
    }
}

/// Carries over what declarations take for a reference.
fn carry(draft: &mut Draft<'_>, entry: &Entry, key: &Key, text: &str) {
    let checked = specifiers::translate(text).and_then(|text| {
        reference::parse(&specifiers::example(&text, draft.quadlet.service())).map(|_| text)
    });
    match checked {
        Ok(text) => draft.set(entry, key.name, &text),
        Err(why) => draft.refuse(entry, &why),
    }
}

/// `Pull=`: when the image is pulled.
pub fn pull(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match entry.text() {
        text @ ("missing" | "never") => draft.set(entry, key.name, text),
        "always" | "newer" => {
            draft.set(entry, key.name, "always");
            draft.note(entry, "looks for a newer image at every boot, and not at every start of the service");
        }
        _ => draft.refuse(entry, "expected missing, always, newer or never"),
    }
}

/// `AutoUpdate=`: whether it is updated every day.
pub fn auto_update(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match entry.text() {
        "registry" => draft.set(entry, key.name, "yes"),
        "local" => draft.leave_out(
            entry,
            "an image is looked for where it came from; AutoUpdate=yes does that every day",
        ),
        _ => draft.refuse(entry, "expected registry or local"),
    }
}
