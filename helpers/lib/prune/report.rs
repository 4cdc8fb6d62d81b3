//! What a prune did, as text and as JSON.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::program::bytes;
use crate::program::log;
use crate::store::outcome::{Outcome, StoreItem};

/// What something that a prune decided on is; in JSON, and for people, the name of the variant in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PruneKind {
    /// A container, which could not be looked at as a whole.
    Container,
    /// A deployment.
    Deployment,
    /// An image in the store.
    Image,
    /// A layer in the store.
    Layer,
    /// A ref of another program in the store's repository.
    Ref,
    /// What a killed program left.
    Leftover,
    /// A file beside the deployments.
    File,
    /// Objects of the store, which could not be removed.
    Objects,
    /// The store itself.
    Store,
}

/// Something that a prune decided on; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PruneItem {
    /// What it is.
    pub kind: PruneKind,
    /// Its name, digest or path.
    pub name: String,
    /// Why it is removed or stays, or could not be removed.
    pub reason: String,
}

/// All that a prune decided on; the fields are the JSON keys.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PruneReport {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// What was removed, or would be.
    pub removed: Vec<PruneItem>,
    /// What stays.
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

    /// Notes something that stays.
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

    /// Notes what became of something in the store.
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

    /// Lines for people; with `explain`, also for what stays.
    pub fn to_text(&self, explain: bool) -> String {
        let (removed, freed) =
            if self.dry_run { ("would remove", "would free") } else { ("removed", "freed") };
        let mut text = String::new();
        let mut lines = |verb: &str, items: &[PruneItem]| {
            for PruneItem { kind, name, reason } in items {
                text.push_str(&log::printable(&format!("{verb} {kind} {name}: {reason}")));
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
