//! Messages, one line each, to where the reader is.
//!
//! The sink is chosen once: `SYSTEMD_LOG_TARGET=console` means stderr as a person reads it; a generator
//! (`SYSTEMD_SCOPE` is set) writes to /dev/kmsg, since the journal may not run yet; under a unit
//! (`JOURNAL_STREAM` is set) stderr lines carry `<N>` priorities, see sd-daemon(3); else `name: message`.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;

enum Sink {
    Plain,
    Prefixed,
    Kmsg,
}

static STATE: OnceLock<(&'static str, Sink)> = OnceLock::new();

/// The kernel refuses longer records.
const KMSG_MAX: usize = 960;

/// Sets the identifier and chooses the sink; later calls change nothing.
pub fn init(name: &'static str) {
    let set = |key| std::env::var_os(key).is_some_and(|v| !v.is_empty());
    let sink = if std::env::var_os("SYSTEMD_LOG_TARGET").is_some_and(|v| v == "console") {
        Sink::Plain
    } else if set("SYSTEMD_SCOPE") {
        Sink::Kmsg
    } else if set("JOURNAL_STREAM") {
        Sink::Prefixed
    } else {
        Sink::Plain
    };
    STATE.get_or_init(|| (name, sink));
}

/// Someone must act.
pub fn error(message: &str) {
    write(3, message);
}

/// Something was skipped or is not as it should be; the rest went on.
pub fn warning(message: &str) {
    write(4, message);
}

/// What was done, where the reader asked for it.
pub fn info(message: &str) {
    write(6, message);
}

/// What messages are known by.
pub fn identifier() -> &'static str {
    STATE.get().map_or("syscontainers", |(name, _)| name)
}

/// A message as it is written: text from images must not forge a line of its own.
pub fn printable(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn write(priority: u8, message: &str) {
    let (name, sink) = STATE.get_or_init(|| ("syscontainers", Sink::Plain));
    let message = printable(message);
    match sink {
        Sink::Plain => stderr(&format!("{name}: {message}\n")),
        Sink::Prefixed => stderr(&format!("<{priority}>{message}\n")),
        Sink::Kmsg => kmsg(priority, name, &message),
    }
}

fn stderr(line: &str) {
    // Nothing is left to tell about a stderr that cannot be written.
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
