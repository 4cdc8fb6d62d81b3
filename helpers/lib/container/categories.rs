//! The two SELinux categories that distinguish a container from all others.
//!
//! They are chosen when the container is installed, and recorded: whatever is installed or removed later, a container
//! keeps them, as its volumes need, and no other one gets them. Where the host has no SELinux, it may have it later.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::container::execution::Categories;
use crate::container::registration;
use crate::name::Name;
use crate::paths::Root;

/// How many categories there are.
const COUNT: u32 = 1024;

/// Chooses those of a new container: they follow from the name, unless another one that is registered has them.
pub fn choose(root: &Root, name: &Name) -> Categories {
    let others = registration::list(root).0.into_keys().filter(|other| other != name);
    let others = others.filter_map(|other| registration::find(root, &other).ok().flatten());
    free(name, &others.filter_map(|(_, registration)| registration.execution.categories).collect())
}

fn free(name: &Name, taken: &BTreeSet<Categories>) -> Categories {
    let mut candidates = (0u32..).map(|attempt| candidate(name, attempt));
    let free = candidates.find(|pair| pair.0 < pair.1 && !taken.contains(pair));
    // There are half a million pairs, and some thousand containers.
    free.unwrap_or(Categories(0, 1))
}

fn candidate(name: &Name, attempt: u32) -> Categories {
    let digest = Sha256::digest(format!("{name}\n{attempt}"));
    let number = |at: usize| u32::from(u16::from_be_bytes([digest[at], digest[at + 1]])) % COUNT;
    let (one, other) = (number(0), number(2));
    Categories(one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_has_two_categories_of_its_own() {
        let mut taken = BTreeSet::new();
        for number in 0..1500 {
            let name: Name = format!("web{number}").parse().unwrap();
            let pair = free(&name, &taken);
            assert!(pair.0 < pair.1 && pair.1 < COUNT);
            assert!(taken.insert(pair), "{name} has those of another one");
        }
    }

    #[test]
    fn those_of_others_are_not_chosen_whatever_their_names() {
        let (web, app) = ("web".parse().unwrap(), "app-111299".parse().unwrap());
        let pair = free(&web, &BTreeSet::new());
        // They have the same first candidate, and this one comes before the other in every list.
        assert_eq!(free(&app, &BTreeSet::new()), pair);
        assert_ne!(free(&app, &BTreeSet::from([pair])), pair);
    }
}
