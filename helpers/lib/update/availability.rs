//! Whether an update of a container would change anything, and what.

use std::fmt;

use crate::container::deployment::Deployments;
use crate::container::state::{Choices, State};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::Image;
use crate::image::tree::Tree;
use crate::install::acceptance::Granted;
use crate::install::draft::Draft;
use crate::install::plan::{Options, Planner};
use crate::install::previous::Previous;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::provenance::Provenance;

/// What decides about updates of a container.
pub struct Updates {
    /// Name of the container's image in the store.
    pub image: String,
    /// Where that came from; `None` if Atomic, which did not record it, made the deployment.
    pub provenance: Option<Provenance>,
    /// What the image was allowed to bring.
    granted: Granted,
    /// Whether its files are the deployment's own.
    has_own_files: bool,
    /// Digest of the current deployment's image; `None` if Atomic recorded none, or if the next deployment will differ from
    /// the current one in any case.
    digest: Option<Digest>,
    /// What the user chose for the next deployment.
    choices: Choices,
    /// The staged deployment, and the digest of its image.
    staged: Option<(Deployment, Option<Digest>)>,
    state: State,
}

/// What an update would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// Nothing: the container has that image.
    Current,
    /// Nothing: updates are held.
    Held,
    /// Nothing: the image failed before with these choices, for this reason.
    Failed(String),
    /// Switch to a deployment that is staged already.
    Staged(Deployment),
    /// Pull the image, stage a deployment and switch to it.
    Newer,
    /// Nothing: the image brings this, which the user has to accept first.
    Unaccepted(Vec<&'static str>),
    /// Nothing: the image cannot be run here, for this reason.
    Unusable(String),
}

impl Updates {
    /// Reads the state of a container.
    pub fn of(deployments: &Deployments, name: &Name) -> Result<Updates> {
        let current = deployments.installed(name)?;
        let info = deployments.info(&current)?;
        let state = State::load(deployments, name)?;
        let staged = state.staged(deployments).map(|staged| {
            let digest = deployments.info(staged).ok().and_then(|info| info.digest());
            (staged.clone(), digest)
        });
        let wanted = state.wanted(deployments, &info);
        let choices = state.choices(deployments, &info);
        let granted = Granted::of(deployments, &current, &wanted).now(&state);
        let is_as_wanted = info.image == wanted.image
            && Choices::of(&info) == choices
            && Granted::of(deployments, &current, &info) == granted;
        let digest = if is_as_wanted { info.digest() } else { None };
        let provenance = wanted.ours().and_then(|ours| ours.provenance.clone());
        let has_own_files = wanted.remote.is_none();
        let image = wanted.image;
        Ok(Updates { image, provenance, granted, has_own_files, digest, choices, staged, state })
    }

    /// Like [`Updates::prospect`], of an image whose files are there: what an update would refuse is known then, too.
    pub fn prospect_of(&self, site: &Site, name: &Name, image: &Image, tree: &dyn Tree) -> Result<Prospect> {
        let prospect = self.prospect(&image.digest);
        if prospect != Prospect::Newer {
            return Ok(prospect);
        }
        let added = self.unaccepted(image, tree)?;
        if !added.is_empty() {
            return Ok(Prospect::Unaccepted(added));
        }
        Ok(match check(site, name, image, tree) {
            Ok(()) => Prospect::Newer,
            Err(e) => Prospect::Unusable(e.to_string()),
        })
    }

    /// Whether an update takes an image that has the name in the store: not one from elsewhere, or for another architecture.
    pub fn takes(&self, image: &Image) -> bool {
        self.provenance.as_ref().is_none_or(|provenance| provenance.is_same(&image.provenance))
    }

    /// What an image brings that the user has to accept first.
    pub fn unaccepted(&self, image: &Image, tree: &dyn Tree) -> Result<Vec<&'static str>> {
        self.granted.added_by(tree, image)
    }

    /// Why an image failed before with the choices for the next deployment.
    pub fn failed_before(&self, digest: &Digest) -> Option<&str> {
        self.state.failed_before(digest, &self.choices).map(|failure| failure.reason.as_str())
    }

    /// Whether an image may bring what the user has to accept first.
    pub fn is_choosy(&self) -> bool {
        self.has_own_files && self.granted.is_choosy()
    }

    /// Whether updates of the container are held.
    pub fn is_held(&self) -> bool {
        self.state.hold
    }

    /// What an update would do if the image has this digest at its source.
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
        match (self.failed_before(digest), &self.staged) {
            (Some(_), Some((staged, _))) => Prospect::Staged(staged.clone()),
            (Some(reason), None) => Prospect::Failed(reason.to_owned()),
            (None, _) => Prospect::Newer,
        }
    }
}

/// Fails if an update of a container to an image would.
fn check(site: &Site, name: &Name, image: &Image, tree: &dyn Tree) -> Result<()> {
    let previous = Previous::read(site, &site.deployments.installed(name)?, tree)?;
    let options = Options::default();
    let planner = Planner { site, tree: &tree, image, name, options: &options, previous: Some(&previous) };
    planner.check(&Draft::new(&site.deployments, site.deployments.next(name)?))
}

impl Prospect {
    /// The prospect in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Prospect::Current => "current",
            Prospect::Held => "held",
            Prospect::Failed(_) => "skipped",
            Prospect::Staged(_) => "staged",
            Prospect::Newer => "newer",
            Prospect::Unaccepted(_) => "unaccepted",
            Prospect::Unusable(_) => "unusable",
        }
    }

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
            Prospect::Unaccepted(added) => {
                write!(f, "unaccepted, it has {}, see --accept-exports", added.join(", "))
            }
            Prospect::Unusable(reason) => write!(f, "unusable: {reason}"),
        }
    }
}
