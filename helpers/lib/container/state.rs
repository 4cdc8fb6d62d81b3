//! What is known of a container besides its deployments, in `.NAME.state` beside them: which deployment was current before,
//! which one is staged, how it is to be updated, which images failed, and the switch that is under way.
//!
//! The file is replaced as a whole and synced, so one write is one decision. A container without it has nothing to remember.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::container::deployment::{Deployments, Info};
use crate::error::{Context, Result};
use crate::host_files;
use crate::name::Name;
use crate::system::files;

/// How long a new deployment is watched, unless the user says otherwise.
const SOAK: Duration = Duration::from_secs(30);
/// How many deployments are kept, unless the user says otherwise: the current one, and one to go back to.
const KEEP: usize = 2;
/// How many images that failed are remembered.
const BAD_MAX: usize = 8;

/// The file's content; the fields are the JSON keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct State {
    /// The deployment that was current before, the one to go back to.
    pub previous: Option<String>,
    /// The deployment that is to be current next. It may not be there yet, or not any more.
    pub staged: Option<String>,
    /// Whether it is not to be updated.
    pub hold: bool,
    /// How many deployments are kept, if not [`KEEP`].
    pub keep: Option<usize>,
    /// How many seconds a new deployment is watched, if not [`SOAK`].
    pub soak: Option<u64>,
    /// Whether it was enabled when it last had a unit that can be.
    pub enabled: Option<bool>,
    /// What failed, oldest first.
    pub bad: Vec<Bad>,
    /// The switch that is under way, or was when its program was killed.
    pub switch: Option<Switch>,
}

/// An image that failed, with the values that it failed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Bad {
    /// Digest of its manifest.
    pub digest: String,
    /// What the user had set.
    pub user_values: BTreeMap<String, String>,
    /// What was wrong.
    pub reason: String,
    /// When, seconds since 1970.
    pub time: u64,
}

/// A switch from one deployment to another, noted before the symlink is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Switch {
    /// The deployment that was current.
    pub from: String,
    /// The deployment that is to be current.
    pub to: String,
    /// Whether the new one has to prove itself. Otherwise it stays, whatever comes.
    pub is_watched: bool,
    /// Whether the service has to be started if it goes back.
    pub was_active: bool,
    /// Whether the unit was enabled.
    pub was_enabled: bool,
    /// What was in host files that other containers have, too.
    pub shared: host_files::Shared,
    /// Units that were active and go down with this one.
    pub dependents: Vec<String>,
    /// The boot that it happens in.
    pub boot: String,
    /// Why `from` is left for an older deployment, if it is.
    pub rollback: Option<String>,
    /// Whether this boot is the one more that a new deployment gets which was not confirmed in the boot before.
    pub is_trial: bool,
    /// Why it goes back, once that is decided.
    pub back: Option<String>,
}

impl State {
    /// Reads it.
    pub fn load(deployments: &Deployments, name: &Name) -> Result<State> {
        let path = path(deployments, name);
        let what = || format!("cannot read {}", path.display());
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .context(|| {
                    "it is not as it was written; remove it to go on, what is held and staged is forgotten then".into()
                })
                .context(what),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(e).context(what),
        }
    }

    /// Writes it, so that it lasts.
    pub fn save(&self, deployments: &Deployments, name: &Name) -> Result<()> {
        if *self == State::default() {
            return forget(deployments, name);
        }
        let text = serde_json::to_string_pretty(self).context(|| "cannot write the state".into())?;
        files::replace(&path(deployments, name), format!("{text}\n").as_bytes(), 0o600)?;
        files::sync_directory(&deployments.path(""))
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
    pub fn staged<'a>(&'a self, deployments: &Deployments) -> Option<&'a str> {
        self.staged.as_deref().filter(|staged| deployments.path(staged).is_dir())
    }

    /// What the user wants: what is known of the staged deployment, or of the `current` one.
    pub fn wanted(&self, deployments: &Deployments, current: &Info) -> Info {
        let staged = self.staged(deployments).and_then(|staged| deployments.info(staged).ok());
        staged.unwrap_or_else(|| current.clone())
    }

    /// Why a deployment that would be made so is not to be tried again.
    pub fn bad(&self, info: &Info) -> Option<&Bad> {
        self.bad.iter().find(|bad| bad.is(info))
    }

    /// Remembers that a deployment failed.
    pub fn remember(&mut self, info: &Info, reason: &str) {
        self.forgive(info);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.bad.push(Bad {
            digest: info.digest.clone(),
            user_values: info.user_values.clone(),
            reason: reason.to_owned(),
            time: now.as_secs(),
        });
        let excess = self.bad.len().saturating_sub(BAD_MAX);
        self.bad.drain(..excess);
    }

    /// Forgets that it did.
    pub fn forgive(&mut self, info: &Info) {
        self.bad.retain(|bad| !bad.is(info));
    }
}

impl Bad {
    fn is(&self, info: &Info) -> bool {
        self.digest == info.digest && self.user_values == info.user_values
    }
}

/// Removes the file.
pub fn forget(deployments: &Deployments, name: &Name) -> Result<()> {
    let path = path(deployments, name);
    files::remove_file(&path).context(|| format!("cannot remove {}", path.display())).map(|_| ())
}

/// The container that a file in the directory of deployments is the state of.
pub fn owner(entry: &str) -> Option<Name> {
    entry.strip_prefix('.')?.strip_suffix(".state")?.parse().ok()
}

/// Its name.
pub fn file(name: &Name) -> String {
    format!(".{name}.state")
}

fn path(deployments: &Deployments, name: &Name) -> PathBuf {
    deployments.path(file(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Root;

    fn deployments() -> (tempfile::TempDir, Deployments) {
        let dir = tempfile::tempdir().unwrap();
        let deployments = Deployments::new(&Root::new(dir.path()));
        deployments.create().unwrap();
        (dir, deployments)
    }

    #[test]
    fn lasts_and_leaves_no_file_that_says_nothing() {
        let (_dir, deployments) = deployments();
        let name: Name = "web".parse().unwrap();
        assert_eq!(State::load(&deployments, &name).unwrap(), State::default());
        let state = State {
            hold: true,
            switch: Some(Switch { from: "web.0".into(), ..Switch::default() }),
            ..State::default()
        };
        state.save(&deployments, &name).unwrap();
        assert_eq!(State::load(&deployments, &name).unwrap(), state);
        assert_eq!(owner(".web.state"), Some(name.clone()));
        State::default().save(&deployments, &name).unwrap();
        assert!(!path(&deployments, &name).exists());
        fs::write(path(&deployments, &name), "{").unwrap();
        assert!(State::load(&deployments, &name).unwrap_err().to_string().contains(".web.state"));
    }

    #[test]
    fn remembers_what_failed_with_which_values() {
        let mut state = State::default();
        let info = |digest: &str, value: &str| Info {
            digest: digest.into(),
            user_values: [("A".to_owned(), value.to_owned())].into(),
            ..Info::default()
        };
        state.remember(&info("sha256:1", "x"), "it died");
        state.remember(&info("sha256:1", "x"), "it died again");
        assert_eq!(state.bad(&info("sha256:1", "x")).unwrap().reason, "it died again");
        assert!(state.bad(&info("sha256:1", "y")).is_none() && state.bad(&info("sha256:2", "x")).is_none());
        for number in 0..20 {
            state.remember(&info(&format!("sha256:{number}"), "z"), "it died");
        }
        assert_eq!(state.bad.len(), BAD_MAX);
        state.forgive(&info("sha256:19", "z"));
        assert!(state.bad(&info("sha256:19", "z")).is_none());
    }
}
