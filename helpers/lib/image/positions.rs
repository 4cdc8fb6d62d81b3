//! Lines and columns of text, and where values are in JSON text: each is read once, however many places are asked for.

use std::collections::HashMap;

use crate::image::json::{Scanner, Token};
use crate::steps;

/// How many bytes are looked at to find a column.
const STRIDE: usize = 256;
/// How deep values are nested in what serde_json accepts.
const MAX_DEPTH: usize = 128;

/// Lines and columns of a text.
pub struct Positions<'a> {
    text: &'a str,
    /// Where lines begin.
    lines: Vec<usize>,
    /// How many characters there are before every [`STRIDE`]th byte.
    characters: Vec<usize>,
}

impl<'a> Positions<'a> {
    /// Reads a text.
    pub fn new(text: &'a str) -> Positions<'a> {
        steps::count(text.len());
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        let mut count = 0;
        let mut characters = vec![0];
        for chunk in text.as_bytes().chunks(STRIDE) {
            count += starts(chunk);
            characters.push(count);
        }
        Positions { text, lines, characters }
    }

    /// Returns line and column, from 1, of a byte.
    pub fn find(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at);
        (line, self.characters_before(at) - self.characters_before(self.lines[line - 1]) + 1)
    }

    fn characters_before(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        let block = at / STRIDE;
        self.characters[block] + starts(&self.text.as_bytes()[block * STRIDE..at])
    }
}

/// How many characters begin in a part of a text.
fn starts(part: &[u8]) -> usize {
    steps::count(1);
    part.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// Where the values of a JSON text are.
#[derive(Debug, Default)]
pub struct JsonIndex {
    root: Node,
}

/// A value, and what is in it.
#[derive(Debug, Default)]
struct Node {
    at: usize,
    content: Content,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    None,
    List(Vec<Node>),
    Members(HashMap<String, Node>),
}

/// An object or an array that is not closed yet.
struct Open {
    node: Node,
    /// The key of the next value.
    key: Option<String>,
}

impl JsonIndex {
    /// Reads a text, which must be valid JSON.
    pub fn new(text: &str) -> JsonIndex {
        let mut reader = Reader::default();
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            steps::count(1);
            match byte {
                b'{' | b'[' => {
                    if reader.open.len() >= MAX_DEPTH {
                        // This is not JSON.
                        break;
                    }
                    let is_list = *byte == b'[';
                    let content =
                        if is_list { Content::List(Vec::new()) } else { Content::Members(HashMap::new()) };
                    reader.open.push(Open { node: Node { at, content }, key: None });
                    at += 1;
                }
                b'}' | b']' => {
                    reader.close();
                    at += 1;
                }
                b',' | b':' => at += 1,
                byte if byte.is_ascii_whitespace() => at += 1,
                b'"' => {
                    let end = string_end(text, at);
                    reader.string(at, text.get(at..end).unwrap_or_default());
                    at = end;
                }
                _ => {
                    reader.add(Node { at, content: Content::None });
                    at += literal_length(&text.as_bytes()[at..]);
                }
            }
        }
        while !reader.open.is_empty() {
            reader.close();
        }
        JsonIndex { root: reader.root }
    }

    /// Returns the byte at which the value at `pointer` (RFC 6901) begins or, where there is none, the innermost value
    /// around it.
    pub fn offset(&self, pointer: &str) -> usize {
        let unescape = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
        self.find(pointer.split('/').skip(1).map(unescape))
    }

    /// Like [`JsonIndex::offset`], with the segments of a pointer.
    pub fn find<S: AsRef<str>>(&self, segments: impl IntoIterator<Item = S>) -> usize {
        let mut node = &self.root;
        for segment in segments {
            steps::count(1);
            let segment = segment.as_ref();
            let child = match &node.content {
                Content::None => None,
                Content::List(list) => segment.parse().ok().and_then(|index: usize| list.get(index)),
                Content::Members(members) => members.get(segment),
            };
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        node.at
    }
}

#[derive(Default)]
struct Reader {
    root: Node,
    open: Vec<Open>,
}

impl Reader {
    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = node,
            Some(Open { node: Node { content: Content::List(list), .. }, .. }) => list.push(node),
            Some(Open { node: Node { content: Content::Members(members), .. }, key }) => {
                // Of several members with the same key, the last one counts.
                members.extend(key.take().map(|key| (key, node)));
            }
            Some(_) => {}
        }
    }

    fn close(&mut self) {
        if let Some(closed) = self.open.pop() {
            self.add(closed.node);
        }
    }

    /// A string is a key, unless there is one already or none is needed.
    fn string(&mut self, at: usize, quoted: &str) {
        if let Some(Open { node: Node { content: Content::Members(_), .. }, key: key @ None }) =
            self.open.last_mut()
        {
            *key = serde_json::from_str(quoted).ok();
            return;
        }
        self.add(Node { at, content: Content::None });
    }
}

fn string_end(text: &str, at: usize) -> usize {
    let mut scanner = Scanner::default();
    let closes = |byte: u8| scanner.step(byte) == Token::Close;
    let length = text.as_bytes()[at..].iter().copied().position(closes);
    length.map_or(text.len(), |length| at + length + 1)
}

fn literal_length(text: &[u8]) -> usize {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"{}[],:\"".contains(byte);
    text.iter().position(is_end).unwrap_or(text.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns() {
        let text = format!("ä{}\n\nb$", "ö".repeat(STRIDE));
        let positions = Positions::new(&text);
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let before = &text[..at];
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let expected = (before.matches('\n').count() + 1, before[start..].chars().count() + 1);
            assert_eq!(positions.find(at), expected, "{at}");
        }
        assert_eq!(Positions::new("").find(0), (1, 1));
    }

    #[test]
    fn finds_values() {
        let text = r#" {"a": [1, {"b/c": "x\"]"}, true], "d" : {"e":null}, "a2":3, "d":{ "e" : 7 } }"#;
        let index = JsonIndex::new(text);
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
            assert!(text[index.offset(pointer)..].starts_with(expected), "{pointer}");
        }
    }

    #[test]
    fn never_panics() {
        let deep = "[".repeat(1 << 20);
        for text in [
            "", "3", "[", "{\"a\"", "{\"a\":", "\"", "[1,", "[:", "{:", "{ä", "[1]]", "{\"\\", "ä", "}",
            &deep,
        ] {
            for pointer in ["", "/a", "/0", "/a/b"] {
                JsonIndex::new(text).offset(pointer);
            }
        }
    }

    #[test]
    fn many_places_are_found_in_one_pass() {
        steps::assert_linear("places of values and of lines", |size| {
            let text = format!("[{}0]", "\"ä\",\n".repeat(size));
            let (index, positions) = (JsonIndex::new(&text), Positions::new(&text));
            for number in 0..size {
                assert_eq!(positions.find(index.offset(&format!("/{number}"))).0, number + 1);
            }
        });
        steps::assert_linear("columns of one line", |size| {
            let text = "ä$".repeat(size);
            let positions = Positions::new(&text);
            (0..size).for_each(|number| assert_eq!(positions.find(3 * number), (1, 2 * number + 1)));
        });
    }
}
