//! Whether a deployment is what would be installed: the one answer to that question.

use std::path::Path;

use crate::container::info::{Info, Values};
use crate::container::readiness::UserNotify;
use crate::digest::Digest;

/// What an installation or update is to be like.
pub struct Wanted<'a> {
    /// Name of the image in the store.
    pub image: &'a str,
    /// Digest of its manifest.
    pub digest: &'a Digest,
    /// What the user set.
    pub user_values: &'a Values,
    /// What `--notify` said.
    pub user_notify: Option<UserNotify>,
    /// The directory with the files, in place of the image's.
    pub remote: Option<&'a Path>,
    /// The runtime's path; `None` is any.
    pub runtime: Option<&'a Path>,
}

impl<'a> Wanted<'a> {
    /// What a deployment of ours is like.
    pub fn of(info: &'a Info) -> Option<Wanted<'a>> {
        let ours = info.ours()?;
        Some(Wanted {
            image: &info.image,
            digest: &ours.digest,
            user_values: &ours.user_values,
            user_notify: ours.user_notify,
            remote: info.remote.as_deref(),
            runtime: info.runtime.as_deref(),
        })
    }
}

/// Whether a deployment is as it is wanted. One of Atomic's never is.
pub fn is_same(info: &Info, wanted: &Wanted) -> bool {
    info.ours().is_some_and(|ours| {
        info.image == wanted.image
            && ours.digest == *wanted.digest
            && ours.user_values == *wanted.user_values
            && ours.user_notify == wanted.user_notify
            && info.remote.as_deref() == wanted.remote
            && wanted.runtime.is_none_or(|runtime| info.runtime.as_deref() == Some(runtime))
    })
}
