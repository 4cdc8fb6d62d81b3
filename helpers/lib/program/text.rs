//! Text that images, payloads, registries and users wrote, as it is shown: what a terminal would obey, what reorders or
//! hides text, and what begins a line is escaped.
//!
//! All that programs print goes through here: messages in [`super::log`], data in [`super::cli`] and [`super::table`].
//! Escapes are those of C: `\n`, `\x1b`, `\u202e`, `\U000e0041`. A backslash stays as it is, so that what is harmless is
//! shown as it was written.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;

/// Characters besides control characters that are not seen, or that change how others are seen: those that Unicode has
/// as ignorable by default, among them joiners, variation selectors, tags and the marks, embeddings, overrides and
/// isolates of bidirectional text; separators of lines and paragraphs; and annotations.
const HIDDEN: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{fffe}', '\u{ffff}'),
    ('\u{1107f}', '\u{1107f}'),
    ('\u{13430}', '\u{1345f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character is one that is escaped.
fn is_hidden(c: char) -> bool {
    c.is_control() || !c.is_ascii() && HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Text as one line.
pub fn printable(text: &str) -> String {
    escaped(text, |c| !is_hidden(c))
}

/// Text as one line, for readers that interpret backslashes, as systemd does in notifications: what would be escaped is
/// replaced.
pub fn replaced(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Text of several lines, in which tabs are allowed, too.
pub fn lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t') || !is_hidden(c))
}

/// Text of several lines, each of them indented: none can be taken for one that is not.
pub fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split('\n') {
        if !line.is_empty() {
            out.push_str("    ");
            out.push_str(&escaped(line, |c| c == '\t' || !is_hidden(c)));
        }
        out.push('\n');
    }
    out
}

/// Length in bytes of the longest message. The journal cuts lines at some 48 KiB, and takes what begins with `<N>` behind
/// such a cut for an entry of its own.
pub const MESSAGE: usize = 4096;

/// Text of one line, whose middle is left out if it is longer than [`MESSAGE`]: what is wrong comes first, and what can
/// be done about it last.
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MESSAGE {
        return Cow::Borrowed(text);
    }
    let (mut head, mut tail) = (MESSAGE / 4 * 3, text.len() - (MESSAGE / 4 - 16));
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    Cow::Owned(format!("{} … {}", &text[..head], &text[tail..]))
}

/// A path as one word of a line.
pub fn word(text: &str) -> String {
    escaped(text, |c| !c.is_whitespace() && !is_hidden(c))
}

/// A value as JSON that stands for the same value, and has nothing in it that is escaped elsewhere.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut out = String::with_capacity(text.len() + 1);
    let mut units = [0; 2];
    for c in text.chars() {
        // Outside of strings, JSON has no other than line breaks.
        if c == '\n' || !is_hidden(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out.push('\n');
    Ok(out)
}

fn escaped(text: &str, is_shown: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let _ = match c {
            _ if is_shown(c) => {
                out.push(c);
                Ok(())
            }
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            _ if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
            '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
            _ => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of every kind.
    const NASTY: &str = "a\u{1b}[2Jb\rc\nd\te\u{7f}\u{9b}1m\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{feff}\u{e0041}\u{2028}\u{ad}ä漢\u{fe0f}";

    #[test]
    fn what_is_not_seen_is_escaped() {
        let escaped = r"a\x1b[2Jb\rc\nd\te\x7f\u009b1m\u202e\u2066\u200f\u061c\u200b\ufeff\U000e0041\u2028\u00adä漢\ufe0f";
        assert_eq!(printable(NASTY), escaped);
        assert_eq!(lines("a\n\tb\r\u{85}"), "a\n\tb\\r\\u0085");
        assert_eq!(indented("# a\n\n\tb\r"), "    # a\n\n    \tb\\r\n");
        assert_eq!(word("a b\u{a0}c\\x"), r"a\x20b\u00a0c\x");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(shortened("short"), "short");
        let limit = "ä".repeat(MESSAGE / 2);
        assert_eq!(shortened(&limit), limit.as_str());
        for c in ["x", "ä", "漢", "\u{1f600}"] {
            let text = format!("begin {} end", c.repeat(MESSAGE));
            let short = shortened(&text);
            assert!(short.len() <= MESSAGE && short.len() > MESSAGE - 64, "{}", short.len());
            assert!(short.starts_with("begin ") && short.contains(" … ") && short.ends_with(" end"));
        }
    }

    #[test]
    fn json_stands_for_the_same_value() {
        let value = serde_json::json!({NASTY: [NASTY, 1]});
        let text = json(&value).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !is_hidden(c)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(text.contains("\\u202e") && text.contains("\\udb40\\udc41"), "{text}");
    }

    /// What is printed is the same for every character that there is: none of those that are escaped gets through.
    #[test]
    fn no_character_gets_through() {
        for c in '\0'..=char::MAX {
            for shown in [printable(&c.to_string()), word(&c.to_string()), lines(&c.to_string())] {
                assert!(shown.chars().all(|c| matches!(c, '\n' | '\t') || !is_hidden(c)), "{c:?}");
            }
            assert!(!printable(&c.to_string()).contains('\n'));
        }
    }
}
