//! Who uses what: deployments, and the images that they were made of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::bundle::Bundle;
use crate::deployment::{self, Deployments, Info};
use crate::error::Result;
use crate::files;
use crate::mounts;
use crate::name::Name;
use crate::systemd;

/// What a deployment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Its container's link leads to it.
    Current,
    /// The one to go back to.
    Previous,
    /// A service was started with it, and runs.
    Running,
    /// Something is mounted in it.
    Mounted(PathBuf),
    /// Nobody can tell, so it stays.
    Unclear(String),
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Current => f.write_str("it is current"),
            Use::Previous => f.write_str("it is the one to go back to"),
            Use::Running => f.write_str("it runs"),
            Use::Mounted(path) => write!(f, "{} is a mount point; unmount that first", path.display()),
            Use::Unclear(why) => f.write_str(why),
        }
    }
}

/// All deployments of an installed container, oldest first, each with what it is for; `None` is nothing. This decides what
/// a prune leaves.
pub fn of_container(deployments: &Deployments, name: &Name) -> Result<Vec<(String, Option<Use>)>> {
    let (all, _) = deployments.all(name)?;
    let unclear =
        |why: String| all.iter().map(|one| (one.clone(), Some(Use::Unclear(why.clone())))).collect();
    let current = match deployments.current(name) {
        Ok(Some(current)) if all.contains(&current) => current,
        Ok(_) => return Ok(unclear(format!("the link {name} leads to no deployment"))),
        Err(e) => return Ok(unclear(e.to_string())),
    };
    let previous = all.iter().rev().find(|deployment| **deployment != current);
    let busy = Busy::find(deployments, name)?;
    let one = |deployment: &String| -> Result<(String, Option<Use>)> {
        let used = if *deployment == current {
            Some(Use::Current)
        } else if previous == Some(deployment) {
            Some(Use::Previous)
        } else {
            busy.with(deployments, deployment)?
        };
        Ok((deployment.clone(), used))
    };
    all.iter().map(one).collect()
}

/// Removes those of `others` that are in nobody's way to be removed.
pub fn remove_idle(deployments: &Deployments, name: &Name, others: &[String]) -> Result<()> {
    let busy = Busy::find(deployments, name)?;
    for other in others {
        if busy.with(deployments, other)?.is_none() {
            deployments.remove(other)?;
        }
    }
    Ok(())
}

/// Which deployments of a container cannot go now, whatever they are for.
pub enum Busy {
    /// A service runs the deployment that it was started with, however many updates ago.
    One(String),
    /// It may be the original's, which runs from any.
    All,
    /// Nothing runs.
    None,
}

impl Busy {
    /// Looks what runs; on a tree that is not this host, nothing does.
    pub fn find(deployments: &Deployments, name: &Name) -> Result<Busy> {
        let root = deployments.root();
        let launch = if root.is_host() { Bundle::new(name).load()? } else { None };
        Ok(match launch {
            Some(launch) => Busy::One(launch.deployment),
            None if systemd::is_active(root, name)? => Busy::All,
            None => Busy::None,
        })
    }

    /// Why a deployment cannot go.
    pub fn with(&self, deployments: &Deployments, deployment: &str) -> Result<Option<Use>> {
        let path = deployments.path(deployment);
        let runs = match self {
            Busy::One(running) => running == deployment,
            Busy::All => true,
            Busy::None => false,
        };
        if runs {
            return Ok(Some(Use::Running));
        }
        if path.is_symlink() || !path.is_dir() {
            return Ok(Some(Use::Unclear(format!("{} is no directory; remove it by hand", path.display()))));
        }
        Ok(mounts::find(&path)?.map(Use::Mounted))
    }
}

/// Which deployments were made of which images.
#[derive(Debug, Default)]
pub struct Users {
    commits: BTreeMap<String, Vec<String>>,
    names: BTreeMap<String, Vec<String>>,
    /// Those that do not say what they were made of, each with the reason.
    pub unreadable: Vec<(String, String)>,
}

impl Users {
    /// Looks at all deployments, and those that came with the system.
    pub fn find(deployments: &Deployments) -> Result<Users> {
        let mut users = Users::default();
        let is_deployment = |entry: &str| deployment::owner(entry).is_some_and(|name| name.as_str() != entry);
        for entry in files::names(&deployments.path(""))? {
            if !entry.starts_with('.') && is_deployment(&entry) {
                match deployments.info(&entry) {
                    Ok(info) => users.add(entry, info),
                    Err(e) => users.unreadable.push((entry, e.to_string())),
                }
            }
        }
        let preinstalled = Deployments::preinstalled(deployments.root());
        for entry in files::names(&preinstalled.path(""))? {
            // One that was preinstalled needs no number.
            if let Ok(info) = preinstalled.info(&entry) {
                users.add(preinstalled.directory().join(entry).display().to_string(), info);
            }
        }
        Ok(users)
    }

    fn add(&mut self, deployment: String, info: Info) {
        self.commits.entry(info.ostree_commit).or_default().push(deployment.clone());
        self.names.entry(info.image).or_default().push(deployment);
    }

    /// Deployments of a commit.
    pub fn of_commit(&self, commit: &str) -> &[String] {
        self.commits.get(commit).map_or(&[], Vec::as_slice)
    }

    /// Deployments of an image: of its commit, or of another that had its name.
    pub fn of_image(&self, name: &str, commit: &str) -> Vec<String> {
        // The original left out the tag where that was the default.
        let short = name.strip_suffix(":latest").filter(|short| !short.is_empty());
        let by_name = [Some(name), short].into_iter().flatten().filter_map(|name| self.names.get(name));
        let mut all: Vec<String> = self.of_commit(commit).iter().chain(by_name.flatten()).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}
