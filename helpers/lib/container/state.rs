//! What is remembered about a container besides its deployments, in `.NAME.state` next to them: the previous
//! deployment, the staged one, how the container is updated, which images failed, and the switch in progress. JSON, see
//! syscontainers-state(5).
//!
//! The file is replaced as a whole and synced, so every write takes effect completely or not at all. Where there is
//! nothing to remember, there is no file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::container::declared::Declared;
use crate::container::deployment::Deployments;
use crate::container::entries::Entry;
use crate::container::info::{ExportsUse, Info, Values};
use crate::container::settings::Settings;
use crate::digest::Digest;
use crate::error::Result;
use crate::name::{Deployment, Name};
use crate::paths::TreePath;
use crate::system::record;

/// How long a new deployment is watched, unless the user says otherwise.
const SOAK: Duration = Duration::from_secs(30);
/// How many deployments are kept, unless the user says otherwise: the current one, and one to roll back to.
const KEEP: usize = 2;
/// How many images that failed are remembered.
const FAILED_MAX: usize = 8;

/// The file's content; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// The previous deployment, which is the one to roll back to.
    #[serde(default)]
    pub previous: Option<Deployment>,
    /// The deployment that the next switch makes current. It may not exist yet, or no longer.
    #[serde(default)]
    pub staged: Option<Deployment>,
    /// Whether updates are held.
    #[serde(default)]
    pub hold: bool,
    /// Whether `/exports` of images are ignored, whatever earlier deployments have of them.
    #[serde(default)]
    pub ignores_exports: bool,
    /// How many deployments are kept, if not [`KEEP`].
    #[serde(default)]
    pub keep: Option<usize>,
    /// How many seconds a new deployment is watched, if not [`SOAK`].
    #[serde(default)]
    pub soak: Option<u64>,
    /// Whether the unit was enabled, when the container last had a unit that can be enabled.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// The declaration that was applied last, if one was.
    #[serde(default)]
    pub declared: Option<Declared>,
    /// Images that failed, oldest first.
    // `bad` is its name in files of earlier versions.
    #[serde(default, alias = "bad")]
    pub failed: Vec<Failure>,
    /// The switch that is in progress, or that was when its program was killed.
    #[serde(default)]
    pub switch: Option<Switch>,
}

/// An image that failed, with the choices that it failed with; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// What the user had chosen.
    #[serde(flatten)]
    pub choices: Choices,
    /// Why it failed.
    pub reason: String,
    /// When it failed, in seconds since 1970.
    pub time: u64,
}

/// What a user chooses that decides whether an image works; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Choices {
    /// The values that the user set.
    pub user_values: Values,
    /// What the user set with `--option=`.
    #[serde(default)]
    pub settings: Settings,
    /// Whether `/exports` of the image are ignored.
    #[serde(default)]
    pub ignores_exports: bool,
}

impl Choices {
    /// Those of a user who left everything to the image.
    pub fn none() -> Choices {
        Choices { user_values: Values::new(), settings: Settings::default(), ignores_exports: false }
    }

    /// Those of a deployment; Atomic recorded none.
    pub fn of(deployment: &Info) -> Choices {
        deployment.ours().map_or_else(Choices::none, |ours| Choices {
            user_values: ours.user_values.clone(),
            settings: ours.settings.clone(),
            ignores_exports: ours.exports == ExportsUse::Ignored,
        })
    }

    /// The names of what is set here and not in the same way there: variables, and keys as `KEY=`. Without the values, which
    /// may be secret.
    pub fn beyond(&self, others: &Choices) -> Vec<String> {
        let is_new = |(name, value): &(&String, &String)| others.user_values.get(*name) != Some(*value);
        let variables = self.user_values.iter().filter(is_new).map(|(name, _)| name.clone());
        let is_new = |(key, values): &(&str, &[String])| !others.settings.all(key).eq(values.iter());
        variables.chain(self.settings.iter().filter(is_new).map(|(key, _)| format!("{key}="))).collect()
    }
}

/// A switch from one deployment to another; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Switch {
    /// The deployment that was current.
    pub from: Deployment,
    /// The deployment that becomes current.
    pub to: Deployment,
    /// The deployment that was made current after the service had been started with `from`, and was never tried. It is
    /// staged if the switch is reverted.
    #[serde(default)]
    pub untried: Option<Deployment>,
    /// How far it has got.
    #[serde(flatten)]
    pub phase: Phase,
    /// Whether it is an update or a rollback.
    pub purpose: Purpose,
    /// Whether the new deployment is watched, and reverted if it fails. Otherwise it stays in any case.
    pub watched: bool,
    /// ID of the boot that it happens in.
    pub boot: String,
    /// What a revert restores.
    pub before: Before,
}

/// How far a switch has got, and so how a program that finds it unfinished goes on: syscontainer-switch(8) has the
/// table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// It is recorded, and that may be all: as long as the link leads to `from`, nothing else has changed.
    Switch,
    /// The link leads to `to`, and the derived files are those of `to`. The service is restarted and watched.
    Watch,
    /// Like [`Phase::Watch`], in the one boot that a deployment gets if it was not confirmed in the boot before.
    Trial,
    /// It is being reverted: `from` becomes current again, even if another program has to finish that.
    Revert {
        /// Why it is reverted.
        reason: String,
    },
}

/// What a switch is for; both kinds are reverted in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// An update to a new deployment.
    Update,
    /// A rollback to an earlier deployment, with its reason.
    Rollback(String),
}

/// How things were before a switch; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Before {
    /// Whether the service was active.
    pub active: bool,
    /// Whether the unit was enabled.
    pub enabled: bool,
    /// Checksums of host files that the container shares with others.
    pub shared_files: BTreeMap<TreePath, String>,
    /// Units that were active and are stopped along with this one.
    pub dependents: Vec<String>,
}

impl Switch {
    /// All deployments that it needs.
    pub fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        [&self.from, &self.to].into_iter().chain(&self.untried)
    }
}

impl State {
    /// The state of a container that has no state file.
    pub fn empty() -> State {
        State {
            previous: None,
            staged: None,
            hold: false,
            ignores_exports: false,
            keep: None,
            soak: None,
            enabled: None,
            declared: None,
            failed: Vec::new(),
            switch: None,
        }
    }

    /// Reads the state file; without one, the state is empty.
    pub fn load(deployments: &Deployments, name: &Name) -> Result<State> {
        let remedy = "remove it to continue, which forgets what is held, staged and ignored";
        Ok(record::load(&path(deployments, name), remedy)?.unwrap_or_else(State::empty))
    }

    /// Writes and syncs the state file; an empty state is written by removing it.
    pub fn save(&self, deployments: &Deployments, name: &Name) -> Result<()> {
        if *self == State::empty() {
            return forget(deployments, name);
        }
        record::save(&path(deployments, name), self)
    }

    /// How long a new deployment is watched.
    pub fn soak(&self) -> Duration {
        self.soak.map_or(SOAK, Duration::from_secs)
    }

    /// How many deployments are kept, at least two.
    pub fn keep(&self) -> usize {
        self.keep.unwrap_or(KEEP).max(KEEP)
    }

    /// The staged deployment, if it exists.
    pub fn staged(&self, deployments: &Deployments) -> Option<&Deployment> {
        self.staged.as_ref().filter(|staged| deployments.path_of(staged).is_dir())
    }

    /// The `info` with the latest choices of the user: that of the staged deployment, or else the `current` one.
    pub fn wanted(&self, deployments: &Deployments, current: &Info) -> Info {
        let staged = self.staged(deployments).and_then(|staged| deployments.info(staged).ok());
        staged.unwrap_or_else(|| current.clone())
    }

    /// The choices for the next deployment: those of the staged deployment, or else of the `current` one, and what was
    /// decided since.
    pub fn choices(&self, deployments: &Deployments, current: &Info) -> Choices {
        let choices = Choices::of(&self.wanted(deployments, current));
        Choices { ignores_exports: choices.ignores_exports || self.ignores_exports, ..choices }
    }

    /// How an image failed before with these choices; the same image may work with others. Nothing else decides this.
    pub fn failed_before(&self, digest: &Digest, choices: &Choices) -> Option<&Failure> {
        self.failed.iter().rev().find(|failure| failure.is_of(digest, choices))
    }

    /// Remembers that an image failed with these choices.
    pub fn remember(&mut self, digest: &Digest, choices: &Choices, reason: &str) {
        self.forgive(digest, choices);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.failed.push(Failure {
            digest: digest.clone(),
            choices: choices.clone(),
            reason: reason.to_owned(),
            time: now.as_secs(),
        });
        let excess = self.failed.len().saturating_sub(FAILED_MAX);
        self.failed.drain(..excess);
    }

    /// Forgets that an image failed with these choices.
    pub fn forgive(&mut self, digest: &Digest, choices: &Choices) {
        self.failed.retain(|failure| !failure.is_of(digest, choices));
    }
}

impl Failure {
    fn is_of(&self, digest: &Digest, choices: &Choices) -> bool {
        self.digest == *digest && self.choices == *choices
    }
}

/// Removes the state file.
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

    fn values(value: &str) -> Choices {
        Choices { user_values: [("A".to_owned(), value.to_owned())].into(), ..Choices::none() }
    }

    #[test]
    fn is_saved_and_leaves_no_empty_file() {
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
                to: Deployment::new(&name, 2),
                untried: Some(Deployment::new(&name, 1)),
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
    fn what_is_set_beyond_others_is_named_without_values() {
        let settings = |texts: &[&str]| Choices { settings: Settings::of(texts), ..values("x") };
        let more = settings(&["HostName=a", "Label=a=b", "Label=c=d"]);
        assert_eq!(more.beyond(&settings(&["HostName=a", "Label=a=b"])), ["Label="]);
        assert_eq!(more.beyond(&values("y")), ["A", "HostName=", "Label="]);
        assert!(more.beyond(&more).is_empty() && values("x").beyond(&more).is_empty());
    }

    #[test]
    fn remembers_what_failed_with_which_values() {
        let mut state = State::empty();
        state.remember(&digest_of(1), &values("x"), "it died");
        state.remember(&digest_of(1), &values("x"), "it died again");
        assert_eq!(state.failed_before(&digest_of(1), &values("x")).unwrap().reason, "it died again");
        assert!(state.failed_before(&digest_of(1), &values("y")).is_none());
        assert!(state.failed_before(&digest_of(2), &values("x")).is_none());
        let plain = Choices { ignores_exports: true, ..values("x") };
        assert!(state.failed_before(&digest_of(1), &plain).is_none());
        let text = serde_json::to_string(&state).unwrap().replace("\"failed\"", "\"bad\"");
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        for number in 0..20 {
            state.remember(&digest_of(number), &values("z"), "it died");
        }
        assert_eq!(state.failed.len(), FAILED_MAX);
        state.forgive(&digest_of(19), &values("z"));
        assert!(state.failed_before(&digest_of(19), &values("z")).is_none());
    }
}
