//! Quadlets, podman-systemd.unit(5): what `NAME.container` says, as the declaration that does the same, and what that cannot
//! say.
//!
//! A file is read as podman's generator reads it. Each key of it is carried over as it is, translated, left out with a
//! remark where that does not change what runs, or refused: [`keys::KEYS`] says which, and so does the manual page.

mod draft;
mod environment;
mod files;
mod image;
pub mod key;
pub mod keys;
mod mounts;
mod network;
mod resources;
mod sections;
mod specifiers;
mod syntax;
mod together;
mod values;

pub use draft::{Conversion, Remark};
pub use files::{Quadlet, SUFFIX};

use draft::Draft;
use key::{Key, Section};
use syntax::Entry;
use together::Together;

/// The declarations that do what these quadlets do. They may refer to each other.
pub fn convert(quadlets: &[Quadlet]) -> Vec<Conversion> {
    let together = Together::new(quadlets);
    (0..quadlets.len()).map(|number| convert_one(&together, number)).collect()
}

fn convert_one(together: &Together<'_>, number: usize) -> Conversion {
    let mut draft = Draft::new(together, number);
    let quadlet = draft.quadlet;
    for (index, entry) in quadlet.entries.iter().enumerate() {
        let Some(section) = sections::of(&entry.section) else {
            draft.leave_out(entry, "systemd ignores this section, too");
            continue;
        };
        match keys::find(section, &entry.key) {
            Some(key) if is_in_force(quadlet, index, entry, key) => (key.convert)(&mut draft, entry, key),
            Some(_) => {}
            None => draft.refuse(entry, &keys::unknown(entry)),
        }
    }
    sections::complete(&mut draft);
    draft.finish()
}

/// Whether no later line resets or replaces an entry. Sections that systemd reads have resets of their own.
fn is_in_force(quadlet: &Quadlet, index: usize, entry: &Entry, key: &Key) -> bool {
    // An empty command would remove those of the declaration itself.
    let is_command = key.section == Section::Service && entry.key.starts_with("Exec");
    if key.section.is_systemd() && !is_command {
        return true;
    }
    if key.repeats || is_command {
        !entry.value.is_empty() && !quadlet.entries.is_reset(index)
    } else {
        !quadlet.entries.is_replaced(index) && (key.counts_empty || !entry.value.is_empty())
    }
}

#[cfg(test)]
mod tests;
