//! Which deployments are needed and what for, and which images they were made from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::commit::Commit;
use crate::container::deployment::Deployments;
use crate::container::entries::Entry;
use crate::container::info::Info;
use crate::container::registration;
use crate::container::state::State;
use crate::error::Result;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::run::bundle::Bundle;
use crate::system::journal::{self, Event, Subject};
use crate::system::mounts;
use crate::system::systemd::manager;

/// Why a deployment is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// The container's link leads to it.
    Current,
    /// It is the previous deployment, which the user can roll back to.
    Previous,
    /// It is staged.
    Staged,
    /// It is part of an unfinished switch.
    Switching,
    /// It is one of the additional deployments that `--keep` asks for.
    Kept,
    /// The service runs, and was started with it.
    Running,
    /// Something is mounted at this path in it.
    Mounted(PathBuf),
    /// It came with the operating system.
    System,
    /// This cannot be decided, for this reason.
    Unclear(String),
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Current => f.write_str("it is current"),
            Use::Previous => f.write_str("it is the one to roll back to"),
            Use::Staged => f.write_str("it is staged"),
            Use::Switching => f.write_str("it is part of an unfinished switch"),
            Use::Kept => f.write_str("it is within the number of deployments to keep"),
            Use::Running => f.write_str("it is running"),
            Use::Mounted(path) => write!(f, "{} is a mount point; unmount that first", path.display()),
            Use::System => f.write_str("it came with the system"),
            Use::Unclear(why) => f.write_str(why),
        }
    }
}

/// Deployments, oldest first, each with the reason to keep it; `None` if there is none.
pub type Uses = Vec<(Deployment, Option<Use>)>;

/// All deployments of an installed container, and which of them are kept. Nothing else decides this.
pub fn of_container(site: &Site, name: &Name) -> Result<Uses> {
    let deployments = &site.deployments;
    let all = deployments.with_system(name)?;
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
        } else if switch.is_some_and(|switch| switch.deployments().any(|one| one == deployment)) {
            Some(Use::Switching)
        } else if state.staged.as_ref() == Some(deployment) {
            Some(Use::Staged)
        } else {
            (previous.as_ref() == Some(deployment)).then_some(Use::Previous)
        }
    };
    // The newest first.
    let more = all.iter().rev().filter(|deployment| is_wanted(deployment).is_none());
    let kept: Vec<_> = more.take(state.keep().saturating_sub(2)).collect();
    let one = |deployment: &Deployment| -> Result<(Deployment, Option<Use>)> {
        let used = match is_wanted(deployment) {
            None if deployments.came_with_system(deployment) => Some(Use::System),
            None if kept.contains(&deployment) => Some(Use::Kept),
            None => busy.with(deployments, deployment)?,
            used => used,
        };
        Ok((deployment.clone(), used))
    };
    all.iter().map(one).collect()
}

/// The deployment to roll back to: the previous one or, if that is gone, the newest other one that is not staged.
pub fn previous(all: &[Deployment], current: &Deployment, state: &State) -> Option<Deployment> {
    let is_one =
        |deployment: &&Deployment| *deployment != current && state.staged.as_ref() != Some(*deployment);
    let known = state.previous.as_ref().filter(|previous| all.contains(previous)).filter(is_one);
    known.or_else(|| all.iter().rev().find(is_one)).cloned()
}

/// An update that is about to happen.
pub struct Next<'a> {
    /// The deployment that is current now.
    pub from: &'a Deployment,
    /// The deployment that will be current.
    pub to: &'a Deployment,
    /// Whether the service keeps running meanwhile.
    pub runs: bool,
}

/// Deployments of a container that are no longer needed after an update.
pub fn outdated(site: &Site, name: &Name, next: &Next) -> Result<Vec<Deployment>> {
    let mut state = State::load(&site.deployments, name)?;
    state.staged = None;
    state.switch = None;
    if next.from != next.to {
        state.previous = Some(next.from.clone());
    }
    let busy = if next.runs { Busy::find(site, name)? } else { Busy::None };
    let all = site.deployments.with_system(name)?;
    Ok(unused(decide(&site.deployments, &all, next.to, &state, &busy)?))
}

/// Removes the deployments that are not needed.
pub fn collect(site: &Site, name: &Name) -> Result<()> {
    for deployment in unused(of_container(site, name)?) {
        site.deployments.remove(&deployment)?;
        let reason = "it is no longer needed";
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

/// Which deployments of a container are in use now and so cannot be removed.
pub enum Busy {
    /// The one that the service was started with, however many updates ago.
    One(Deployment),
    /// Possibly any of them: the service may be one of Atomic's, of which this is not recorded.
    All,
    /// None: the service does not run.
    None,
}

impl Busy {
    /// Finds out what runs; in an unpacked tree, nothing does.
    pub fn find(site: &Site, name: &Name) -> Result<Busy> {
        Ok(match Bundle::new(site.root(), name).deployment()? {
            Some(running) => Busy::One(running),
            None if manager::is_active(site.manager(), name)? => Busy::All,
            None => Busy::None,
        })
    }

    /// Why a deployment cannot be removed now, if so.
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

/// Which deployments were made from which images.
#[derive(Debug, Default)]
pub struct Users {
    commits: BTreeMap<Commit, Vec<String>>,
    names: BTreeMap<String, Vec<String>>,
    /// Deployments whose `info` cannot be read, each with the error.
    pub unreadable: Vec<(String, String)>,
}

impl Users {
    /// Reads all deployments, including those that came with the operating system.
    pub fn find(deployments: &Deployments) -> Result<Users> {
        let mut users = Users::default();
        for (file_name, entry) in deployments.entries()? {
            let Entry::Deployment(deployment) = entry else { continue };
            // Something else with the name of a deployment uses no image.
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
            // The name of a preinstalled deployment need not end in a number.
            if let Ok(info) = Info::read(&preinstalled.path(&file_name)) {
                users.add(preinstalled.directory().join(file_name).to_string(), info);
            }
        }
        users.add_registered(deployments);
        Ok(users)
    }

    /// Adds the images of containers that are registered, and whose deployments are not here: their storage may be elsewhere.
    fn add_registered(&mut self, deployments: &Deployments) {
        let (found, _) = registration::list(deployments.root());
        for (name, path) in found {
            // One that cannot be read names none.
            let Ok(Some(registered)) = registration::read(deployments.root(), &name, &path) else { continue };
            let is_here = registered.directory == *deployments.directory()
                && deployments.is_deployment(&registered.deployment);
            if !is_here {
                self.names.entry(registered.image).or_default().push(registered.deployment.to_string());
            }
        }
    }

    fn add(&mut self, deployment: String, info: Info) {
        self.commits.entry(info.ostree_commit).or_default().push(deployment.clone());
        self.names.entry(info.image).or_default().push(deployment);
    }

    /// Deployments that were made from a commit.
    pub fn of_commit(&self, commit: &Commit) -> &[String] {
        self.commits.get(commit).map_or(&[], Vec::as_slice)
    }

    /// Deployments that were made from an image: from its commit, or from another one that had its name.
    pub fn of_image(&self, name: &str, commit: &Commit) -> Vec<String> {
        // Atomic left out the default tag.
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
