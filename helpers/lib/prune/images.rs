//! Deciding which images a prune keeps. The store removes the others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::PruneReport;
use crate::commit::Commit;
use crate::error::{Context, Error, Result};
use crate::program::log;
use crate::program::timespan;
use crate::store::Store;
use crate::store::outcome::{Outcome, StoreItem};
use crate::store::prune::{self, Candidate, ImageVerdict, PruneCaller};
use crate::store::reference::Reference;
use crate::update::retention::Users;

/// Decides which images are kept.
pub struct ImageSelection<'a> {
    users: &'a Users,
    keep_for: Duration,
    /// Names of the only images to remove; if there are none, those that are old enough are removed.
    wanted: BTreeSet<String>,
}

impl<'a> ImageSelection<'a> {
    /// Refuses to remove images that are not in the store, or that are used.
    pub fn new(
        store: &Store,
        users: &'a Users,
        keep_for: Duration,
        wanted: &[String],
    ) -> Result<ImageSelection<'a>> {
        let mut selection = ImageSelection { users, keep_for, wanted: BTreeSet::new() };
        for text in wanted {
            let name = text.parse::<Reference>()?.name()?;
            selection.check(store, &name).context(|| format!("cannot remove image {name}"))?;
            selection.wanted.insert(name);
        }
        Ok(selection)
    }

    fn check(&self, store: &Store, name: &str) -> Result<()> {
        let missing = || Error::not_found(format!("it is not in {}", store.path().display()));
        let commit = prune::commit_of(store, name)?.ok_or_else(missing)?;
        match self.why_used(name, &commit) {
            Some(why) => Err(Error::new(format!("{why}; remove or update that first"))),
            None => Ok(()),
        }
    }

    /// Warns about deployments because of which all images are kept.
    pub fn warn(&self) {
        for (deployment, why) in &self.users.unreadable {
            log::warning(&format!(
                "keeping all images, since deployment {deployment} may use any of them: {why}"
            ));
        }
    }

    fn why_used(&self, name: &str, commit: &Commit) -> Option<String> {
        let users = self.users.of_image(name, commit);
        if !users.is_empty() {
            return Some(format!("it is used by {}", users.join(", ")));
        }
        let (deployment, _) = self.users.unreadable.first()?;
        Some(format!("deployment {deployment} cannot be read and may use it"))
    }

    fn judge(&self, image: &Candidate) -> ImageVerdict {
        if let Some(why) = self.why_used(&image.name, &image.commit) {
            return ImageVerdict::Keep(why);
        }
        if self.wanted.contains(&image.name) {
            return ImageVerdict::Remove("as requested".into());
        }
        if !self.wanted.is_empty() {
            return ImageVerdict::Keep("its removal was not requested".into());
        }
        let about = timespan::about(image.age);
        if image.age < self.keep_for {
            let limit = timespan::about(self.keep_for);
            return ImageVerdict::Keep(format!(
                "nothing uses it, but it was pulled {about} ago, and images are kept for {limit}"
            ));
        }
        ImageVerdict::Remove(format!("nothing uses it, and it was pulled {about} ago"))
    }
}

/// Answers the store's questions while it is pruned, and collects the outcomes.
pub struct ImagePruner<'a> {
    /// Decides which images are kept.
    pub selection: ImageSelection<'a>,
    /// Where outcomes are noted.
    pub report: &'a mut PruneReport,
}

impl PruneCaller for ImagePruner<'_> {
    fn judge(&self, image: &Candidate) -> ImageVerdict {
        self.selection.judge(image)
    }

    fn tell(&mut self, item: StoreItem, name: &str, outcome: Outcome) {
        self.report.note(item.into(), name, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stay_while_they_are_used_new_or_not_requested() {
        let users = Users::default();
        let judge = |wanted: &[&str], name: &str, days: u64| {
            let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
            let keep_for = Duration::from_secs(7 * 86_400);
            let age = Duration::from_secs(days * 86_400);
            let image = Candidate { name: name.into(), commit: Commit::unknown(), age };
            match (ImageSelection { users: &users, keep_for, wanted }).judge(&image) {
                ImageVerdict::Keep(_) => "keep",
                ImageVerdict::Remove(_) => "remove",
            }
        };
        assert_eq!(judge(&[], "x:1", 6), "keep");
        assert_eq!(judge(&[], "x:1", 7), "remove");
        assert_eq!(judge(&["x:1"], "x:1", 0), "remove");
        assert_eq!(judge(&["x:1"], "y:1", 9), "keep");
    }
}
