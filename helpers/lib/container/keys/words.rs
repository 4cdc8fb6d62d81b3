//! Words as unit files have them: separated by white space, in quotes where they contain some, with C-style escapes. See
//! systemd.syntax(7).

use std::iter::Peekable;
use std::str::Chars;

use crate::error::{Error, Result};

/// Splits a text into words.
pub fn split(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', Some('\'') | Some('"') | None) => {
                word.get_or_insert_default().push(escaped(&mut rest)?);
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(Error::new(format!("a quote {quote} is not closed")));
    }
    words.extend(word);
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Error::new("it contains a NUL character"));
    }
    Ok(words)
}

/// A word as it can be written, in quotes if it needs some.
pub fn quoted(word: &str) -> String {
    let is_special = |c: char| c.is_ascii_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\');
    if !word.is_empty() && !word.contains(is_special) {
        return word.to_owned();
    }
    let mut text = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text + "\""
}

/// The character that an escape stands for, whose backslash was read.
fn escaped(rest: &mut Peekable<Chars<'_>>) -> Result<char> {
    let unknown = |text: &str| Error::new(format!("\\{text} is not an escape; write \\\\ for a backslash"));
    let Some(c) = rest.next() else { return Err(Error::new("it ends in a backslash")) };
    Ok(match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' | 'u' | 'U' | '0'..='7' => {
            let (radix, count) = match c {
                'x' => (16, 2),
                'u' => (16, 4),
                'U' => (16, 8),
                _ => (8, 3),
            };
            let mut digits = if radix == 8 { c.to_string() } else { String::new() };
            while digits.len() < count {
                digits.extend(rest.next_if(|c| c.is_digit(radix)));
                if rest.peek().is_none_or(|c| !c.is_digit(radix)) {
                    break;
                }
            }
            let number = u32::from_str_radix(&digits, radix).ok().filter(|_| digits.len() == count);
            // A byte that is not a character of its own cannot be in a JSON text.
            let limit = if c == 'u' || c == 'U' { u32::MAX } else { 0x7f };
            let character = number.filter(|number| *number <= limit).and_then(char::from_u32);
            let written = if radix == 8 { digits.clone() } else { format!("{c}{digits}") };
            character.ok_or_else(|| unknown(&written))?
        }
        other => return Err(unknown(&other.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_systemd() {
        for (text, expected) in [
            ("", vec![]),
            ("  a\tb  ", vec!["a", "b"]),
            ("a\\ b", vec![]),
            (r#"a "b c" 'd "e"' f'g h'i"#, vec!["a", "b c", "d \"e\"", "fg hi"]),
            (r#""" ''"#, vec!["", ""]),
            (r#"a\sb \x41\101\n "\"" '\'' \u00e4 \U0001F600"#, vec!["a b", "AA\n", "\"", "'", "ä", "😀"]),
            ("sh -c 'echo $A; exit 1'", vec!["sh", "-c", "echo $A; exit 1"]),
        ] {
            let found = split(text);
            if expected.is_empty() && !text.is_empty() {
                assert!(found.is_err(), "{text}: {found:?}");
            } else {
                assert_eq!(found.unwrap(), expected, "{text}");
            }
        }
    }

    #[test]
    fn what_is_quoted_is_one_word() {
        for word in ["", "a", "a b", "\"'\\", "\n\u{1}\u{7f}\u{80}", "ä"] {
            assert_eq!(split(&quoted(word)).unwrap(), [word], "{}", quoted(word));
        }
    }

    #[test]
    fn what_is_no_word_is_refused_with_a_reason() {
        for (text, reason) in [
            ("'a", "a quote ' is not closed"),
            ("a \"b", "a quote \" is not closed"),
            ("a\\", "it ends in a backslash"),
            ("\\q", "\\q is not an escape; write \\\\ for a backslash"),
            ("\\x4", "\\x4 is not an escape; write \\\\ for a backslash"),
            ("\\x80", "\\x80 is not an escape; write \\\\ for a backslash"),
            ("\\ud800", "\\ud800 is not an escape; write \\\\ for a backslash"),
            ("\\10", "\\10 is not an escape; write \\\\ for a backslash"),
            ("\\000", "it contains a NUL character"),
        ] {
            assert_eq!(split(text).unwrap_err().to_string(), reason, "{text}");
        }
    }
}
