//! What a prune did, as text and as JSON.

use serde::Serialize;

use crate::error::Error;
use crate::program::log;
use crate::program::table;

/// Something that a prune decided on; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// `deployment`, `image`, `layer`, `ref`, `leftover`, `file`, `store`, or what else could not be done: `container`, `objects`.
    pub kind: &'static str,
    /// Its name, digest or path.
    pub name: String,
    /// Why it goes or stays, or could not go.
    pub reason: String,
}

/// All that a prune decided on; the fields are the JSON keys.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// What went, or would.
    pub removed: Vec<Item>,
    /// What stays.
    pub kept: Vec<Item>,
    /// What should have gone.
    pub failed: Vec<Item>,
    /// How many objects of the store went, or would.
    pub objects: u64,
    /// How many bytes went, or would.
    pub bytes: u64,
}

impl Report {
    /// An empty one.
    pub fn new(dry_run: bool) -> Report {
        Report { dry_run, ..Report::default() }
    }

    /// Something stays.
    pub fn kept(&mut self, kind: &'static str, name: impl Into<String>, reason: impl Into<String>) {
        self.kept.push(Item { kind, name: name.into(), reason: reason.into() });
    }

    /// Something went, unless this is a dry run.
    pub fn removed(&mut self, kind: &'static str, name: impl Into<String>, reason: impl Into<String>) {
        self.removed.push(Item { kind, name: name.into(), reason: reason.into() });
    }

    /// Something could not be done; it is said at once.
    pub fn failed(&mut self, kind: &'static str, name: impl Into<String>, error: &Error) {
        log::error(&error.to_string());
        self.failed.push(Item { kind, name: name.into(), reason: error.to_string() });
    }

    /// Lines for people; what stays is among them if `explain` says so.
    pub fn to_text(&self, explain: bool) -> String {
        let (removed, freed) =
            if self.dry_run { ("would remove", "would free") } else { ("removed", "freed") };
        let mut text = String::new();
        let mut lines = |verb: &str, items: &[Item]| {
            for Item { kind, name, reason } in items {
                text.push_str(&table::shown(&format!("{verb} {kind} {name}: {reason}")));
                text.push('\n');
            }
        };
        lines(removed, &self.removed);
        if explain {
            lines("kept", &self.kept);
        }
        text.push_str(&format!("{freed} {} bytes\n", self.bytes));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let mut report = Report::new(true);
        report.removed("image", "a\nb", "nothing uses it");
        report.kept("deployment", "x.0", "it is current");
        report.bytes = 5;
        let text = report.to_text(true);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("would remove image a") && lines[0].ends_with("b: nothing uses it"));
        assert_eq!(lines[1..], ["kept deployment x.0: it is current", "would free 5 bytes"]);
        report.dry_run = false;
        assert!(report.to_text(false).ends_with("nothing uses it\nfreed 5 bytes\n"));
    }
}
