//! Values that are the same in both, but for how they are written.

use crate::container::keys::words;
use crate::quadlet::draft::{Draft, Part};
use crate::quadlet::key::Key;
use crate::quadlet::specifiers;
use crate::quadlet::syntax::Entry;

/// One text, which may be in quotes.
pub fn text(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    draft.carry(entry, key.name, entry.text());
}

/// A line that is one word of podman's, whatever is in it.
pub fn line(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    draft.carry(entry, key.name, &entry.value);
}

/// Words, each of which is a value.
pub fn each_word(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    for word in split(draft, entry) {
        draft.carry(entry, key.name, &word);
    }
}

/// Words that are one value together.
pub fn word_list(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let words = split(draft, entry);
    draft.carry(entry, key.name, &words.join(" "));
}

/// The words of a value, in which nothing is escaped.
fn split(draft: &mut Draft<'_>, entry: &Entry) -> Vec<String> {
    match words::split(&entry.value) {
        Ok(words) => words,
        Err(e) => {
            draft.refuse(entry, &e.to_string());
            Vec::new()
        }
    }
}

/// A boolean, in the words that podman has for it. It takes all others for false, and systemd some of them for true.
pub fn boolean(text: &str) -> Result<bool, &'static str> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text {
        _ if is_one_of(&["1", "yes", "true", "on"]) => Ok(true),
        _ if is_one_of(&["0", "no", "false", "off", ""]) => Ok(false),
        _ => Err("it is neither yes nor no"),
    }
}

/// A boolean key.
pub fn yes_or_no(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match boolean(entry.text()) {
        Ok(value) => draft.set(entry, key.name, if value { "yes" } else { "no" }),
        Err(why) => draft.refuse(entry, why),
    }
}

/// A command: words, in which quotes and escapes count.
pub fn command(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match words::split(&entry.value).map_err(|e| e.to_string()).and_then(|words| quoted(&words)) {
        Ok(text) => draft.set(entry, key.name, &text),
        Err(why) => draft.refuse(entry, &why),
    }
}

/// Words as declarations have them.
pub fn quoted(words: &[String]) -> Result<String, String> {
    let words: Result<Vec<String>, String> =
        words.iter().map(|word| specifiers::translate(word).map(|word| words::quoted(&word))).collect();
    words.map(|words| words.join(" "))
}

/// An entrypoint: a JSON array, or one word, which may be empty for none at all.
pub fn entrypoint(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let text = entry.text();
    let is_list = serde_json::from_str::<Vec<String>>(text).is_ok();
    match is_list || !text.is_empty() && !text.contains(char::is_whitespace) && !text.starts_with('[') {
        true => draft.carry(entry, key.name, text),
        false => draft.carry(entry, key.name, &serde_json::json!([text]).to_string()),
    }
}

/// A group, which podman takes only with a user.
pub fn group(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match draft.quadlet.last("Container", "User") {
        Some(_) => text(draft, entry, key),
        None => draft.refuse(entry, "without User=, podman refuses it, too"),
    }
}

/// What the manual page says of the key is why it is left out.
pub fn leave_out(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    draft.leave_out(entry, key.note);
}

/// What the manual page says of the key is why it is refused.
pub fn refuse(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    draft.refuse(entry, key.note);
}

/// A boolean key that is refused where it is true. False is the default.
pub fn refuse_yes(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match boolean(entry.text()) {
        Ok(false) => {}
        Ok(true) | Err(_) => draft.refuse(entry, key.note),
    }
}

/// What is said elsewhere in the declaration, or by its name.
pub fn elsewhere(_: &mut Draft<'_>, _: &Entry, _: &Key) {}

/// Whether systemd is notified by the payload.
pub fn notify(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match entry.text().eq_ignore_ascii_case("healthy") {
        true => draft.refuse(entry, "there are no health checks, which readiness would wait for"),
        false => yes_or_no(draft, entry, key),
    }
}

/// `KillMode=`, of which podman takes two.
pub fn kill_mode(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match entry.value.as_str() {
        "mixed" | "control-group" => draft.add(entry, Part::Service, key.name, &entry.value),
        _ => draft.refuse(entry, "expected mixed or control-group, as podman does"),
    }
}

/// `UserNS=`, of which the host's is the default.
pub fn user_namespace(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if entry.text() != "host" {
        draft.refuse(entry, key.note);
    }
}
