//! Keys of `[Container]`, and what each chooses. Those that `-o` has, too, are in [`settings::KEYS`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::container::settings::{self, Assignment, boolean};
use crate::declaration::choices::{Choices, Pull};
use crate::error::{Error, Result};
use crate::paths;
use crate::program::{credentials, reference, timespan};

/// A key that only declarations have.
#[derive(Debug)]
pub struct Key {
    /// Its name, as it is written.
    pub name: &'static str,
    /// Whether it may have several values.
    pub repeats: bool,
    /// What counts without it, as the manual says it.
    pub default: &'static str,
    /// Chooses a value; an empty one is what counts without the key.
    choose: fn(&mut Choices, &str) -> Result<()>,
}

/// All keys that only declarations have, sorted by name.
pub const KEYS: &[Key] = &[
    Key { name: "AutoUpdate", repeats: false, default: "no", choose: auto_update },
    Key { name: "Enable", repeats: false, default: "", choose: enable },
    Key { name: "Hold", repeats: false, default: "no", choose: hold },
    Key { name: IMAGE, repeats: false, default: "", choose: image },
    Key { name: "Keep", repeats: false, default: "2", choose: keep },
    Key { name: "Plain", repeats: false, default: "no", choose: plain },
    Key { name: "Pull", repeats: false, default: "missing", choose: pull },
    Key { name: "Rootfs", repeats: false, default: "", choose: rootfs },
    Key { name: "Runtime", repeats: false, default: "", choose: runtime },
    Key { name: SECRET, repeats: true, default: "", choose: secret },
    Key { name: SET, repeats: true, default: "", choose: set },
    Key { name: SET_FILE, repeats: true, default: "", choose: set_file },
    Key { name: "SoakSec", repeats: false, default: "30s", choose: soak },
];

const IMAGE: &str = "Image";
const SET: &str = "Set";
const SET_FILE: &str = "SetFile";
const SECRET: &str = "Secret";
/// Keys whose values may be secret, and are not shown: what a payload is told, and what somebody may write who means
/// `Set=`. Labels are for everybody.
const UNSHOWN: [&str; 6] = [SET, SET_FILE, SECRET, "Entrypoint", "Environment", "Exec"];
/// As with `syscontainer-switch --keep`: the current deployment, and one to roll back to.
const KEEP_MIN: usize = 2;

/// Whether there is a key of this name.
pub fn is_known(name: &str) -> bool {
    find(name).is_some() || settings::key(name).is_some()
}

/// Whether the value of a key may be shown.
pub fn is_shown(name: &str) -> bool {
    !UNSHOWN.contains(&name)
}

/// The key that somebody may have meant who wrote it in another case.
pub fn meant(name: &str) -> Option<&'static str> {
    let own = KEYS.iter().map(|key| key.name);
    own.chain(settings::KEYS.iter().map(|key| key.name)).find(|known| known.eq_ignore_ascii_case(name))
}

/// Chooses the value of a key that is known. An empty one resets the key.
pub fn choose(choices: &mut Choices, name: &str, value: &str) -> Result<()> {
    let invalid = |e: Error| {
        let shown = match name {
            IMAGE => credentials::concealed_reference(value),
            _ if is_shown(name) => value.to_owned(),
            _ => String::new(),
        };
        Error::new(format!("invalid {name}={shown}: {e}"))
    };
    match (find(name), settings::key(name)) {
        (Some(key), _) => (key.choose)(choices, value).map_err(invalid),
        (None, Some(key)) => {
            choices.settings.push(Assignment::new(key, value).map_err(invalid)?);
            Ok(())
        }
        (None, None) => Err(Error::new(format!("there is no key {name:?}"))),
    }
}

/// Leaves the options that count, once there are no more: without those that a later value or an empty one takes the place of,
/// or that are there once more.
pub fn settle(choices: &mut Choices) {
    let (mut closed, mut seen) = (HashSet::new(), HashSet::new());
    let mut kept = Vec::new();
    for assignment in std::mem::take(&mut choices.settings).into_iter().rev() {
        let (key, is_new) =
            (assignment.key(), seen.insert((assignment.key(), assignment.value().to_owned())));
        if closed.contains(key) {
            continue;
        }
        let repeats = settings::key(key).is_some_and(|key| key.repeats);
        if assignment.value().is_empty() || !repeats {
            closed.insert(key);
        }
        if is_new && !assignment.value().is_empty() {
            kept.push(assignment);
        }
    }
    kept.reverse();
    choices.settings = kept;
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn parse_boolean(value: &str) -> Result<Option<bool>> {
    if value.is_empty() {
        return Ok(None);
    }
    boolean(value).map(Some).ok_or_else(|| Error::new("it is neither yes nor no"))
}

fn parse_path(value: &str) -> Result<Option<PathBuf>> {
    match value {
        "" => Ok(None),
        _ if !value.starts_with('/') => Err(Error::new("it is not an absolute path")),
        // systemd refuses these as well: where they lead depends on links.
        _ if paths::components(Path::new(value)).is_none() => Err(Error::new("it contains '..'")),
        _ => Ok(Some(PathBuf::from(value))),
    }
}

fn auto_update(choices: &mut Choices, value: &str) -> Result<()> {
    choices.auto_update = parse_boolean(value)?.unwrap_or_default();
    Ok(())
}

fn enable(choices: &mut Choices, value: &str) -> Result<()> {
    choices.enable = parse_boolean(value)?;
    Ok(())
}

fn hold(choices: &mut Choices, value: &str) -> Result<()> {
    choices.hold = parse_boolean(value)?.unwrap_or_default();
    Ok(())
}

fn image(choices: &mut Choices, value: &str) -> Result<()> {
    if !value.is_empty() {
        reference::parse(value).map_err(Error::new)?;
    }
    choices.image = value.to_owned();
    Ok(())
}

fn keep(choices: &mut Choices, value: &str) -> Result<()> {
    choices.keep = match (value, value.parse()) {
        ("", _) => None,
        (_, Ok(number)) if number >= KEEP_MIN => Some(number),
        _ => {
            let expected = "expected a number of at least 2: the current deployment, and one to roll back to";
            return Err(Error::new(expected));
        }
    };
    Ok(())
}

fn plain(choices: &mut Choices, value: &str) -> Result<()> {
    choices.plain = parse_boolean(value)?.unwrap_or_default();
    Ok(())
}

fn pull(choices: &mut Choices, value: &str) -> Result<()> {
    choices.pull = match value {
        "" | "missing" => Pull::Missing,
        "always" => Pull::Always,
        "never" => Pull::Never,
        _ => return Err(Error::new("expected missing, always or never")),
    };
    Ok(())
}

fn rootfs(choices: &mut Choices, value: &str) -> Result<()> {
    choices.rootfs = parse_path(value)?;
    Ok(())
}

fn runtime(choices: &mut Choices, value: &str) -> Result<()> {
    choices.runtime = parse_path(value)?;
    Ok(())
}

fn secret(choices: &mut Choices, value: &str) -> Result<()> {
    if value.is_empty() {
        choices.secrets.clear();
        return Ok(());
    }
    if value.contains(|c: char| c == '=' || c.is_whitespace()) {
        return Err(Error::new("expected the name of one variable"));
    }
    choices.secrets.insert(value.to_owned());
    Ok(())
}

fn set(choices: &mut Choices, value: &str) -> Result<()> {
    if value.is_empty() {
        choices.values.clear();
        return Ok(());
    }
    let (name, value) = variable(value, "VARIABLE=VALUE")?;
    choices.value_files.remove(name);
    choices.values.insert(name.to_owned(), value.to_owned());
    Ok(())
}

fn set_file(choices: &mut Choices, value: &str) -> Result<()> {
    if value.is_empty() {
        choices.value_files.clear();
        return Ok(());
    }
    let (name, path) = variable(value, "VARIABLE=PATH")?;
    let path = parse_path(path)?.ok_or_else(|| Error::new("expected VARIABLE=PATH"))?;
    choices.values.remove(name);
    choices.value_files.insert(name.to_owned(), path);
    Ok(())
}

fn soak(choices: &mut Choices, value: &str) -> Result<()> {
    choices.soak = if value.is_empty() { None } else { Some(timespan::parse_finite(value)?) };
    Ok(())
}

/// Splits an assignment to a variable of an image. Messages do not show it.
fn variable<'a>(text: &'a str, expected: &str) -> Result<(&'a str, &'a str)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => Ok((name, value)),
        _ => Err(Error::new(format!("expected {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn chosen(lines: &[(&str, &str)]) -> Choices {
        let mut choices = Choices::default();
        lines.iter().for_each(|(key, value)| choose(&mut choices, key, value).unwrap());
        settle(&mut choices);
        choices
    }

    #[test]
    fn keys_are_sorted_and_no_option_is_called_like_one() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(KEYS.iter().all(|key| settings::key(key.name).is_none()));
    }

    #[test]
    fn the_last_value_counts_and_an_empty_one_resets() {
        let lines = [
            ("Image", "a"),
            ("Image", "b"),
            ("Keep", "3"),
            ("SoakSec", "2min"),
            ("Hold", "yes"),
            ("Enable", "no"),
        ];
        let choices = chosen(&lines);
        assert_eq!((choices.image.as_str(), choices.keep, choices.hold), ("b", Some(3), true));
        assert_eq!((choices.soak, choices.enable), (Some(Duration::from_secs(120)), Some(false)));
        let reset: Vec<_> = lines.iter().copied().chain(KEYS.iter().map(|key| (key.name, ""))).collect();
        let (reset, empty) = (chosen(&reset), Choices::default());
        assert_eq!(format!("{reset:?}"), format!("{empty:?}"));
    }

    #[test]
    fn what_repeats_is_collected() {
        let lines = [("Set", "A=1"), ("Set", "B=x=y z"), ("SetFile", "A=/a"), ("Secret", "A"), ("Set", "C=")];
        let choices = chosen(&lines);
        assert_eq!(choices.values, [("B", "x=y z"), ("C", "")].map(|(a, b)| (a.into(), b.into())).into());
        assert_eq!(choices.value_files, [("A".to_owned(), PathBuf::from("/a"))].into());
        assert!(choices.secrets.contains("A"));
        assert_eq!(chosen(&[("Rootfs", "/a//..b/./c.")]).rootfs, Some(PathBuf::from("/a//..b/./c.")));
        let again =
            chosen(&[&lines[..], &[("Set", "A=2"), ("Set", ""), ("Set", "D=1"), ("Secret", "")]].concat());
        assert_eq!(again.values.keys().collect::<Vec<_>>(), ["D"]);
        assert!(again.value_files.is_empty() && again.secrets.is_empty());
    }

    #[test]
    fn options_are_in_order_and_without_those_that_were_reset() {
        let lines = [
            ("Volume", "/a:/b"),
            ("User", "1"),
            ("User", "2"),
            ("Device", "/dev/fuse"),
            ("Label", "a=b"),
            ("Label", ""),
            ("Volume", "/e:/f"),
            ("Volume", "/c:/d"),
            ("Volume", "/e:/f"),
            ("HostName", "a"),
            ("HostName", ""),
        ];
        let shown: Vec<_> =
            chosen(&lines).settings.iter().map(|a| format!("{}={}", a.key(), a.value())).collect();
        assert_eq!(shown, ["Volume=/a:/b", "User=2", "AddDevice=/dev/fuse", "Volume=/c:/d", "Volume=/e:/f"]);
    }

    #[test]
    fn wrong_values_are_refused_and_not_shown_if_they_may_be_secret() {
        let mut choices = Choices::default();
        for (key, value, expected) in [
            (
                "Keep",
                "1",
                "invalid Keep=1: expected a number of at least 2: the current deployment, and one to roll back to",
            ),
            ("Hold", "maybe", "invalid Hold=maybe: it is neither yes nor no"),
            ("Rootfs", "x", "invalid Rootfs=x: it is not an absolute path"),
            ("Rootfs", "/a/../b", "invalid Rootfs=/a/../b: it contains '..'"),
            ("Runtime", "/..", "invalid Runtime=/..: it contains '..'"),
            ("SetFile", "A=/a/..", "invalid SetFile=: it contains '..'"),
            ("Pull", "newer", "invalid Pull=newer: expected missing, always or never"),
            ("SoakSec", "infinity", "invalid SoakSec=infinity: it must not be 'infinity'"),
            ("Set", "hunter2", "invalid Set=: expected VARIABLE=VALUE"),
            ("SetFile", "PW=", "invalid SetFile=: expected VARIABLE=PATH"),
            ("SetFile", "PW=hunter2", "invalid SetFile=: it is not an absolute path"),
            ("Secret", "A=hunter2", "invalid Secret=: expected the name of one variable"),
            ("Exec", "--pw=hunter2 \\q", "invalid Exec=: \\q is not an escape; write \\\\ for a backslash"),
            ("Exec", "--pw='hunter2", "invalid Exec=: a quote ' is not closed"),
            ("Entrypoint", "[\"hunter2\"", "invalid Entrypoint=: it is not a JSON array of strings"),
            (
                "Image",
                "token@r.io/a b",
                "invalid Image=***@r.io/a b: it contains blanks or control characters",
            ),
            ("Image", "a//b", "invalid Image=a//b: a part of the name is empty"),
            ("Image", "https://r.io/x?y", "invalid Image=https://r.io/x?***: unknown transport \"https\""),
            (
                "Environment",
                "hunter2",
                "invalid Environment=: expected NAME=VALUE; quote a value that contains white space",
            ),
            ("Ulimit", "x", "invalid Ulimit=x: expected NAME=SOFT[:HARD], as in nofile=1024:4096"),
        ] {
            assert_eq!(choose(&mut choices, key, value).unwrap_err().to_string(), expected);
        }
        assert_eq!((meant("image"), meant("user"), meant("x")), (Some("Image"), Some("User"), None));
    }
}
