//! Structured journal entries: one for each change to the state of a container or of the store.
//!
//! Each kind of change has a MESSAGE_ID, see `units/syscontainers.catalog`. Entries have fields of their own, and
//! `OBJECT_SYSTEMD_UNIT=`, so that `journalctl --unit NAME` shows them along with the container's output.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libsystemd::logging::{self, Priority};

use crate::digest::Digest;
use crate::name::{Deployment, Name};
use crate::paths::Root;
use crate::program::log;

/// Waits until the journal of this process has everything that was sent to it before, for no longer than `limit`. Without
/// an answer, nothing else can be done about it.
pub fn synchronize(limit: Duration) {
    let instance = std::env::var("LOG_NAMESPACE").map_or_else(|_| String::new(), |name| format!(".{name}"));
    let path = format!("/run/systemd/journal{instance}/io.systemd.journal");
    let ask = || -> std::io::Result<()> {
        let mut socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(limit))?;
        socket.write_all(b"{\"method\":\"io.systemd.Journal.Synchronize\"}\0")?;
        BufReader::new(socket).read_until(0, &mut Vec::new()).map(|_| ())
    };
    if let Err(e) = ask() {
        log::warning(&format!("the journal is slow, so lines may be out of order: {e}"));
    }
}

/// The kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name in the store stands for another image.
    Pulled,
    /// A container was installed.
    Installed,
    /// A deployment was made, for a later switch.
    Staged,
    /// Another deployment became current.
    Switched,
    /// A new deployment worked while it was watched.
    Confirmed,
    /// A new deployment failed, and the previous one is current again.
    Reverted,
    /// The user rolled back to an earlier deployment.
    RolledBack,
    /// An image was not used, since it failed before.
    Skipped,
    /// An image was not used, since it brings what nobody accepted.
    Unaccepted,
    /// The settings for updates of a container were changed.
    Configured,
    /// A container was removed.
    Removed,
    /// Something that was not used was removed.
    Pruned,
    /// The files derived from a container's current deployment were missing or outdated, and were made again.
    Repaired,
    /// An object of the store, or something in a deployment, is damaged.
    Damaged,
    /// It was mended.
    Mended,
}

impl Event {
    /// All kinds, in the order of the catalog.
    pub const ALL: [Event; 15] = [
        Event::Pulled,
        Event::Installed,
        Event::Staged,
        Event::Switched,
        Event::Confirmed,
        Event::Reverted,
        Event::RolledBack,
        Event::Skipped,
        Event::Unaccepted,
        Event::Configured,
        Event::Removed,
        Event::Pruned,
        Event::Repaired,
        Event::Damaged,
        Event::Mended,
    ];

    /// The MESSAGE_ID of the kind.
    pub fn id(self) -> &'static str {
        match self {
            Event::Pulled => "eb327bbb46e84a99aba26294630867d9",
            Event::Installed => "d499f46ed97a4dc9ad5b95090e635923",
            Event::Staged => "14c3efb040db4320a2af05560f2df763",
            Event::Switched => "a1a97b339a4346bd8574a1173effdc74",
            Event::Confirmed => "0d643b14320e4d1bb3b0242d6f6d2b22",
            Event::Reverted => "090a3a8f3ef8499d8c36d375beac169f",
            Event::RolledBack => "5963245170684ae3918f07d055ee58f8",
            Event::Skipped => "07c2fde1f1c147beb7f531675de7558a",
            Event::Unaccepted => "f1ae83f7c31d4aceb1a0fe501037831d",
            Event::Configured => "9efb373ecc724a2e8d3ab474970858b2",
            Event::Removed => "e62de78e708f4942a37c30799322a8d6",
            Event::Pruned => "97b68ec3d8274340a9b01d6b85049ce6",
            Event::Repaired => "6b31a1a9801049aa8e48aa0b0a11ffcc",
            Event::Damaged => "c2a7a0c9f5c6432c8b8f4bb5f2f6d1e4",
            Event::Mended => "8d0cf4a1d84e4b5b9b0d1a7e6a3c2f95",
        }
    }

    fn priority(self) -> Priority {
        match self {
            Event::Reverted | Event::Damaged => Priority::Error,
            Event::Skipped | Event::Unaccepted | Event::Repaired => Priority::Warning,
            _ => Priority::Notice,
        }
    }
}

/// What a change is about; `None` leaves the field out.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// `SYSCONTAINER_NAME=`: the container.
    pub name: Option<Name>,
    /// `SYSCONTAINER_IMAGE=`: name of the image in the store.
    pub image: Option<String>,
    /// `SYSCONTAINER_DIGEST=`: digest of the image's manifest.
    pub digest: Option<Digest>,
    /// `SYSCONTAINER_DEPLOYMENT=`: the deployment that is current now, or that the change is about.
    pub deployment: Option<Deployment>,
    /// `SYSCONTAINER_PREVIOUS=`: the previous deployment, or the digest of the previous image.
    pub previous: Option<String>,
    /// `SYSCONTAINER_REASON=`: the reason for the change.
    pub reason: Option<String>,
}

impl Subject {
    /// A container as a whole.
    pub fn of_container(name: &Name) -> Subject {
        Subject { name: Some(name.clone()), ..Subject::default() }
    }

    /// A deployment, and the image that it was made from.
    pub fn of(deployment: &Deployment, image: Option<(&str, Option<Digest>)>) -> Subject {
        let subject = match image {
            Some((image, digest)) => Subject { image: Some(image.to_owned()), digest, ..Subject::default() },
            None => Subject::default(),
        };
        Subject { name: Some(deployment.name().clone()), deployment: Some(deployment.clone()), ..subject }
    }

    /// An image in the store.
    pub fn of_image(name: &str, digest: &Digest) -> Subject {
        Subject { image: Some(name.to_owned()), digest: Some(digest.clone()), ..Subject::default() }
    }
}

/// Records a change in the journal and reports it on stderr, unless stderr is the journal, too.
pub fn tell(root: &Root, event: Event, subject: &Subject, message: &str) {
    let is_recorded = record(root, event, subject, message);
    if is_recorded && logging::connected_to_journal() {
        return;
    }
    match event.priority() {
        Priority::Error => log::error(message),
        Priority::Warning => log::warning(message),
        _ => log::info(message),
    }
}

/// Records a change without a message on stderr. Returns whether it was recorded; changes to an unpacked tree are not.
pub fn record(root: &Root, event: Event, subject: &Subject, message: &str) -> bool {
    if !root.is_host() {
        return false;
    }
    let name = subject.name.as_ref();
    let fields = [
        ("SYSLOG_IDENTIFIER", Some(log::identifier().to_owned())),
        ("MESSAGE_ID", Some(event.id().to_owned())),
        ("OBJECT_SYSTEMD_UNIT", name.map(Name::unit)),
        ("SYSCONTAINER_NAME", name.map(Name::to_string)),
        ("SYSCONTAINER_IMAGE", subject.image.clone()),
        ("SYSCONTAINER_DIGEST", subject.digest.as_ref().map(Digest::to_string)),
        ("SYSCONTAINER_DEPLOYMENT", subject.deployment.as_ref().map(Deployment::to_string)),
        ("SYSCONTAINER_PREVIOUS", subject.previous.clone()),
        ("SYSCONTAINER_REASON", subject.reason.clone()),
    ];
    let fields = fields.into_iter().filter_map(|(key, value)| value.map(|value| (key, log::line(&value))));
    // Without a journal, there is nothing to record it in.
    logging::journal_send(event.priority(), &log::line(message), fields).is_ok()
}

/// An image as it is shown in messages.
pub fn shown(image: &str, digest: &Digest) -> String {
    format!("{image} ({digest})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_catalog() {
        let catalog = include_str!("../../../units/syscontainers.catalog");
        let ids: Vec<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(ids, Event::ALL.map(Event::id));
    }
}
