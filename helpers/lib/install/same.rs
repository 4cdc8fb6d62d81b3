//! Whether a deployment is what an installation or update would make. Nothing else decides this.

use std::collections::BTreeSet;
use std::path::Path;

use crate::container::info::{ExportsUse, Info, Values};
use crate::container::readiness::UserNotify;
use crate::container::settings::Settings;
use crate::digest::Digest;
use crate::paths::TreePath;
use crate::provenance::Provenance;

/// The deployment that an installation or update is to make.
pub struct Wanted<'a> {
    /// Name of the image in the store.
    pub image: &'a str,
    /// Digest of the image's manifest.
    pub digest: &'a Digest,
    /// The values that the user set.
    pub user_values: &'a Values,
    /// The variables that the user marked as secret.
    pub user_secrets: &'a BTreeSet<String>,
    /// What the user set with `--option=`.
    pub settings: &'a Settings,
    /// The argument of `--notify=`, if it was given.
    pub user_notify: Option<UserNotify>,
    /// The directory that `--rootfs=` names, if it was given.
    pub remote: Option<&'a Path>,
    /// The runtime's path; `None` for any.
    pub runtime: Option<&'a Path>,
    /// Where the image comes from; `None` for anywhere.
    pub provenance: Option<&'a Provenance>,
    /// Whether `/exports` are ignored.
    pub plain: bool,
    /// Lines of `[Install]` that are added to the image's.
    pub user_install: &'a [(String, String)],
}

impl<'a> Wanted<'a> {
    /// What would have to be wanted to get this deployment; `None` if Atomic made it.
    pub fn of(info: &'a Info) -> Option<Wanted<'a>> {
        let ours = info.ours()?;
        Some(Wanted {
            image: &info.image,
            digest: &ours.digest,
            user_values: &ours.user_values,
            user_secrets: &ours.user_secrets,
            settings: &ours.settings,
            user_notify: ours.user_notify,
            remote: info.remote.as_deref(),
            runtime: info.runtime.as_ref().map(TreePath::as_path),
            provenance: ours.provenance.as_ref(),
            plain: ours.exports == ExportsUse::Ignored,
            user_install: &ours.user_install,
        })
    }
}

/// Whether a deployment is as wanted. One that Atomic made never is.
pub fn is_same(info: &Info, wanted: &Wanted) -> bool {
    info.ours().is_some_and(|ours| {
        info.image == wanted.image
            && ours.digest == *wanted.digest
            && ours.user_values == *wanted.user_values
            && ours.user_secrets == *wanted.user_secrets
            && ours.settings == *wanted.settings
            && ours.user_notify == wanted.user_notify
            && info.remote.as_deref() == wanted.remote
            && wanted
                .runtime
                .is_none_or(|runtime| info.runtime.as_ref().is_some_and(|path| path.as_path() == runtime))
            && is_from(ours.provenance.as_ref(), wanted.provenance)
            && (ours.exports == ExportsUse::Ignored) == wanted.plain
            && ours.user_install == wanted.user_install
    })
}

fn is_from(recorded: Option<&Provenance>, wanted: Option<&Provenance>) -> bool {
    wanted.is_none_or(|wanted| recorded.is_some_and(|recorded| recorded.is_same(wanted)))
}
