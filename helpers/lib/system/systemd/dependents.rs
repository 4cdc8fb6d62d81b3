//! Units that depend on another one.

use crate::error::Result;
use crate::name::Name;
use crate::system::systemd::manager::{Manager, show_one};

/// Which units count as dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Units that need it directly: `Requires=`, `Requisite=`, `BindsTo=`.
    Needs,
    /// Units that are stopped along with it: those that need it or are part of it (`PartOf=`), and their dependents in
    /// turn.
    StoppedWith,
}

/// Active units that depend on the unit of a container; none if no manager runs.
pub fn active(manager: &dyn Manager, name: &Name, relation: Relation) -> Result<Vec<String>> {
    if !manager.is_running() {
        return Ok(Vec::new());
    }
    let of = |status: crate::system::systemd::status::UnitStatus| match relation {
        Relation::Needs => status.needed_by,
        Relation::StoppedWith => [status.needed_by, status.parts].concat(),
    };
    let mut seen = vec![name.unit()];
    let mut queue = of(show_one(manager, &name.unit())?);
    let mut active = Vec::new();
    while !queue.is_empty() {
        queue.retain(|unit| !seen.contains(unit));
        seen.extend(queue.iter().cloned());
        let mut next = Vec::new();
        for status in manager.show(&queue)? {
            let counts = match relation {
                Relation::Needs => !status.is_down(),
                Relation::StoppedWith => status.is_up(),
            };
            if counts {
                active.push(status.id.clone());
                if relation == Relation::StoppedWith {
                    next.extend(of(status));
                }
            }
        }
        queue = next;
    }
    Ok(active)
}
