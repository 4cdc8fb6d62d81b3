//! What a prune did, as text and as JSON.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::program::bytes;
use crate::program::log;
use crate::program::text;
use crate::store::outcome::{Outcome, StoreItem};

/// The kind of something that a prune decided on; shown, also in JSON, as the name of the variant in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PruneKind {
    /// A container, of which nothing could be examined.
    Container,
    /// A deployment.
    Deployment,
    /// An image in the store.
    Image,
    /// A layer in the store.
    Layer,
    /// A ref of another program in the store's repository.
    Ref,
    /// Something that a killed program left behind.
    Leftover,
    /// A file next to the deployments.
    File,
    /// Objects of the store, which could not be removed.
    Objects,
    /// The store itself.
    Store,
}

/// Something that a prune decided on; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PruneItem {
    /// The kind of the thing.
    pub kind: PruneKind,
    /// The name, digest or path of the thing.
    pub name: String,
    /// Why it is removed or kept, or could not be removed.
    pub reason: String,
}

/// Everything that a prune decided on; the fields are the JSON keys.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PruneReport {
    /// Whether this was a dry run, which removes nothing.
    pub dry_run: bool,
    /// What was removed, or would be.
    pub removed: Vec<PruneItem>,
    /// What is kept.
    pub kept: Vec<PruneItem>,
    /// What could not be removed.
    pub failed: Vec<PruneItem>,
    /// How many objects of the store were removed, or would be.
    pub objects: u64,
    /// How many bytes were freed, or would be.
    pub bytes: u64,
}

impl From<StoreItem> for PruneKind {
    fn from(item: StoreItem) -> PruneKind {
        match item {
            StoreItem::Image => PruneKind::Image,
            StoreItem::Layer => PruneKind::Layer,
            StoreItem::Ref => PruneKind::Ref,
            StoreItem::Leftover => PruneKind::Leftover,
            StoreItem::Objects => PruneKind::Objects,
        }
    }
}

impl fmt::Display for PruneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PruneKind::Container => "container",
            PruneKind::Deployment => "deployment",
            PruneKind::Image => "image",
            PruneKind::Layer => "layer",
            PruneKind::Ref => "ref",
            PruneKind::Leftover => "leftover",
            PruneKind::File => "file",
            PruneKind::Objects => "objects",
            PruneKind::Store => "store",
        })
    }
}

impl PruneReport {
    /// A report without any items.
    pub fn new(dry_run: bool) -> PruneReport {
        PruneReport { dry_run, ..PruneReport::default() }
    }

    /// Notes something that is kept.
    pub fn kept(&mut self, kind: PruneKind, name: impl Into<String>, reason: impl Into<String>) {
        self.kept.push(PruneItem { kind, name: name.into(), reason: reason.into() });
    }

    /// Notes something that was removed, or would be without a dry run.
    pub fn removed(&mut self, kind: PruneKind, name: impl Into<String>, reason: impl Into<String>) {
        self.removed.push(PruneItem { kind, name: name.into(), reason: reason.into() });
    }

    /// Notes something that could not be removed, and logs the error at once.
    pub fn failed(&mut self, kind: PruneKind, name: impl Into<String>, error: &Error) {
        log::error(&error.to_string());
        self.failed.push(PruneItem { kind, name: name.into(), reason: error.to_string() });
    }

    /// Notes the outcome for something in the store.
    pub fn note(&mut self, kind: PruneKind, name: &str, outcome: Outcome) {
        match outcome {
            Outcome::Kept(reason) => self.kept(kind, name, reason),
            Outcome::Removed { reason, bytes } => {
                self.bytes += bytes;
                self.removed(kind, name, reason);
            }
            Outcome::Failed(error) => self.failed(kind, name, &error),
        }
    }

    /// The report as lines of text; with `explain`, also about what is kept.
    pub fn to_text(&self, explain: bool) -> String {
        let (removed, freed) =
            if self.dry_run { ("would remove", "would free") } else { ("removed", "freed") };
        let mut text = String::new();
        let mut lines = |verb: &str, items: &[PruneItem]| {
            for PruneItem { kind, name, reason } in items {
                text.push_str(&text::printable(&format!("{verb} {kind} {name}: {reason}")));
                text.push('\n');
            }
        };
        lines(removed, &self.removed);
        if explain {
            lines("kept", &self.kept);
        }
        text.push_str(&format!("{freed} {}\n", bytes::shown(self.bytes)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let mut report = PruneReport::new(true);
        report.removed(PruneKind::Image, "a\nb", "nothing uses it");
        report.kept(PruneKind::Deployment, "x.0", "it is current");
        report.bytes = 5;
        let text = report.to_text(true);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("would remove image a") && lines[0].ends_with("b: nothing uses it"));
        assert_eq!(lines[1..], ["kept deployment x.0: it is current", "would free 5 B"]);
        report.dry_run = false;
        assert!(report.to_text(false).ends_with("nothing uses it\nfreed 5 B\n"));
    }
}
