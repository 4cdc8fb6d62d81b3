//! Variables whose values are secret, as the image's manifest or the user says: these are only rendered to files that
//! other users of the host cannot read.
//!
//! Units are not such files. systemd tells everybody what is in them, whatever their modes are.

use std::collections::BTreeSet;

use crate::container::info::Values;
use crate::container::settings::Settings;
use crate::image::template::{self, Format, PlaceholderFault, Problem};

/// What dry runs show in place of a secret value.
pub const MASK: &str = "********";

/// Words that the names of secret variables consist of.
const WORDS: [&str; 12] = [
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PW",
    "PWD",
    "SECRET",
    "TOKEN",
];

/// Whether users of the host other than root may read or change a host file with `mode` that belongs to the user `uid`
/// and the group `gid`; root is in its own. Whoever owns a file may change its mode.
pub fn is_readable(mode: u32, uid: u32, gid: u32) -> bool {
    mode & 0o007 != 0 || gid != 0 && mode & 0o070 != 0 || uid != 0
}

/// Finds the places of a template at which secret variables are used.
pub fn uses(file: &str, text: &str, secrets: &BTreeSet<String>) -> Vec<Problem> {
    if secrets.is_empty() {
        return Vec::new();
    }
    // Without any value, every use of a variable is a problem with a place.
    let uses = template::render(file, text, Format::Text, &Values::new(), None).problems.into_iter();
    uses.filter_map(|problem| match problem.fault {
        PlaceholderFault::NoValue(name) if secrets.contains(&name) => {
            Some(Problem { fault: PlaceholderFault::Secret(name), ..problem })
        }
        _ => None,
    })
    .collect()
}

/// Whether a variable is called as secret ones usually are.
pub fn looks_secret(name: &str) -> bool {
    name.split('_').any(|word| WORDS.contains(&word.to_ascii_uppercase().as_str()))
}

/// Replaces secret values by [`MASK`].
pub fn masked(values: &Values, secrets: &BTreeSet<String>) -> Values {
    let mask = |name: &String, value: &String| {
        if secrets.contains(name) { MASK.to_owned() } else { value.clone() }
    };
    values.iter().map(|(name, value)| (name.clone(), mask(name, value))).collect()
}

/// Replaces values of `Environment=` by [`MASK`]: secret ones, and those that are called so.
pub fn masked_settings(settings: &Settings, secrets: &BTreeSet<String>) -> Settings {
    settings.masked(|name| secrets.contains(name) || looks_secret(name), MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_use() {
        let secrets = BTreeSet::from(["PW".to_owned()]);
        let found = uses("t", "$PW\n$A ${PW} $$PW $", &secrets);
        let found: Vec<String> = found.iter().map(Problem::to_string).collect();
        let why = "PW is a secret, and every user of the host could read it here; \
                   use it in process.env of config.json.template, or in a host file of mode 0600 that belongs to root";
        assert_eq!(found, [format!("t:1:1: {why}"), format!("t:2:4: {why}")]);
    }

    #[test]
    fn files_that_others_can_read() {
        for (mode, uid, gid, expected) in [
            (0o600, 0, 100, false),
            (0o640, 0, 0, false),
            (0o640, 0, 100, true),
            (0o060, 0, 100, true),
            (0o620, 0, 100, true),
            (0o604, 0, 0, true),
            (0o600, 65534, 0, true),
            (0o000, 65534, 0, true),
        ] {
            assert_eq!(is_readable(mode, uid, gid), expected, "{mode:o} {uid} {gid}");
        }
    }

    #[test]
    fn names_that_look_secret() {
        for (name, expected) in [
            ("PW", true),
            ("POSTGRES_PASSWORD", true),
            ("db_token", true),
            ("KEYBOARD", false),
            ("PORT", false),
        ] {
            assert_eq!(looks_secret(name), expected, "{name}");
        }
    }
}
