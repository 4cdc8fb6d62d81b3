//! Who uses what: deployments, and the images that they were made of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::container::deployment::Deployments;
use crate::container::entries::Entry;
use crate::container::info::Info;
use crate::container::state::State;
use crate::error::Result;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::run::bundle::Bundle;
use crate::system::journal::{self, Event, Subject};
use crate::system::mounts;
use crate::system::systemd::manager;

/// What a deployment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Its container's link leads to it.
    Current,
    /// The one that was current before, to go back to.
    Previous,
    /// It is to be current next.
    Staged,
    /// A switch that is not over may end with it.
    Switching,
    /// The user wants more than two.
    Kept,
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
            Use::Staged => f.write_str("it is staged"),
            Use::Switching => f.write_str("it is part of a switch that is not over"),
            Use::Kept => f.write_str("it is one of as many as are to be kept"),
            Use::Running => f.write_str("it runs"),
            Use::Mounted(path) => write!(f, "{} is a mount point; unmount that first", path.display()),
            Use::Unclear(why) => f.write_str(why),
        }
    }
}

/// Deployments, oldest first, each with what it is for; `None` is nothing.
pub type Uses = Vec<(Deployment, Option<Use>)>;

/// All deployments of an installed container. This decides what stays, whoever removes the others.
pub fn of_container(site: &Site, name: &Name) -> Result<Uses> {
    let deployments = &site.deployments;
    let all = deployments.all(name)?.deployments;
    let unclear =
        |why: String| all.iter().map(|one| (one.clone(), Some(Use::Unclear(why.clone())))).collect();
    let current = match deployments.current(name) {
        Ok(Some(current)) if all.contains(&current) => current,
        Ok(_) => return Ok(unclear(format!("the link {name} leads to no deployment"))),
        Err(e) => return Ok(unclear(e.to_string())),
    };
    match State::load(deployments, name) {
        Ok(state) => decide(deployments, &all, &current, &state, &Busy::find(site, name)?),
        Err(e) => Ok(unclear(e.to_string())),
    }
}

fn decide(
    deployments: &Deployments,
    all: &[Deployment],
    current: &Deployment,
    state: &State,
    busy: &Busy,
) -> Result<Uses> {
    let previous = previous(all, current, state);
    let is_wanted = |deployment: &Deployment| {
        let switch = state.switch.as_ref();
        if deployment == current {
            Some(Use::Current)
        } else if switch.is_some_and(|switch| switch.from == *deployment || switch.to == *deployment) {
            Some(Use::Switching)
        } else if state.staged.as_ref() == Some(deployment) {
            Some(Use::Staged)
        } else {
            previous.as_ref().filter(|previous| *previous == deployment).map(|_| Use::Previous)
        }
    };
    // The newest first.
    let more = all.iter().rev().filter(|deployment| is_wanted(deployment).is_none());
    let kept: Vec<_> = more.take(state.keep().saturating_sub(2)).collect();
    let one = |deployment: &Deployment| -> Result<(Deployment, Option<Use>)> {
        let used = match is_wanted(deployment) {
            None if kept.contains(&deployment) => Some(Use::Kept),
            None => busy.with(deployments, deployment)?,
            used => used,
        };
        Ok((deployment.clone(), used))
    };
    all.iter().map(one).collect()
}

/// The deployment to go back to: the one that was current before, or the newest one that is no other's.
pub fn previous(all: &[Deployment], current: &Deployment, state: &State) -> Option<Deployment> {
    let is_one =
        |deployment: &&Deployment| *deployment != current && state.staged.as_ref() != Some(*deployment);
    let known = state.previous.as_ref().filter(|previous| all.contains(previous)).filter(is_one);
    known.or_else(|| all.iter().rev().find(is_one)).cloned()
}

/// What is going to be.
pub struct Next<'a> {
    /// The deployment that is current now.
    pub from: &'a Deployment,
    /// The one that will be.
    pub to: &'a Deployment,
    /// Whether the service goes on running meanwhile.
    pub runs: bool,
}

/// Deployments of a container that nothing needs any more then.
pub fn outdated(site: &Site, name: &Name, next: &Next) -> Result<Vec<Deployment>> {
    let mut state = State::load(&site.deployments, name)?;
    state.staged = None;
    state.switch = None;
    if next.from != next.to {
        state.previous = Some(next.from.clone());
    }
    let busy = if next.runs { Busy::find(site, name)? } else { Busy::None };
    let all = site.deployments.all(name)?.deployments;
    Ok(unused(decide(&site.deployments, &all, next.to, &state, &busy)?))
}

/// Removes the deployments that nothing needs.
pub fn collect(site: &Site, name: &Name) -> Result<()> {
    for deployment in unused(of_container(site, name)?) {
        site.deployments.remove(&deployment)?;
        let reason = "nothing needs it any more";
        let subject = Subject {
            previous: Some(deployment.to_string()),
            reason: Some(reason.into()),
            ..Subject::of_container(name)
        };
        journal::record(site.root(), Event::Pruned, &subject, &format!("removed {deployment}: {reason}"));
    }
    Ok(())
}

fn unused(uses: Uses) -> Vec<Deployment> {
    uses.into_iter().filter(|(_, used)| used.is_none()).map(|(deployment, _)| deployment).collect()
}

/// Which deployments of a container cannot go now, whatever they are for.
pub enum Busy {
    /// A service runs the deployment that it was started with, however many updates ago.
    One(Deployment),
    /// It may be Atomic's, which runs from any.
    All,
    /// Nothing runs.
    None,
}

impl Busy {
    /// Looks what runs; on a tree that is not this host, nothing does.
    pub fn find(site: &Site, name: &Name) -> Result<Busy> {
        Ok(match Bundle::new(site.root(), name).deployment()? {
            Some(running) => Busy::One(running),
            None if manager::is_active(site.manager(), name)? => Busy::All,
            None => Busy::None,
        })
    }

    /// Why a deployment cannot go.
    pub fn with(&self, deployments: &Deployments, deployment: &Deployment) -> Result<Option<Use>> {
        let path = deployments.path_of(deployment);
        let runs = match self {
            Busy::One(running) => running == deployment,
            Busy::All => true,
            Busy::None => false,
        };
        if runs {
            return Ok(Some(Use::Running));
        }
        if path.is_symlink() || !path.is_dir() {
            return Ok(Some(Use::Unclear(format!(
                "{} is not a directory; remove it by hand",
                path.display()
            ))));
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
        for (file_name, entry) in deployments.entries()? {
            let Entry::Deployment(deployment) = entry else { continue };
            // What only has such a name uses nothing.
            if !deployments.is_deployment(&deployment) {
                continue;
            }
            match deployments.info(&deployment) {
                Ok(info) => users.add(file_name, info),
                Err(e) => users.unreadable.push((file_name, e.to_string())),
            }
        }
        let preinstalled = Deployments::preinstalled(deployments.root());
        for (file_name, _) in preinstalled.entries()? {
            // One that was preinstalled needs no number.
            if let Ok(info) = Info::read(&preinstalled.path(&file_name)) {
                users.add(preinstalled.directory().join(file_name).to_string(), info);
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
        // Atomic left out the tag where that was the default.
        let short = name.strip_suffix(":latest").filter(|short| !short.is_empty());
        let by_name = [Some(name), short].into_iter().flatten().filter_map(|name| self.names.get(name));
        let mut all: Vec<String> = self.of_commit(commit).iter().chain(by_name.flatten()).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Root;

    #[test]
    fn keeps_what_is_needed_and_as_many_as_are_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::new(&Root::new(dir.path()));
        let deployments = &site.deployments;
        deployments.create().unwrap();
        let name: Name = "web".parse().unwrap();
        let web = |number| Deployment::new(&name, number);
        for number in 0..6 {
            std::fs::create_dir_all(deployments.path_of(&web(number)).join("rootfs")).unwrap();
        }
        deployments.switch(&web(2)).unwrap();
        let kept = |state: &State| {
            state.save(deployments, &name).unwrap();
            let uses = of_container(&site, &name).unwrap();
            uses.into_iter().filter_map(|(deployment, used)| Some((deployment, used?))).collect::<Vec<_>>()
        };
        let mut state = State::empty();
        assert_eq!(kept(&state), [(web(2), Use::Current), (web(5), Use::Previous)]);
        state.previous = Some(web(1));
        state.staged = Some(web(5));
        state.keep = Some(3);
        assert_eq!(
            kept(&state),
            [(web(1), Use::Previous), (web(2), Use::Current), (web(4), Use::Kept), (web(5), Use::Staged)]
        );
        collect(&site, &name).unwrap();
        assert_eq!(deployments.all(&name).unwrap().deployments, [web(1), web(2), web(4), web(5)]);
    }
}
