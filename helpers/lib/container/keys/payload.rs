//! Keys that say what a payload is and may do: its command, user, environment, capabilities and namespaces.

use std::path::PathBuf;

use crate::container::keys::boolean::boolean;
use crate::container::keys::{mounts, words};
use crate::container::readiness::UserNotify;
use crate::error::{Context, Error, Result};
use crate::oci::capabilities;

/// The word that stands for all capabilities.
const ALL: &str = "all";

/// Which namespace a payload is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The host's.
    Host,
    /// One of its own.
    Private,
    /// The one that a file of the host stands for.
    Path(PathBuf),
}

/// The words of `Exec=`.
pub fn command(text: &str) -> Result<Vec<String>> {
    words::split(text)
}

/// [`crate::container::settings::Key::check`] of `Exec=`.
pub fn check_command(text: &str) -> Result<()> {
    command(text).map(|_| ())
}

/// Parses an entrypoint: words as a JSON array, or one word.
pub fn entrypoint(text: &str) -> Result<Vec<String>> {
    if text.starts_with('[') {
        let words: Vec<String> =
            serde_json::from_str(text).map_err(|_| Error::new("it is not a JSON array of strings"))?;
        return match words.iter().any(|word| word.contains('\0')) {
            true => Err(Error::new("it contains a NUL character")),
            false => Ok(words),
        };
    }
    if text.contains(char::is_whitespace) {
        return Err(Error::new("write several words as a JSON array, as in [\"/bin/sh\", \"-c\"]"));
    }
    Ok(vec![text.to_owned()])
}

/// [`crate::container::settings::Key::check`] of `Entrypoint=`.
pub fn check_entrypoint(text: &str) -> Result<()> {
    entrypoint(text).map(|_| ())
}

/// Parses words of the form NAME=VALUE, and returns them in order.
pub fn assignments(text: &str) -> Result<Vec<(String, String)>> {
    let words = words::split(text)?;
    let pairs = words.iter().map(|word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // Not the whole word, which may be half of a secret value.
        _ => Err(Error::new("expected NAME=VALUE; quote a value that contains white space")),
    });
    pairs.collect()
}

/// [`crate::container::settings::Key::check`] of assignments. It shows none of them.
pub fn check_assignments(text: &str) -> Result<()> {
    assignments(text).map(|_| ())
}

/// Parses the name or number of a user or group.
pub fn check_user(text: &str) -> Result<()> {
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Error::new("it contains white space or control characters"));
    }
    match text.matches(':').count() {
        0 | 1 => Ok(()),
        _ => Err(Error::new("expected USER or USER:GROUP, names or numbers")),
    }
}

/// [`crate::container::settings::Key::check`] of `Group=`.
pub fn check_group(text: &str) -> Result<()> {
    check_user(text)?;
    if text.contains(':') { Err(Error::new("expected a group, a name or a number")) } else { Ok(()) }
}

/// The capabilities that words name, with `CAP_`; `None` for all of them.
pub fn capability_names(text: &str) -> Result<Option<Vec<String>>> {
    let (mut all, mut names) = (false, Vec::new());
    for word in text.split_ascii_whitespace() {
        if word.eq_ignore_ascii_case(ALL) {
            all = true;
            continue;
        }
        let name = word.to_ascii_uppercase();
        let short = name.strip_prefix("CAP_").unwrap_or(&name);
        if capabilities::number(short).is_none() {
            return Err(Error::new(format!("there is no capability {word:?}")));
        }
        names.push(format!("CAP_{short}"));
    }
    Ok(if all { None } else { Some(names) })
}

/// [`crate::container::settings::Key::check`] of capabilities.
pub fn check_capabilities(text: &str) -> Result<()> {
    capability_names(text).map(|_| ())
}

/// Parses `Network=`.
pub fn network(text: &str) -> Result<Namespace> {
    match text.split_once(':') {
        None if text == "none" => Ok(Namespace::Private),
        None if text == "host" || text == "private" => namespace(text),
        Some(("ns", path)) => Ok(Namespace::Path(mounts::path(path).context(|| "expected ns:PATH".into())?)),
        _ => Err(Error::new("expected host, private, none or ns:PATH")),
    }
}

/// [`crate::container::settings::Key::check`] of `Network=`.
pub fn check_network(text: &str) -> Result<()> {
    network(text).map(|_| ())
}

/// Parses a namespace that is the host's or the payload's own.
pub fn namespace(text: &str) -> Result<Namespace> {
    match text {
        "host" => Ok(Namespace::Host),
        "private" => Ok(Namespace::Private),
        _ => Err(Error::new(format!("{text:?} is neither host nor private"))),
    }
}

/// [`crate::container::settings::Key::check`] of namespaces.
pub fn check_namespace(text: &str) -> Result<()> {
    namespace(text).map(|_| ())
}

/// The file on the host that describes a time zone: `local`, or an area of the zoneinfo database.
pub fn timezone(text: &str) -> Result<PathBuf> {
    if text == "local" {
        return Ok("/etc/localtime".into());
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if text.starts_with('/') || text.ends_with('/') || !text.chars().all(is_good) {
        return Err(Error::new("expected local, or a time zone such as Europe/Berlin"));
    }
    Ok(PathBuf::from("/usr/share/zoneinfo").join(text))
}

/// [`crate::container::settings::Key::check`] of `Timezone=`.
pub fn check_timezone(text: &str) -> Result<()> {
    timezone(text).map(|_| ())
}

/// What `Notify=` says, in the words of `--notify=`.
pub fn notify(text: &str) -> Result<UserNotify> {
    let word = match boolean(text) {
        Some(true) => "ready",
        Some(false) => "no",
        None => text,
    };
    word.parse().map_err(|_| Error::new("expected yes, no, ready or full"))
}

/// [`crate::container::settings::Key::check`] of `Notify=`.
pub fn check_notify(text: &str) -> Result<()> {
    notify(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words() {
        assert_eq!(command("a 'b c'").unwrap(), ["a", "b c"]);
        assert_eq!(entrypoint("/bin/sh").unwrap(), ["/bin/sh"]);
        assert_eq!(entrypoint(r#"["/bin/sh", "-c x"]"#).unwrap(), ["/bin/sh", "-c x"]);
        assert!(entrypoint("[]").unwrap().is_empty());
        for bad in ["/bin/sh -c", "[1]", "[\"a\"", "[\"\\u0000\"]"] {
            assert!(check_entrypoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn assignments_show_nothing_of_what_is_wrong() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(assignments("A=b 'C=d e' D=").unwrap(), [pair("A", "b"), pair("C", "d e"), pair("D", "")]);
        for bad in ["A", "=x", "PASSWORD=half secret"] {
            let error = check_assignments(bad).unwrap_err().to_string();
            assert_eq!(error, "expected NAME=VALUE; quote a value that contains white space");
        }
    }

    #[test]
    fn users_and_groups() {
        for good in ["0", "app", "app:extra", "1:2", ":5"] {
            check_user(good).unwrap();
        }
        assert!(check_user("a:b:c").is_err() && check_user("a b").is_err() && check_group("a:b").is_err());
    }

    #[test]
    fn capabilities_have_names() {
        let names = capability_names("net_admin CAP_SYS_TIME").unwrap().unwrap();
        assert_eq!(names, ["CAP_NET_ADMIN", "CAP_SYS_TIME"]);
        assert_eq!(capability_names("CHOWN ALL").unwrap(), None);
        assert_eq!(check_capabilities("fly").unwrap_err().to_string(), "there is no capability \"fly\"");
    }

    #[test]
    fn namespaces() {
        assert_eq!(network("host").unwrap(), Namespace::Host);
        assert_eq!(network("private").unwrap(), network("none").unwrap());
        assert_eq!(network("ns:/run/netns/x").unwrap(), Namespace::Path("/run/netns/x".into()));
        for bad in ["bridge", "web.network", "ns:", "ns:x", "container:x"] {
            assert!(check_network(bad).is_err(), "{bad}");
        }
        assert!(check_namespace("host").is_ok() && check_namespace("none").is_err());
    }

    #[test]
    fn time_zones_are_files() {
        assert_eq!(timezone("Europe/Berlin").unwrap(), PathBuf::from("/usr/share/zoneinfo/Europe/Berlin"));
        assert_eq!(timezone("local").unwrap(), PathBuf::from("/etc/localtime"));
        for bad in ["/etc/passwd", "../x", "a/../b", "Europe/", "a b"] {
            assert!(check_timezone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn notifications_are_those_of_the_option() {
        for (text, expected) in [
            ("yes", UserNotify::Ready),
            ("no", UserNotify::No),
            ("full", UserNotify::Full),
            ("ready", UserNotify::Ready),
        ] {
            assert_eq!(notify(text).unwrap(), expected);
        }
        assert!(check_notify("healthy").is_err());
    }
}
