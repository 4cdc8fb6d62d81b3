//! Damaged objects that are written again: libostree would leave what is there.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ostree::glib;

use super::integrity::{Damage, ObjectKind, ObjectName};
use super::repository::NEVER;

/// Objects that are to be replaced when they are met again, each of them once.
#[derive(Default)]
pub struct Replaced(Mutex<BTreeSet<ObjectName>>);

impl Replaced {
    /// All that is damaged.
    pub fn of(damage: &Damage) -> Replaced {
        Replaced(Mutex::new(damage.keys().cloned().collect()))
    }

    /// Removes a file's object that is about to be written. Whatever has another name of it keeps it, until that is linked to the new
    /// one.
    pub fn make_room_for(&self, repo: &ostree::Repo, checksum: &str) -> Result<(), glib::Error> {
        let object = ObjectName::of(ObjectKind::File, checksum);
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&object) {
            remove(repo, &object)?;
        }
        Ok(())
    }

    /// Removes what directories and commits consist of: nobody can use one that is damaged.
    pub fn remove_metadata(&self, repo: &ostree::Repo) -> Result<(), glib::Error> {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for object in objects.iter().filter(|object| object.kind != ObjectKind::File) {
            remove(repo, object)?;
        }
        objects.retain(|object| object.kind == ObjectKind::File);
        Ok(())
    }
}

fn remove(repo: &ostree::Repo, object: &ObjectName) -> Result<(), glib::Error> {
    let kind = object.kind.to_ostree();
    if repo.has_object(kind, &object.checksum, NEVER)? {
        repo.delete_object(kind, &object.checksum, NEVER)?;
    }
    Ok(())
}
