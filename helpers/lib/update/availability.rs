//! Whether an update of a container would do anything, and what.

use std::fmt;

use crate::container::deployment::Deployments;
use crate::container::state::State;
use crate::error::Result;
use crate::name::Name;

/// A container, as far as its updates go.
pub struct Updates {
    /// Name of its image in the store.
    pub image: String,
    digest: String,
    staged: Option<(String, String)>,
    state: State,
}

/// What an update would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// Nothing: it has what is there.
    Current,
    /// Nothing: it is held.
    Held,
    /// Nothing: what is there failed before, and why.
    Failed(String),
    /// Make a staged deployment current.
    Staged(String),
    /// Pull, stage and make current.
    Newer,
}

impl Updates {
    /// Reads what is known here.
    pub fn of(deployments: &Deployments, name: &Name) -> Result<Updates> {
        let info = deployments.info(&deployments.installed(name)?)?;
        let state = State::load(deployments, name)?;
        let staged = state.staged(deployments).map(|staged| {
            let digest = deployments.info(staged).map(|info| info.digest).unwrap_or_default();
            (staged.to_owned(), digest)
        });
        let digest = match info.is_of_original() {
            true => format!("sha256:{}", info.revision),
            false => info.digest.clone(),
        };
        Ok(Updates { image: state.wanted(deployments, &info).image, digest, staged, state })
    }

    /// Whether nothing is to be done, whatever there is.
    pub fn is_held(&self) -> bool {
        self.state.hold
    }

    /// What an update would do if its image has this digest where it comes from.
    pub fn prospect(&self, digest: &str) -> Prospect {
        if self.is_held() {
            return Prospect::Held;
        }
        match &self.staged {
            Some((staged, other)) if other == digest => return Prospect::Staged(staged.clone()),
            _ if self.digest == digest => return Prospect::Current,
            _ => {}
        }
        match self.state.bad.iter().rev().find(|bad| bad.digest == digest) {
            Some(bad) => Prospect::Failed(bad.reason.clone()),
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
