//! Which deployments of a container are kept, and why.

use std::collections::BTreeMap;
use std::fmt;

use crate::bundle::Bundle;
use crate::deployment::Deployments;
use crate::error::Result;
use crate::name::Name;
use crate::state::State;
use crate::systemd;

/// What a deployment is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the one.
    Current,
    /// Its service still runs from it.
    Running,
    /// It is to be current next.
    Staged,
    /// It was current before.
    Previous,
    /// A switch that is not over may go back to it.
    Switching,
    /// The user wants more than two.
    Kept,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Current => "current",
            Reason::Running => "its service runs from it",
            Reason::Staged => "staged",
            Reason::Previous => "previous, to go back to",
            Reason::Switching => "part of a switch that is not over",
            Reason::Kept => "one of as many as are to be kept",
        })
    }
}

/// All deployments of a container that is installed, each with what it is kept for; `None` is what nothing needs.
pub fn reasons(
    deployments: &Deployments,
    name: &Name,
    state: &State,
) -> Result<BTreeMap<String, Option<Reason>>> {
    let (all, _) = deployments.all(name)?;
    let current = deployments.current(name)?;
    Ok(decide(&all, current.as_deref(), &running(deployments, name)?, state))
}

fn decide(
    all: &[String],
    current: Option<&str>,
    running: &Running,
    state: &State,
) -> BTreeMap<String, Option<Reason>> {
    let previous = previous(all, current, state);
    let reason = |deployment: &str| {
        let is = |other: Option<&str>| other == Some(deployment);
        let switch = state.switch.as_ref();
        if is(current) {
            Some(Reason::Current)
        } else if running.has(deployment) {
            Some(Reason::Running)
        } else if switch.is_some_and(|switch| switch.from == deployment || switch.to == deployment) {
            Some(Reason::Switching)
        } else if is(state.staged.as_deref()) {
            Some(Reason::Staged)
        } else if is(previous.as_deref()) {
            Some(Reason::Previous)
        } else {
            None
        }
    };
    let mut reasons: BTreeMap<_, _> = all.iter().map(|d| (d.clone(), reason(d))).collect();
    // The newest first.
    let more = all.iter().rev().filter(|deployment| reason(deployment).is_none());
    for deployment in more.take(state.keep().saturating_sub(2)) {
        reasons.insert(deployment.clone(), Some(Reason::Kept));
    }
    reasons
}

/// Deployments that nothing needs any more once `next` is current in place of `from`; `runs` says whether the service goes on.
pub fn outdated(
    deployments: &Deployments,
    name: &Name,
    from: &str,
    next: &str,
    runs: bool,
) -> Result<Vec<String>> {
    let mut state = State::load(deployments, name)?;
    state.staged = None;
    state.switch = None;
    if from != next {
        state.previous = Some(from.to_owned());
    }
    let running = if runs { running(deployments, name)? } else { Running::Nothing };
    let (all, _) = deployments.all(name)?;
    Ok(unused(&decide(&all, Some(next), &running, &state)))
}

/// Removes the deployments that nothing needs.
pub fn collect(deployments: &Deployments, name: &Name, state: &State) -> Result<()> {
    let reasons = reasons(deployments, name, state)?;
    unused(&reasons).iter().try_for_each(|deployment| deployments.remove(deployment))
}

fn unused(reasons: &BTreeMap<String, Option<Reason>>) -> Vec<String> {
    let unused = reasons.iter().filter(|(_, reason)| reason.is_none());
    unused.map(|(deployment, _)| deployment.clone()).collect()
}

/// The deployment to go back to: the one that was current before, or the newest one that is no other's.
pub fn previous(all: &[String], current: Option<&str>, state: &State) -> Option<String> {
    let is_one = |deployment: &&String| {
        current != Some(deployment.as_str()) && state.staged.as_ref() != Some(*deployment)
    };
    let known = state.previous.as_ref().filter(|previous| all.contains(previous)).filter(is_one);
    known.or_else(|| all.iter().rev().find(is_one)).cloned()
}

/// What a service runs from.
enum Running {
    Nothing,
    One(String),
    /// It is the original's, which does not say.
    Any,
}

impl Running {
    fn has(&self, deployment: &str) -> bool {
        match self {
            Running::Nothing => false,
            Running::One(one) => one == deployment,
            Running::Any => true,
        }
    }
}

/// A service runs the deployment that it was started with, however many updates ago.
fn running(deployments: &Deployments, name: &Name) -> Result<Running> {
    if !deployments.root().is_host() {
        return Ok(Running::Nothing);
    }
    Ok(match Bundle::new(name).load()? {
        Some(launch) => Running::One(launch.deployment),
        None if systemd::is_active(deployments.root(), name)? => Running::Any,
        None => Running::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Root;

    #[test]
    fn keeps_what_is_needed_and_as_many_as_are_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let deployments = Deployments::new(&Root::new(dir.path()));
        deployments.create().unwrap();
        let name: Name = "web".parse().unwrap();
        for number in 0..6 {
            std::fs::create_dir(deployments.path(format!("web.{number}"))).unwrap();
        }
        deployments.switch(&name, "web.2").unwrap();
        let kept = |state: &State| {
            let reasons = reasons(&deployments, &name, state).unwrap();
            reasons.into_iter().filter_map(|(d, reason)| reason.map(|r| (d, r))).collect::<Vec<_>>()
        };
        let mut state = State::default();
        assert_eq!(kept(&state), [("web.2".into(), Reason::Current), ("web.5".into(), Reason::Previous)]);
        state.previous = Some("web.1".into());
        state.staged = Some("web.5".into());
        state.keep = Some(3);
        assert_eq!(
            kept(&state),
            [
                ("web.1".into(), Reason::Previous),
                ("web.2".into(), Reason::Current),
                ("web.4".into(), Reason::Kept),
                ("web.5".into(), Reason::Staged),
            ]
        );
        collect(&deployments, &name, &state).unwrap();
        assert_eq!(deployments.all(&name).unwrap().0, ["web.1", "web.2", "web.4", "web.5"]);
    }
}
