//! Log messages of one line each, to stderr or to the kernel.
//!
//! The sink is chosen once. `SYSTEMD_LOG_TARGET=console` means plain lines on stderr. A generator (`SYSTEMD_SCOPE` is
//! set) writes to /dev/kmsg, since the journal may not run yet. In a unit (`JOURNAL_STREAM` is set), lines on stderr
//! have `<N>` priorities, see sd-daemon(3), unless [`NO_PREFIX`] says that the unit takes them for text. Otherwise, lines are
//! plain: `name: message`.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;

use crate::program::{credentials, text};

/// The variable, and its value, by which programs in a unit with `SyslogLevelPrefix=no` know of that.
pub const NO_PREFIX: (&str, &str) = ("SYSCONTAINERS_LOG_PREFIX", "no");

enum Sink {
    Plain,
    Bare,
    Prefixed,
    Kmsg,
}

static STATE: OnceLock<(&'static str, Sink)> = OnceLock::new();

/// Maximum length of a record in bytes; the kernel refuses longer ones.
const KMSG_MAX: usize = 960;

/// Sets the identifier and chooses the sink; further calls have no effect.
pub fn init(name: &'static str) {
    let set = |key| std::env::var_os(key).is_some_and(|v| !v.is_empty());
    let sink = if std::env::var_os("SYSTEMD_LOG_TARGET").is_some_and(|v| v == "console") {
        Sink::Plain
    } else if set("SYSTEMD_SCOPE") {
        Sink::Kmsg
    } else if set("JOURNAL_STREAM") {
        let (name, value) = NO_PREFIX;
        if std::env::var_os(name).is_some_and(|found| found == value) { Sink::Bare } else { Sink::Prefixed }
    } else {
        Sink::Plain
    };
    STATE.get_or_init(|| (name, sink));
}

/// Logs a failure that somebody has to act on.
pub fn error(message: &str) {
    write(3, message);
}

/// Logs that something was skipped or is wrong, while the program continues.
pub fn warning(message: &str) {
    write(4, message);
}

/// Logs what the program does.
pub fn info(message: &str) {
    write(6, message);
}

/// The identifier of messages: the name of the program.
pub fn identifier() -> &'static str {
    STATE.get().map_or("syscontainers", |(name, _)| name)
}

fn write(priority: u8, message: &str) {
    let (name, sink) = STATE.get_or_init(|| ("syscontainers", Sink::Plain));
    let message = line(message);
    match sink {
        Sink::Plain => stderr(&format!("{name}: {message}\n")),
        Sink::Bare => stderr(&format!("{message}\n")),
        Sink::Prefixed => stderr(&format!("<{priority}>{message}\n")),
        Sink::Kmsg => kmsg(priority, name, &message),
    }
}

/// A message as it is shown: one line without credentials, and not too long.
pub fn line(message: &str) -> String {
    // What hides a password must not be cut off before it is seen.
    text::shortened(&text::printable(&credentials::concealed(message))).into_owned()
}

fn stderr(line: &str) {
    // An error cannot be reported if stderr is not writable.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn kmsg(priority: u8, name: &str, message: &str) {
    // One write is one record; facility 3 is "daemon".
    let mut line = format!("<{}>{name}[{}]: {message}", 3 * 8 + priority, std::process::id());
    let mut end = line.len().min(KMSG_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line.push('\n');
    let written =
        OpenOptions::new().write(true).open("/dev/kmsg").and_then(|mut f| f.write_all(line.as_bytes()));
    if written.is_err() {
        stderr(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_have_no_credentials_whatever_is_cut_off() {
        assert_eq!(
            line("cannot open docker://u:p@host/x:\n\u{1b}no"),
            r"cannot open docker://***@host/x:\n\x1bno"
        );
        for length in (0..6000).step_by(7) {
            let shown = line(&format!(
                "{}docker://user:{}s3cret@host/x <0>forged",
                "x".repeat(length),
                "y".repeat(3000)
            ));
            assert!(
                shown.len() <= text::MESSAGE && !shown.contains("yy") && !shown.contains("s3cret"),
                "{shown}"
            );
        }
    }
}
