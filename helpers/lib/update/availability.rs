//! Whether an update of a container would do anything, and what.

use std::fmt;

use crate::container::deployment::Deployments;
use crate::container::info::Values;
use crate::container::state::State;
use crate::digest::Digest;
use crate::error::Result;
use crate::name::{Deployment, Name};

/// A container, as far as its updates go.
pub struct Updates {
    /// Name of its image in the store.
    pub image: String,
    /// The digest of the image that it has; Atomic may have recorded none.
    digest: Option<Digest>,
    /// What the user set, for the next deployment.
    user_values: Values,
    /// The staged deployment, and the digest of its image.
    staged: Option<(Deployment, Option<Digest>)>,
    state: State,
}

/// What an update would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// Nothing: it has what is there.
    Current,
    /// Nothing: it is held.
    Held,
    /// Nothing: what is there failed before with these values, and why.
    Failed(String),
    /// Make a staged deployment current.
    Staged(Deployment),
    /// Pull, stage and make current.
    Newer,
}

impl Updates {
    /// Reads what is known here.
    pub fn of(deployments: &Deployments, name: &Name) -> Result<Updates> {
        let info = deployments.info(&deployments.installed(name)?)?;
        let state = State::load(deployments, name)?;
        let staged = state.staged(deployments).map(|staged| {
            let digest = deployments.info(staged).ok().and_then(|info| info.digest());
            (staged.clone(), digest)
        });
        let wanted = state.wanted(deployments, &info);
        let user_values = wanted.ours().map(|ours| ours.user_values.clone()).unwrap_or_default();
        Ok(Updates { image: wanted.image, digest: info.digest(), user_values, staged, state })
    }

    /// Whether nothing is to be done, whatever there is.
    pub fn is_held(&self) -> bool {
        self.state.hold
    }

    /// What an update would do if its image has this digest where it comes from.
    pub fn prospect(&self, digest: &Digest) -> Prospect {
        if self.is_held() {
            return Prospect::Held;
        }
        match &self.staged {
            Some((staged, other)) if other.as_ref() == Some(digest) => {
                return Prospect::Staged(staged.clone());
            }
            _ if self.digest.as_ref() == Some(digest) => return Prospect::Current,
            _ => {}
        }
        match self.state.failed_before(digest, &self.user_values) {
            Some(failure) => Prospect::Failed(failure.reason.clone()),
            None => Prospect::Newer,
        }
    }
}

impl Prospect {
    /// Whether an update would change anything.
    pub fn is_change(&self) -> bool {
        matches!(self, Prospect::Staged(_) | Prospect::Newer)
    }
}

impl fmt::Display for Prospect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prospect::Current => f.write_str("up to date"),
            Prospect::Held => f.write_str("held"),
            Prospect::Failed(reason) => write!(f, "skipped, it failed before: {reason}"),
            Prospect::Staged(staged) => write!(f, "staged as {staged}"),
            Prospect::Newer => f.write_str("newer"),
        }
    }
}
