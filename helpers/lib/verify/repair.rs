//! Mending what is damaged: first in the store, then in deployments.

use std::collections::BTreeMap;

use super::deployments::{Compared, Installed};
use super::row::{Problem, Row};
use crate::error::Result;
use crate::install::site::Site;
use crate::program::log;
use crate::run::bundle::Bundle;
use crate::store::Store;
use crate::store::access::Access;
use crate::store::comparison::Difference;
use crate::store::integrity;
use crate::store::mending::{self, Survey};
use crate::store::pull::PullObserver;
use crate::store::restoring;
use crate::system::journal::{self, Event, Subject};
use crate::system::lock;

/// How damaged layers are fetched.
pub struct Means<'a> {
    /// How sources are reached.
    pub access: &'a Access,
    /// Who is told of the progress.
    pub observer: &'a dyn PullObserver,
}

/// Mends what is damaged in the store, and notes in rows what became of it. The caller has locked the store.
pub fn store(store: &Store, survey: &Survey, means: &Means, rows: &mut [Row]) -> Result<()> {
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    for (image, e) in mending::mend(store, survey, means.access, means.observer) {
        let text = e.to_string();
        failures.extend(image.damaged.iter().map(|object| (object.to_string(), text.clone())));
        log::error(&text);
    }
    let names = survey.damage.keys().cloned().collect();
    let left = integrity::check(store, Some(&names))?;
    let left: BTreeMap<String, String> =
        left.into_iter().map(|(object, why)| (object.to_string(), why)).collect();
    for row in rows.iter_mut() {
        let Some(object) = &row.object else { continue };
        row.repaired = Some(!left.contains_key(object));
        // Nothing has it, and the next prune removes it.
        let why = || failures.get(object).or_else(|| left.get(object)).cloned();
        row.failure = if left.contains_key(object) { why() } else { None };
    }
    Ok(())
}

/// Puts back what is wrong in deployments, and notes in rows what became of it.
pub fn deployments(
    site: &Site,
    store: &Store,
    compared: &[(&Installed, Compared)],
    rows: &mut [Row],
) -> Result<()> {
    for (installed, compared) in compared {
        if let Compared::Done(found) = compared {
            of_deployment(site, store, installed, &found.differences, rows)?;
        }
    }
    rows.iter().filter(|row| row.repaired == Some(true)).for_each(|row| record(site, row));
    Ok(())
}

/// Puts back what is wrong in one deployment.
fn of_deployment(
    site: &Site,
    store: &Store,
    installed: &Installed,
    differences: &[Difference],
    rows: &mut [Row],
) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    // It is neither removed nor replaced meanwhile.
    let _container = lock::container(site.root(), installed.deployment.name())?;
    let _store = store.lock_shared()?;
    if !site.deployments.is_deployment(&installed.deployment) {
        return Ok(());
    }
    let (rootfs, name) = (installed.path.join("rootfs"), installed.deployment.to_string());
    let mut has_restored = false;
    for difference in differences {
        let restored = restoring::restore(store, &rootfs, difference);
        has_restored |= restored.is_ok();
        note(rows, &name, difference, restored.err().map(|e| e.to_string()));
    }
    restoring::sync(&rootfs)?;
    let running = Bundle::new(site.root(), installed.deployment.name()).load().ok().flatten();
    let is_stale =
        running.is_some_and(|launch| launch.deployment == installed.deployment && launch.overlay.is_some());
    if has_restored && is_stale {
        let container = installed.deployment.name();
        log::info(&format!(
            "{container} may see what was damaged until it is restarted, 'systemctl restart {container}'"
        ));
    }
    Ok(())
}

/// Notes what became of one difference: in the row of the object, or in its own.
fn note(rows: &mut [Row], deployment: &str, difference: &Difference, failure: Option<String>) {
    let path = difference.path.display().to_string();
    for row in rows.iter_mut() {
        let is_it = match difference.object() {
            Some(object) => row.object.as_deref() == Some(object),
            None => {
                row.deployment.as_deref() == Some(deployment) && row.path.as_deref() == Some(path.as_str())
            }
        };
        if !is_it {
            continue;
        }
        match &failure {
            None if row.object.is_none() => row.repaired = Some(true),
            None => {}
            Some(why) => {
                row.repaired = Some(false);
                row.failure.get_or_insert_with(|| why.clone());
            }
        }
    }
}

fn record(site: &Site, row: &Row) {
    let what = row.line();
    let reason = match row.problem {
        Problem::Damaged => "an object of the store was damaged",
        _ => "a deployment differed from its image",
    };
    let subject = Subject { reason: Some(reason.into()), ..Subject::default() };
    journal::record(site.root(), Event::Mended, &subject, what.trim_end());
}
