//! Whether what is installed, and what is in the store, is what it should be; and mending what is not.
//!
//! Objects of the store are compared with their checksums, and deployments with the commits that they were made from. What is
//! damaged in the store is fetched again, and put into all deployments that have it.

mod deployments;
mod repair;
pub mod row;

use std::collections::{BTreeMap, BTreeSet};

use crate::commit::Commit;
use crate::error::{Error, Result};
use crate::install::site::Site;
use crate::name::Name;
use crate::store::Store;
use crate::store::mending::{self, Survey};
use deployments::{Compared, Installed};
use row::{Problem, Row};

pub use repair::Means;

/// What is verified.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// These containers; all, and the whole store, if there are none.
    pub names: Vec<Name>,
    /// Only the store.
    pub store_only: bool,
}

impl Scope {
    fn has(&self, name: &Name) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }
}

/// Verifies, and mends what is damaged if there are `means` for that.
pub fn verify(site: &Site, store: &Store, scope: &Scope, means: Option<&Means>) -> Result<Vec<Row>> {
    // What is found must not be pruned.
    let lock = store.lock_shared()?;
    let mut installed = deployments::find(site, &scope.names)?;
    let own = installed.iter().filter(|it| !site.deployments.came_with_system(&it.deployment));
    let deployed: Vec<(String, Commit)> =
        own.filter_map(|it| Some((it.image.clone(), it.commit.clone()?))).collect();
    installed.retain(|it| !scope.store_only && scope.has(it.deployment.name()));
    let only: Option<BTreeSet<Commit>> =
        (!scope.names.is_empty()).then(|| installed.iter().filter_map(|it| it.commit.clone()).collect());
    let survey = mending::survey(store, only.as_ref(), &deployed)?;
    let compared: Vec<(&Installed, Compared)> =
        installed.iter().map(|it| (it, deployments::compare(store, it, &survey.damage))).collect();
    let mut rows = rows(&survey, &compared);
    if let Some(means) = means {
        repair::store(store, &survey, means, &mut rows)?;
        // Containers are locked before the store.
        drop(lock);
        repair::deployments(site, store, &compared, &mut rows)?;
    }
    Ok(rows)
}

/// Fails for a name that no container has.
pub fn check_names(site: &Site, names: &[Name]) -> Result<()> {
    for name in names {
        if site.deployments.with_system(name)?.is_empty() {
            return Err(Error::not_found(format!("there is no container {name}")));
        }
    }
    Ok(())
}

/// One for each object that is damaged, and one for each other thing that is wrong in a deployment.
fn rows(survey: &Survey, compared: &[(&Installed, Compared)]) -> Vec<Row> {
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut others = Vec::new();
    for (installed, compared) in compared {
        let name = installed.deployment.to_string();
        let found = match compared {
            Compared::Unknown(why) => {
                others.push(Row::of_deployment(&name, None, Problem::Unverifiable, why));
                continue;
            }
            Compared::Done(found) => found,
        };
        for difference in &found.differences {
            match Problem::of(&difference.problem) {
                Some(problem) => {
                    let path = Some(difference.path.as_path());
                    others.push(Row::of_deployment(&name, path, problem, &difference.detail));
                }
                None => {
                    let object = difference.object().unwrap_or_default().to_owned();
                    uses.entry(object).or_default().push(format!("{name}:{}", difference.path.display()));
                }
            }
        }
        if found.more > 0 {
            let why = format!("there are {} more", found.more);
            others.push(Row::of_deployment(&name, None, Problem::Changed, &why));
        }
    }
    let objects = survey.damage.iter().map(|(object, wrong)| {
        let users = survey.users.get(object).cloned().unwrap_or_default();
        let used_by = uses.remove(&object.to_string()).unwrap_or_default();
        Row::of_object(object, wrong, &users, used_by)
    });
    objects.collect::<Vec<_>>().into_iter().chain(others).collect()
}
