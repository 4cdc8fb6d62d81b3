//! Deployments, and what they are compared with.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::commit::Commit;
use crate::container::entries::Entry;
use crate::container::info::Info;
use crate::error::Result;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::store::Store;
use crate::store::comparison;
use crate::store::integrity::Damage;

/// A deployment that is verified.
pub struct Installed {
    /// The deployment.
    pub deployment: Deployment,
    /// Its directory, as this process sees it.
    pub path: PathBuf,
    /// The commit that it was made from; `None` if that is not known.
    pub commit: Option<Commit>,
    /// Name of the image.
    pub image: String,
    /// Why it cannot be compared, if so.
    why_not: Option<String>,
    /// What was made in it besides.
    made: BTreeSet<PathBuf>,
}

/// What a comparison found.
pub enum Compared {
    /// It could not be made, for this reason.
    Unknown(String),
    /// These differences.
    Done(comparison::Compared),
}

/// All deployments that were made here, and those of these containers that came with the operating system.
pub fn find(site: &Site, names: &[Name]) -> Result<Vec<Installed>> {
    let mut found = Vec::new();
    for (_, entry) in site.deployments.entries()? {
        let Entry::Deployment(deployment) = entry else { continue };
        if site.deployments.is_deployment(&deployment) {
            found.push(installed(site, deployment));
        }
    }
    for name in names {
        if let Some(deployment) = site.deployments.of_system(name) {
            let why_not = "it came with the operating system, which nothing is known of".to_owned();
            found.push(Installed { why_not: Some(why_not), ..installed(site, deployment) });
        }
    }
    found.sort_by(|a, b| a.deployment.cmp(&b.deployment));
    Ok(found)
}

fn installed(site: &Site, deployment: Deployment) -> Installed {
    let path = site.deployments.path_of(&deployment);
    let info = site.deployments.info(&deployment);
    let mut installed = Installed {
        deployment,
        path,
        commit: None,
        image: String::new(),
        why_not: None,
        made: BTreeSet::new(),
    };
    match info {
        Err(e) => installed.why_not = Some(e.to_string()),
        Ok(info) => installed.describe(info),
    }
    installed
}

impl Installed {
    fn describe(&mut self, info: Info) {
        self.image.clone_from(&info.image);
        let Some(ours) = info.ours() else {
            self.why_not = Some("it was made by Project Atomic's tools".into());
            return;
        };
        if let Some(remote) = &info.remote {
            self.why_not = Some(format!("its files are in {}", remote.display()));
            return;
        }
        self.made = ours.mount_points.iter().map(|path| path.as_path().to_path_buf()).collect();
        self.commit = Some(info.ostree_commit).filter(|commit| *commit != Commit::unknown());
    }
}

/// Compares a deployment with the commit that it was made from.
pub fn compare(store: &Store, installed: &Installed, damaged: &Damage) -> Compared {
    if let Some(why) = &installed.why_not {
        return Compared::Unknown(why.clone());
    }
    let unknown = || {
        Compared::Unknown(format!(
            "the commit that it was made from is not in the store; 'syscontainer-pull {}', and an update, make another one",
            installed.image
        ))
    };
    let Some(commit) = &installed.commit else { return unknown() };
    if !store.has_commit(commit) {
        return unknown();
    }
    let rootfs = installed.path.join("rootfs");
    match comparison::compare(store, commit, &rootfs, &installed.made, damaged) {
        Ok(compared) => Compared::Done(compared),
        // It was removed meanwhile, as by an update.
        Err(_) if !installed.path.exists() => {
            Compared::Done(comparison::Compared { differences: Vec::new(), more: 0 })
        }
        Err(e) => Compared::Unknown(e.to_string()),
    }
}
