//! What the user chose for a container, now or before: what a plan is made from, besides the image.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::container::categories;
use crate::container::execution::Categories;
use crate::container::info::Values;
use crate::container::readiness::UserNotify;
use crate::container::runtime::Runtime;
use crate::container::settings::Settings;
use crate::error::{Error, Result};
use crate::install::plan::Planner;
use crate::install::previous::Previous;
use crate::paths::TreePath;
use crate::unit::syntax::{self, Value};

impl Planner<'_> {
    /// The container whose choices count where the options say nothing.
    fn before(&self) -> Option<&Previous> {
        self.previous.filter(|_| !self.options.complete)
    }

    /// The argument of `--rootfs=`, now or before.
    pub(super) fn remote(&self) -> Option<PathBuf> {
        self.options.rootfs.clone().or_else(|| self.before()?.wanted.remote.clone())
    }

    /// An update keeps the runtime, as long as it exists.
    pub(super) fn find_runtime(&self) -> Result<Runtime> {
        let root = self.site.root();
        let before = self.before().and_then(|previous| previous.wanted.runtime.as_ref());
        let before = before.map(TreePath::as_path).filter(|path| Runtime::is_there(root, path));
        Runtime::find(root, self.options.runtime.as_deref().or(before))
    }

    pub(super) fn user_notify(&self) -> Option<UserNotify> {
        self.options.notify.or_else(|| self.before()?.wanted.ours()?.user_notify)
    }

    /// How the payload notifies systemd: what `Notify=` says counts, or else `--notify`.
    pub(super) fn notify(&self, settings: &Settings) -> Result<Option<UserNotify>> {
        match (settings.notify(), self.options.notify) {
            (Some(key), Some(option)) if key != option => {
                Err(Error::new("--notify and Notify= contradict each other; unset the key with -o Notify="))
            }
            (key, _) => Ok(key.or_else(|| self.user_notify())),
        }
    }

    /// What the user decided about the container, now or before.
    pub fn settings(&self) -> Settings {
        let before = self.before().and_then(|previous| previous.wanted.ours());
        let mut settings = before.map(|ours| ours.settings.clone()).unwrap_or_default();
        self.options.settings.iter().for_each(|assignment| settings.assign(assignment));
        settings
    }

    /// Volumes have labels with these, so updates keep them.
    pub(super) fn categories(&self) -> Categories {
        let before = self.previous.and_then(|previous| previous.wanted.ours()?.execution.categories);
        before.unwrap_or_else(|| categories::choose(self.site.root(), self.name))
    }

    /// The values that the user set, now or before.
    pub(super) fn user_values(&self) -> Values {
        let mut values = self.before().map(|previous| previous.user_values.clone()).unwrap_or_default();
        values.retain(|name, _| !self.options.unset.contains(name));
        values.extend(self.options.user_values.clone());
        values
    }

    pub(super) fn user_secrets(&self) -> BTreeSet<String> {
        let mut secrets = self.before().map(|previous| previous.user_secrets.clone()).unwrap_or_default();
        secrets.retain(|name| !self.options.unset.contains(name));
        secrets.extend(self.options.user_secrets.iter().cloned());
        secrets
    }

    /// What the user marked, and what images marked as secret that were used before: no update takes that back.
    pub(super) fn kept_secrets(&self) -> BTreeSet<String> {
        let before = self.previous.map(|previous| previous.image_secrets.clone()).unwrap_or_default();
        let mut kept: BTreeSet<String> = before.difference(&self.options.unset).cloned().collect();
        kept.extend(self.user_secrets());
        kept
    }

    /// Lines of `[Install]` that are added to the image's, now or before.
    pub(super) fn user_install(&self) -> &[(String, String)] {
        match self.before().and_then(|previous| previous.wanted.ours()) {
            Some(ours) if self.options.user_install.is_empty() => &ours.user_install,
            _ => &self.options.user_install,
        }
    }

    /// A unit with these lines, behind the image's own: an empty value resets those.
    pub(super) fn with_user_install(&self, unit: String) -> Result<String> {
        let lines = self.user_install();
        if lines.is_empty() { Ok(unit) } else { with_install(&unit, lines) }
    }
}

fn with_install(unit: &str, lines: &[(String, String)]) -> Result<String> {
    let lines: Result<String> =
        lines.iter().map(|(key, value)| syntax::line(key, &Value::Raw(value))).collect();
    Ok(format!("{}\n\n[Install]\n{}", unit.trim_end(), lines?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever wrote them, they are lines of `[Install]` and nothing else.
    #[test]
    fn lines_of_installations_add_no_others() {
        let with = |key: &str, value: &str| with_install("[Unit]\nA=1\n", &[(key.into(), value.into())]);
        assert_eq!(with("WantedBy", "").unwrap(), "[Unit]\nA=1\n\n[Install]\nWantedBy=\n");
        for (key, value) in [("A", "b\nC=d"), ("A", "b\\"), ("A=1\nB", ""), ("", "b")] {
            assert!(with(key, value).unwrap_err().to_string().starts_with("cannot write "), "{key}={value}");
        }
    }
}
