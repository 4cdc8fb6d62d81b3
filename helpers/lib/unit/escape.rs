//! Escapes values for their places in unit files and tmpfiles.d(5) files of an image.
//!
//! A value never adds a line, a setting, a command or a field. A place follows the text in front of it as it is
//! rendered, escaped values included, so that nothing is looked at again for the next value. An error says why a value
//! cannot be used there.

use super::lines;
use crate::steps;

/// Settings that systemd splits into words, with quotes and C escapes, besides command lines.
const WORD_SETTINGS: [&str; 5] =
    ["Environment", "PassEnvironment", "UnsetEnvironment", "LogExtraFields", "SetCredential"];

/// The place in a unit file that the text so far leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitPlace {
    /// What the line so far begins with; `None` while there is only whitespace.
    start: Option<LineStart>,
    /// Whether it continues the line before it.
    is_continuation: bool,
    /// Whether a line that ends here continues on the next one.
    is_continued: bool,
    /// The line, with the lines that it continues.
    line: Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineStart {
    Comment,
    Other,
}

/// A line of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// There is no `=` yet.
    Key(String),
    /// Something is assigned.
    Value(Kind, Quotes),
}

impl Default for Line {
    fn default() -> Line {
        Line::Key(String::new())
    }
}

/// How systemd reads what is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Words,
    Text,
}

impl Kind {
    fn of(key: &str) -> Kind {
        match key.trim() {
            key if key.starts_with("Exec") => Kind::Command,
            key if WORD_SETTINGS.contains(&key) => Kind::Words,
            _ => Kind::Text,
        }
    }
}

/// Whether a list of words so far ends inside quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quotes {
    open: Option<char>,
    is_escaped: bool,
    is_word_start: bool,
}

impl Quotes {
    const NONE: Quotes = Quotes { open: None, is_escaped: false, is_word_start: true };

    fn step(&mut self, c: char) {
        match c {
            _ if self.is_escaped => self.is_escaped = false,
            '\\' => self.is_escaped = true,
            '"' | '\'' if self.open.is_none() && self.is_word_start => self.open = Some(c),
            _ if self.open == Some(c) => self.open = None,
            _ => {}
        }
        // Quotes open at the start of a word, and after `KEY=` in assignments.
        self.is_word_start = c.is_whitespace() || c == '=';
    }
}

impl UnitPlace {
    /// Goes on to the end of more text.
    pub fn push(&mut self, text: &str) {
        steps::count(text.len());
        for c in text.chars() {
            match c {
                '\n' => self.end_line(),
                _ if self.start == Some(LineStart::Comment) => {}
                _ => self.step(c),
            }
        }
    }

    fn step(&mut self, c: char) {
        if self.start.is_none() && !c.is_whitespace() {
            let is_comment = lines::is_comment(c.encode_utf8(&mut [0; 4]));
            self.start = Some(if is_comment { LineStart::Comment } else { LineStart::Other });
            if is_comment {
                return;
            }
        }
        self.is_continued = c == '\\' && !self.is_continued;
        match &mut self.line {
            Line::Key(key) if c == '=' => self.line = Line::Value(Kind::of(key), Quotes::NONE),
            Line::Key(key) => key.push(c),
            Line::Value(_, quotes) => quotes.step(c),
        }
    }

    /// A comment neither ends nor continues what it is between.
    fn end_line(&mut self) {
        let is_comment = self.start.take() == Some(LineStart::Comment);
        let is_continued = std::mem::take(&mut self.is_continued);
        if is_comment && self.is_continuation {
            return;
        }
        self.is_continuation = is_continued && !is_comment;
        if !self.is_continuation {
            self.line = Line::default();
            return;
        }
        // The backslash and the line break are a space.
        match &mut self.line {
            Line::Key(key) => {
                key.pop();
                key.push(' ');
            }
            Line::Value(_, quotes) => {
                quotes.is_escaped = false;
                quotes.step(' ');
            }
        }
    }

    /// Escapes a value for this place: specifiers and, in command lines, quotes and variables are taken literally.
    pub fn value(&self, value: &str) -> Result<String, &'static str> {
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err("control characters are not allowed in a unit file");
        }
        if self.start == Some(LineStart::Comment) {
            return Ok(value.to_owned());
        }
        let Line::Value(kind, quotes) = &self.line else {
            let is_word = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            return if is_word {
                Ok(value.to_owned())
            } else {
                Err("it would add a line or a setting to the unit")
            };
        };
        if *kind == Kind::Text && value.ends_with('\\') {
            return Err("the backslash at its end would continue the line");
        }
        let mut out = String::with_capacity(value.len());
        for c in value.chars() {
            match c {
                '%' => out.push_str("%%"),
                '$' if *kind == Kind::Command => out.push_str("$$"),
                '\\' | '"' | '\'' if *kind != Kind::Text => out.extend(['\\', c]),
                // Alone between spaces, it would begin another command.
                ';' if *kind == Kind::Command && quotes.open.is_none() => out.push_str("\\x3b"),
                _ => out.push(c),
            }
        }
        Ok(out)
    }
}

/// Fields of a tmpfiles.d(5) line before the last one, which is the rest of the line and taken without quotes.
const TMPFILES_FIELDS: usize = 6;

/// The place in a tmpfiles.d(5) file that the text so far leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TmpfilesPlace {
    /// How many fields of the line are complete.
    fields: usize,
    /// The quote that is open.
    quote: Option<char>,
    is_escaped: bool,
    /// Whether a field has begun.
    is_inside: bool,
}

impl TmpfilesPlace {
    /// Goes on to the end of more text.
    pub fn push(&mut self, text: &str) {
        steps::count(text.len());
        for c in text.chars() {
            match c {
                '\n' => *self = TmpfilesPlace::default(),
                _ if self.fields == TMPFILES_FIELDS => {}
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => (self.is_escaped, self.is_inside) = (true, true),
                '"' | '\'' if self.quote.is_none() => (self.quote, self.is_inside) = (Some(c), true),
                _ if self.quote == Some(c) => self.quote = None,
                _ if self.quote.is_some() => {}
                _ if c.is_whitespace() => {
                    self.fields += usize::from(self.is_inside);
                    self.is_inside = false;
                }
                _ => self.is_inside = true,
            }
        }
    }

    /// Escapes a value for this place: it stays within one field.
    pub fn value(&self, value: &str) -> Result<String, &'static str> {
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err("control characters are not allowed in tmpfiles");
        }
        let is_last = self.fields == TMPFILES_FIELDS;
        let mut out = String::with_capacity(value.len());
        for c in value.chars() {
            match c {
                '%' => out.push_str("%%"),
                '\\' => out.push_str("\\\\"),
                ' ' if is_last => out.push_str("\\x20"),
                '\t' if is_last => out.push_str("\\t"),
                // Before version 254, systemd does not know escapes of other characters here, but quotes may open anywhere.
                ' ' | '\t' if self.quote.is_none() => out.extend(['"', c, '"']),
                '"' | '\'' if !is_last => out.extend(['\\', c]),
                _ => out.push(c),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::syntax::{SyntaxErrorKind, UnitFile};

    fn place(before: &str) -> UnitPlace {
        let mut place = UnitPlace::default();
        place.push(before);
        place
    }

    fn unit(before: &str, value: &str) -> Option<String> {
        place(before).value(value).ok()
    }

    fn tmpfiles(before: &str, value: &str) -> Result<String, &'static str> {
        let mut place = TmpfilesPlace::default();
        place.push(before);
        place.value(value)
    }

    #[test]
    fn units_take_no_lines_settings_or_commands_from_values() {
        let percent = "50%$x\"y'z\\";
        for (before, value, expected) in [
            ("Description=", "one 1", "one 1"),
            ("ExecStart=/bin/echo \"", percent, "50%%$$x\\\"y\\'z\\\\"),
            ("ExecStart=/bin/echo ", "; /bin/evil", "\\x3b /bin/evil"),
            ("ExecStart=/bin/echo \\\n ", "a b", "a b"),
            ("Environment=\"A=", "a b", "a b"),
            ("# see ", "ExecStartPre=/bin/evil", "ExecStartPre=/bin/evil"),
            ("ExecStart=\\\n# why\n  ", "ExecStartPre=/bin/evil", "ExecStartPre=/bin/evil"),
            ("[Service]\n", "", ""),
            ("[X-", "Mine", "Mine"),
            ("ExecStart=\\\\\n", "a", "a"),
            ("ExecStart=/x\\\n  # no\\\n", "$; ", "$$\\x3b "),
            ("  Environment = A=\\\n\t; no\n \"", "\"", "\\\""),
        ] {
            assert_eq!(unit(before, value).as_deref(), Some(expected), "{before}");
        }
        for (before, value) in [
            ("Description=", "a\nExecStartPre=/bin/evil"),
            ("", "ExecStartPre=/bin/evil"),
            ("[Service]\n", "ExecStartPre=/bin/evil"),
            ("Description=", "a\\"),
        ] {
            assert_eq!(unit(before, value), None, "{before}");
        }
    }

    #[test]
    fn tmpfiles_values_stay_in_their_field() {
        for (before, value, expected) in [
            ("d /x/", "a b", "a\" \"b"),
            ("d \"/x/", "a b", "a b"),
            ("f '/x y' 0 - - - ", "a b", "a\\x20b"),
            ("# x\nd /", "a\\", "a\\\\"),
            ("d ", "50%", "50%%"),
        ] {
            assert_eq!(tmpfiles(before, value).as_deref(), Ok(expected), "{before}");
        }
        assert!(tmpfiles("d ", "a\nd /b").is_err());
    }

    /// What is in front of a value is the same place, whether it comes at once or in pieces, and the same as what the
    /// parser makes of it.
    #[test]
    fn pieces_lead_to_the_same_place() {
        let alphabet: Vec<char> = "AE=\\\"'#; \t\nx".chars().collect();
        let mut state = 1u64;
        let mut next = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        for _ in 0..20_000 {
            let text: String = (0..next(24)).map(|_| alphabet[next(alphabet.len())]).collect();
            let mut pieces = UnitPlace::default();
            text.chars().for_each(|c| pieces.push(c.encode_utf8(&mut [0; 4])));
            assert_eq!(pieces, place(&text), "{text:?}");
            // The line that a word added here is in.
            let (count, with_word) = (text.matches('\n').count(), format!("{text}@"));
            let line = lines::logical_lines(&with_word).into_iter().map(|(_, line)| line).next_back();
            let is_comment = lines::is_comment(with_word.rsplit('\n').next().unwrap());
            if let (false, Some(line)) = (is_comment, line) {
                let is_assigned = line.contains('=');
                assert_eq!(matches!(pieces.line, Line::Value(..)), is_assigned, "{text:?} {count}");
            }
            assert_eq!(pieces.start == Some(LineStart::Comment), is_comment, "{text:?}");
        }
    }

    /// Whatever the value is, the file has the same settings.
    #[test]
    fn values_add_no_settings() {
        let alphabet: Vec<char> = "AE=\\\"'#;[] \t\n%$x\r\u{85}\u{2028}".chars().collect();
        let mut state = 3u64;
        let mut text = |n: usize| -> String {
            let mut next = |n: usize| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize % n
            };
            (0..next(n)).map(|_| alphabet[next(alphabet.len())]).collect()
        };
        let keys = |text: &str| -> Option<Vec<String>> {
            let unit = UnitFile::parse(text).ok()?;
            Some(unit.section("Service").map(|(key, _)| key.to_owned()).collect())
        };
        let mut tried = 0;
        for _ in 0..50_000 {
            let (before, value, after) = (format!("[Service]\nExecX={}", text(8)), text(8), text(8));
            let place = place(&before);
            // A template that escapes what follows means to.
            if place.is_continued || !matches!(place.line, Line::Value(..)) {
                continue;
            }
            let (Some(expected), Ok(escaped)) = (keys(&format!("{before}x{after}")), place.value(&value))
            else {
                continue;
            };
            let text = format!("{before}{escaped}{after}");
            // Without the value, a backslash of the template may be the last character.
            if UnitFile::parse(&text).is_err_and(|e| matches!(e.kind, SyntaxErrorKind::OpenValue(_))) {
                continue;
            }
            tried += 1;
            let found = keys(&text);
            assert_eq!(found, Some(expected), "{before:?} {value:?} {after:?}");
        }
        assert!(tried > 1000, "{tried}");
    }
}
