//! Positions of values in JSON text.

use crate::image::json::{Scanner, Token};
use crate::system::record;

/// Returns the byte at which the value at `pointer` (RFC 6901) begins or, where there is none, the innermost value
/// around it. The text must be valid JSON.
pub fn offset(text: &str, pointer: &str) -> usize {
    let mut at = skip_whitespace(text, 0);
    for segment in pointer.split('/').skip(1) {
        match child(text, at, &segment.replace("~1", "/").replace("~0", "~")) {
            Some(below) => at = below,
            None => break,
        }
    }
    at
}

fn child(text: &str, at: usize, segment: &str) -> Option<usize> {
    let is_object = match text.as_bytes().get(at)? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    let (mut next, mut index, mut found) = (skip_whitespace(text, at + 1), 0, None);
    while !matches!(text.as_bytes().get(next)?, b'}' | b']') {
        let before = next;
        let mut is_it = !is_object && segment.parse() == Ok(index);
        if is_object {
            let end = end(text, next);
            is_it = serde_json::from_str::<String>(text.get(next..end)?).is_ok_and(|key| key == segment);
            // The colon.
            next = skip_whitespace(text, skip_whitespace(text, end) + 1);
        }
        if is_it {
            // Of several members with the same key, the last one counts.
            found = Some(next);
        }
        next = skip_whitespace(text, end(text, next));
        if text.as_bytes().get(next) == Some(&b',') {
            next = skip_whitespace(text, next + 1);
        }
        if next == before {
            // This is not JSON.
            return None;
        }
        index += 1;
    }
    found
}

fn skip_whitespace(text: &str, at: usize) -> usize {
    at + text.as_bytes().iter().skip(at).take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Returns where the value that begins at `at` ends.
fn end(text: &str, at: usize) -> usize {
    let (mut depth, mut scanner) = (0, Scanner::default());
    for (index, byte) in text.bytes().enumerate().skip(at) {
        match (scanner.step(byte), byte) {
            (Token::Close, _) if depth == 0 => return index + 1,
            (Token::Open | Token::Inside | Token::Close, _) => {}
            (Token::Outside, b'{' | b'[') => depth += 1,
            (Token::Outside, b'}' | b']') if depth == 0 => return index,
            (Token::Outside, b'}' | b']') => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            (Token::Outside, b',' | b':') if depth == 0 => return index,
            (Token::Outside, _) if depth == 0 && byte.is_ascii_whitespace() => return index,
            (Token::Outside, _) => {}
        }
    }
    text.len()
}

/// Returns the byte where text stops being JSON, the last one that was read.
pub fn error_offset(text: &str, error: &serde_json::Error) -> usize {
    let start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    // serde_json counts columns in bytes.
    let mut at = (start + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Returns why text is not JSON, without the place.
pub fn reason(error: &serde_json::Error) -> String {
    format!("invalid JSON: {}", record::reason(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_values() {
        let text = r#" {"a": [1, {"b/c": "x\"]"}, true], "d" : {"e":null}, "a2":3, "d":{ "e" : 7 } }"#;
        for (pointer, expected) in [
            ("", "{\"a\""),
            ("/a", "[1"),
            ("/a/0", "1,"),
            ("/a/1/b~1c", "\"x"),
            ("/a/2", "true"),
            ("/a/3", "[1"),
            ("/d/e", "7"),
            ("/d/none/x", "{ \"e\""),
            ("/a2", "3"),
        ] {
            assert!(text[offset(text, pointer)..].starts_with(expected), "{pointer}");
        }
    }

    #[test]
    fn never_panics() {
        for text in ["", "3", "[", "{\"a\"", "{\"a\":", "\"", "[1,", "[:", "{:", "{ä", "[1]]", "{\"\\"] {
            for pointer in ["", "/a", "/0", "/a/b"] {
                offset(text, pointer);
            }
        }
    }
}
