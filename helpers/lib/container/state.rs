//! What is remembered of a container besides its deployments, in `.NAME.state` beside them: which deployment was current
//! before, which one is staged, how it is updated, which images failed, and the switch that is under way. JSON, see
//! syscontainers-state(5).
//!
//! The file is replaced as a whole and synced, so one write is one decision. A container without it has nothing to remember.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::container::deployment::Deployments;
use crate::container::entries::Entry;
use crate::container::info::{Info, Values};
use crate::digest::Digest;
use crate::error::Result;
use crate::name::{Deployment, Name};
use crate::paths::TreePath;
use crate::system::record;

/// How long a new deployment is watched, unless the user says otherwise.
const SOAK: Duration = Duration::from_secs(30);
/// How many deployments are kept, unless the user says otherwise: the current one, and one to go back to.
const KEEP: usize = 2;
/// How many images that failed are remembered.
const FAILED_MAX: usize = 8;

/// The file's content; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// The deployment that was current before, the one to go back to.
    #[serde(default)]
    pub previous: Option<Deployment>,
    /// The deployment that is to be current next. It may not be there yet, or not any more.
    #[serde(default)]
    pub staged: Option<Deployment>,
    /// Whether it is not to be updated.
    #[serde(default)]
    pub hold: bool,
    /// How many deployments are kept, if not [`KEEP`].
    #[serde(default)]
    pub keep: Option<usize>,
    /// How many seconds a new deployment is watched, if not [`SOAK`].
    #[serde(default)]
    pub soak: Option<u64>,
    /// Whether it was enabled when it last had a unit that can be.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// What failed, oldest first.
    #[serde(default)]
    pub failed: Vec<Failure>,
    /// The switch that is under way, or was when its program was killed.
    #[serde(default)]
    pub switch: Option<Switch>,
}

/// An image that failed, with the values that it failed with; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What the user had set.
    pub user_values: Values,
    /// What was wrong.
    pub reason: String,
    /// When, seconds since 1970.
    pub time: u64,
}

/// A switch from one deployment to another; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Switch {
    /// The deployment that was current.
    pub from: Deployment,
    /// The deployment that is to be current.
    pub to: Deployment,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether the new deployment has to prove itself. Otherwise it stays, whatever comes.
    pub watched: bool,
    /// The boot that it happens in.
    pub boot: String,
    /// What was so before it, and is so again if it is reverted.
    pub before: Before,
}

/// How far a switch is: what whoever finds its note may conclude, and has to do. syscontainer-switch(8) has the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// It is noted, and nothing else may have changed. The link tells: as long as it leads to `from`, nothing has.
    Switch,
    /// The link, and what is derived from it, are of `to`. The service is restarted, and watched.
    Watch,
    /// As [`Phase::Watch`], in the one boot that a deployment gets which was not confirmed in the boot before.
    Trial,
    /// It goes back to `from`, whoever goes on with that.
    Revert {
        /// Why.
        reason: String,
    },
}

/// What a switch is for; it is reverted in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A new deployment.
    Update,
    /// A deployment that was current before, and why `from` is left for it.
    Rollback(String),
}

/// What was so before a switch; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Before {
    /// Whether the service was active.
    pub active: bool,
    /// Whether the unit was enabled.
    pub enabled: bool,
    /// Checksums of host files that other containers have, too.
    pub shared_files: BTreeMap<TreePath, String>,
    /// Units that were active and go down with this one.
    pub dependents: Vec<String>,
}

impl State {
    /// That of a container that there is nothing to remember of.
    pub fn empty() -> State {
        State {
            previous: None,
            staged: None,
            hold: false,
            keep: None,
            soak: None,
            enabled: None,
            failed: Vec::new(),
            switch: None,
        }
    }

    /// Reads it.
    pub fn load(deployments: &Deployments, name: &Name) -> Result<State> {
        let remedy = "remove it to go on, which forgets what is held and staged";
        Ok(record::load(&path(deployments, name), remedy)?.unwrap_or_else(State::empty))
    }

    /// Writes it, so that it lasts.
    pub fn save(&self, deployments: &Deployments, name: &Name) -> Result<()> {
        match *self == State::empty() {
            true => forget(deployments, name),
            false => record::save(&path(deployments, name), self),
        }
    }

    /// How long a new deployment is watched.
    pub fn soak(&self) -> Duration {
        self.soak.map_or(SOAK, Duration::from_secs)
    }

    /// How many deployments are kept, two at least.
    pub fn keep(&self) -> usize {
        self.keep.unwrap_or(KEEP).max(KEEP)
    }

    /// The staged deployment, if it is there.
    pub fn staged(&self, deployments: &Deployments) -> Option<&Deployment> {
        self.staged.as_ref().filter(|staged| deployments.path_of(staged).is_dir())
    }

    /// What the user wants: what is known of the staged deployment, or of the `current` one.
    pub fn wanted(&self, deployments: &Deployments, current: &Info) -> Info {
        let staged = self.staged(deployments).and_then(|staged| deployments.info(staged).ok());
        staged.unwrap_or_else(|| current.clone())
    }

    /// How an image failed before with these values. This is the one answer to that question: the same image may be good
    /// with others.
    pub fn failed_before(&self, digest: &Digest, user_values: &Values) -> Option<&Failure> {
        self.failed.iter().rev().find(|failure| failure.is_of(digest, user_values))
    }

    /// Remembers that an image failed with these values.
    pub fn remember(&mut self, digest: &Digest, user_values: &Values, reason: &str) {
        self.forgive(digest, user_values);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.failed.push(Failure {
            digest: digest.clone(),
            user_values: user_values.clone(),
            reason: reason.to_owned(),
            time: now.as_secs(),
        });
        let excess = self.failed.len().saturating_sub(FAILED_MAX);
        self.failed.drain(..excess);
    }

    /// Forgets that it did.
    pub fn forgive(&mut self, digest: &Digest, user_values: &Values) {
        self.failed.retain(|failure| !failure.is_of(digest, user_values));
    }
}

impl Failure {
    fn is_of(&self, digest: &Digest, user_values: &Values) -> bool {
        self.digest == *digest && self.user_values == *user_values
    }
}

/// Removes the file.
pub fn forget(deployments: &Deployments, name: &Name) -> Result<()> {
    record::remove(&path(deployments, name))
}

fn path(deployments: &Deployments, name: &Name) -> PathBuf {
    deployments.entry(&Entry::State(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Root;

    fn digest_of(number: u32) -> Digest {
        format!("sha256:{number:064}").parse().unwrap()
    }

    fn values(value: &str) -> Values {
        [("A".to_owned(), value.to_owned())].into()
    }

    #[test]
    fn lasts_and_leaves_no_file_that_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let deployments = Deployments::new(&Root::new(dir.path()));
        deployments.create().unwrap();
        let name: Name = "web".parse().unwrap();
        assert_eq!(State::load(&deployments, &name).unwrap(), State::empty());
        let before = Before {
            active: true,
            enabled: false,
            shared_files: [(TreePath::from("/etc/a"), "0".to_owned())].into(),
            dependents: vec!["a.service".into()],
        };
        for phase in [Phase::Switch, Phase::Watch, Phase::Trial, Phase::Revert { reason: "it died".into() }] {
            let switch = Switch {
                from: Deployment::new(&name, 0),
                to: Deployment::new(&name, 1),
                phase,
                purpose: Purpose::Rollback("by hand".into()),
                watched: true,
                boot: "1".into(),
                before: before.clone(),
            };
            let state = State { hold: true, switch: Some(switch), ..State::empty() };
            state.save(&deployments, &name).unwrap();
            assert_eq!(State::load(&deployments, &name).unwrap(), state);
        }
        State::empty().save(&deployments, &name).unwrap();
        assert!(!path(&deployments, &name).exists());
        std::fs::write(path(&deployments, &name), "{").unwrap();
        assert!(State::load(&deployments, &name).unwrap_err().to_string().contains(".web.state"));
    }

    #[test]
    fn remembers_what_failed_with_which_values() {
        let mut state = State::empty();
        state.remember(&digest_of(1), &values("x"), "it died");
        state.remember(&digest_of(1), &values("x"), "it died again");
        assert_eq!(state.failed_before(&digest_of(1), &values("x")).unwrap().reason, "it died again");
        assert!(state.failed_before(&digest_of(1), &values("y")).is_none());
        assert!(state.failed_before(&digest_of(2), &values("x")).is_none());
        for number in 0..20 {
            state.remember(&digest_of(number), &values("z"), "it died");
        }
        assert_eq!(state.failed.len(), FAILED_MAX);
        state.forgive(&digest_of(19), &values("z"));
        assert!(state.failed_before(&digest_of(19), &values("z")).is_none());
    }
}
