//! Names of containers and of their deployments: paths and unit names are only ever built from these.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A valid container name: `[A-Za-z0-9][A-Za-z0-9_.-]*`, at most [`MAX`] bytes, not ending in `.` and a number, and not
/// the name of something else in a directory that has files of containers. That of an instance is two, `PREFIX@INSTANCE`.
///
/// `NAME.0` and the like are deployments of NAME.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Maximum length of a name in bytes, which leaves room for suffixes in file names and unit names (255).
pub const MAX: usize = 200;

/// What else is in /run/syscontainers, where containers have their bundles.
const DIRECTORIES: [&str; 2] = ["attached", "stale"];
/// Ends of further names there: declarations of containers.
const SUFFIXES: [&str; 2] = [".conf", ".conf.d"];
/// Names of our own units and tmpfiles begin with these.
const PREFIXES: [&str; 2] = ["syscontainer-", "syscontainers-"];
/// What our own tmpfiles, target and programs are called.
const OWN: [&str; 2] = ["syscontainer", "syscontainers"];

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is behind the '@' of an instance.
    pub fn instance(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, instance)| instance)
    }

    /// What is in front of the '@' of an instance, or the whole name.
    pub fn prefix(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(prefix, _)| prefix)
    }

    /// The unit that systemd takes for that of an instance without one.
    pub fn template_unit(&self) -> Option<String> {
        self.instance().map(|_| format!("{}@.service", self.prefix()))
    }

    /// What an OCI runtime calls the container. runc refuses '@', and no name has '+'.
    pub fn runtime_id(&self) -> String {
        self.0.replace('@', "+")
    }

    /// The container's unit, `NAME.service`. Names need no unit escaping.
    pub fn unit(&self) -> String {
        format!("{}.service", self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Err(Error::usage(format!("invalid container name {text:?}: {why}")));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
        if text.is_empty() {
            return invalid("it is empty");
        }
        if text.len() > MAX {
            return invalid(&format!("it is longer than {MAX} bytes"));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(allowed) {
            return invalid("use letters, digits, '_', '.' and '-', and begin with a letter or digit");
        }
        if let Some((prefix, instance)) = text.split_once('@') {
            if instance.is_empty() || instance.contains('@') {
                return invalid(
                    "one '@' may be in it, between the name of a template and that of its instance",
                );
            }
            // The template's own files have that name.
            prefix.parse::<Name>()?;
        }
        if text.ends_with('-') {
            // A drop-in directory of that name would apply to every unit that begins with it.
            return invalid("it ends in '-', which systemd takes for all units that begin with it");
        }
        if text.ends_with(".service") {
            return invalid("name the container, not its unit: leave out '.service'");
        }
        if let Some(why) = shadowed(text) {
            return invalid(&format!("{why}; choose another name, at an installation with --name=NAME"));
        }
        match text.rsplit_once('.') {
            Some((_, end)) if end.bytes().all(|b| b.is_ascii_digit()) => {
                invalid("names that end in '.', or in '.' and a number, are reserved for deployments")
            }
            _ => Ok(Name(text.to_owned())),
        }
    }
}

/// Says what has a name already, or may have it, that is not a container.
fn shadowed(text: &str) -> Option<String> {
    if DIRECTORIES.contains(&text) {
        return Some("the name is reserved".to_owned());
    }
    if let Some(suffix) = SUFFIXES.iter().find(|suffix| text.ends_with(*suffix)) {
        return Some(format!("names that end in '{suffix}' are reserved"));
    }
    let is_own = OWN.contains(&text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    is_own.then(|| "names of this form are reserved for syscontainers itself".to_owned())
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a deployment, `NAME.N`, which is also that of its directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Deployment {
    name: Name,
    number: u32,
}

impl Deployment {
    /// Deployment `number` of `name`, whether it exists or not.
    pub fn new(name: &Name, number: u32) -> Self {
        Deployment { name: name.clone(), number }
    }

    /// The container that the deployment belongs to.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The number of the deployment: later ones have higher numbers.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl FromStr for Deployment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.rsplit_once('.').and_then(|(name, number)| {
            let number: u32 = number.parse().ok()?;
            Some(Deployment { name: name.parse().ok()?, number })
        });
        // Every deployment has only one name: neither `web.01` nor `web.+1` is web.1.
        parts
            .filter(|deployment| deployment.to_string() == text)
            .ok_or_else(|| Error::usage(format!("invalid deployment {text:?}: expected NAME.NUMBER")))
    }
}

impl TryFrom<String> for Deployment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Deployment> for String {
    fn from(deployment: Deployment) -> String {
        deployment.to_string()
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for good in [
            "a",
            "etcd",
            "Etcd-2_b",
            "net.snmp",
            "x.0a",
            "a-0",
            "0",
            "bar-1.2b",
            "Stale",
            "attached-2",
            "conf",
            "syscontainersx",
            "web@a",
            "web@-a.b",
            "web@stale",
        ] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(MAX + 1);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "-x",
            ".hid",
            "a b",
            "@b",
            "a@",
            "a@b@c",
            "a-@b",
            "a@b-",
            "a@b.0",
            "web.1@b",
            "attached@b",
            "syscontainer-install@b",
            "a@b.service",
            "a@b+c",
            "q'q",
            "%n",
            "x;y",
            "x.0",
            "x.12",
            "x.",
            "a\n",
            "ä",
            "e.service",
            "attached",
            "stale",
            "web.conf",
            "web.conf.d",
            "syscontainers",
            "syscontainer-prune",
            "syscontainers-reconcile",
            &long,
        ] {
            let e = bad.parse::<Name>().unwrap_err();
            assert!(e.is_usage() && e.to_string().starts_with("invalid container name"), "{bad}: {e}");
        }
    }

    #[test]
    fn instances_have_a_prefix() {
        let parts = |text: &str| {
            let name: Name = text.parse().unwrap();
            let instance = name.instance().map(str::to_owned);
            (name.prefix().to_owned(), instance, name.runtime_id(), name.unit())
        };
        let expected = ("web".to_owned(), Some("a-b".to_owned()), "web+a-b".into(), "web@a-b.service".into());
        assert_eq!(parts("web@a-b"), expected);
        assert_eq!("web@a".parse::<Name>().unwrap().template_unit().as_deref(), Some("web@.service"));
        assert_eq!("web".parse::<Name>().unwrap().template_unit(), None);
        assert_eq!(parts("web"), ("web".into(), None, "web".into(), "web.service".into()));
    }

    #[test]
    fn deployments_have_one_name_each() {
        let web: Name = "web".parse().unwrap();
        for (text, number) in [("web.0", 0), ("web.12", 12), ("web.4294967295", u32::MAX)] {
            assert_eq!(text.parse::<Deployment>().unwrap(), Deployment::new(&web, number));
            assert_eq!(Deployment::new(&web, number).to_string(), text);
        }
        assert!(Deployment::new(&web, 2) < Deployment::new(&web, 10));
        for bad in
            ["web", "web.", "web.x", ".web.0", "web.0.0", "web.-1", "web.+1", "web.01", "web.4294967296", ""]
        {
            assert!(bad.parse::<Deployment>().is_err(), "{bad}");
        }
    }
}
