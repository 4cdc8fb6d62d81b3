//! Templates: Python's `string.Template` syntax, with values escaped for the file they end up in.
//!
//! `$NAME`, `${NAME}` and `$$` have the same meaning as in Python (longest ASCII identifier, no recursion); a dollar
//! sign before anything else is an error. All problems of a file are found in one pass, with line and column.

use std::collections::BTreeSet;
use std::fmt;

use crate::container::info::Values;
use crate::image::limits;
use crate::image::place::Place;
use crate::image::positions::Positions;

pub use crate::image::place::Format;

/// What is wrong with one placeholder, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the template in the image, like `exports/service.template`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    pub fault: PlaceholderFault,
}

/// Problems, as far as there are not too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Those that are listed.
    pub listed: Vec<Problem>,
    /// How many others there are.
    pub omitted: usize,
}

impl Problems {
    /// Adds those of one file.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        let room = limits::PROBLEMS.saturating_sub(self.listed.len()).min(limits::PROBLEMS_OF_FILE);
        let mut problems = problems.into_iter();
        self.listed.extend(problems.by_ref().take(room));
        self.omitted += problems.count();
    }
}

/// What is wrong with a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceholderFault {
    /// The variable of this name has no value.
    NoValue(String),
    /// The value of a variable is not allowed where it is used.
    Unescapable { name: String, why: &'static str },
    /// The value of this variable is secret, and users of the host could read it.
    Secret(String),
    /// The value of this variable is secret, and what the configuration has at this place leaves it.
    SecretPlace { name: String, place: String },
    /// The dollar sign does not begin a placeholder.
    Invalid,
    /// Here, the text gets larger than [`limits::RENDERED`], and ends.
    TooLarge,
}

impl fmt::Display for PlaceholderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceholderFault::NoValue(name) => write!(f, "no value for {name}"),
            PlaceholderFault::Unescapable { name, why } => {
                write!(f, "the value of {name} cannot be used here: {why}")
            }
            PlaceholderFault::Secret(name) => write!(
                f,
                "{name} is a secret, and every user of the host could read it here; use it in process.env of config.json.template, or in a host file of mode 0600 that belongs to root"
            ),
            PlaceholderFault::SecretPlace { name, place } => write!(
                f,
                "{name} is a secret, and other users of the host could see it in {place}; use it in process.env, or in a host file of mode 0600 that belongs to root"
            ),
            PlaceholderFault::TooLarge => {
                let limit = limits::RENDERED >> 10;
                write!(
                    f,
                    "with its variables replaced, the text is larger than {limit} KiB, the most that is allowed"
                )
            }
            PlaceholderFault::Invalid => f.write_str("invalid placeholder; write '$$' for a dollar sign"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.fault)
    }
}

/// One piece of a template; `at` is the byte that it begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal { text: &'a str, at: usize },
    Variable { name: &'a str, at: usize },
    Invalid { at: usize },
}

/// A template with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedText {
    /// The result, in which placeholders with a problem are empty.
    pub text: String,
    /// All problems, in order. Only without any is the result valid.
    pub problems: Vec<Problem>,
    parts: Vec<Part>,
}

/// Where a part of a rendered text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// The byte of the result that the part begins at.
    result: usize,
    /// The byte of the template that it comes from.
    template: usize,
    /// Whether the template holds the part literally, and not a placeholder for it.
    is_literal: bool,
}

impl RenderedText {
    /// Returns the byte of the template that a byte of the result comes from: for a value, that of its placeholder.
    pub fn origin(&self, at: usize) -> usize {
        let following = self.parts.partition_point(|part| part.result <= at);
        match self.parts[..following].last() {
            Some(part) if part.is_literal => part.template + (at - part.result),
            Some(part) => part.template,
            None => 0,
        }
    }

    fn push(&mut self, text: &str, at: usize, is_literal: bool) {
        self.parts.push(Part { result: self.text.len(), template: at, is_literal });
        self.text.push_str(text);
    }
}

/// Renders the template `text`, which problems refer to as `file`. `stand_in` replaces missing values, which are
/// problems nevertheless.
pub fn render(
    file: &str,
    text: &str,
    format: Format,
    values: &Values,
    stand_in: Option<&str>,
) -> RenderedText {
    let out = RenderedText { text: String::with_capacity(text.len()), problems: vec![], parts: vec![] };
    let mut renderer = Renderer { out, place: Place::new(format), values, stand_in, spent: 0 };
    let mut positions = None;
    for piece in pieces(text) {
        let (at, added) = match piece {
            Piece::Literal { text, at } => (at, renderer.push(text, at, true)),
            Piece::Variable { name, at } => (at, renderer.replace(name, at)),
            Piece::Invalid { at } => (at, Err(PlaceholderFault::Invalid)),
        };
        let Err(fault) = added else { continue };
        let is_end = fault == PlaceholderFault::TooLarge;
        let (line, column) = positions.get_or_insert_with(|| Positions::new(text)).find(at);
        renderer.out.problems.push(Problem { file: file.to_owned(), line, column, fault });
        if is_end {
            break;
        }
    }
    renderer.out
}

/// A text that is being rendered.
struct Renderer<'a> {
    out: RenderedText,
    place: Place,
    values: &'a Values,
    stand_in: Option<&'a str>,
    /// How many bytes of values were looked at, for nothing where they cannot be used.
    spent: usize,
}

impl Renderer<'_> {
    fn push(&mut self, text: &str, at: usize, is_literal: bool) -> Result<(), PlaceholderFault> {
        if self.out.text.len() + text.len() > limits::RENDERED {
            return Err(PlaceholderFault::TooLarge);
        }
        self.place.push(text);
        self.out.push(text, at, is_literal);
        Ok(())
    }

    fn replace(&mut self, name: &str, at: usize) -> Result<(), PlaceholderFault> {
        let value = self.values.get(name).map(String::as_str);
        let missing = || PlaceholderFault::NoValue(name.to_owned());
        let used = value.or(self.stand_in).ok_or_else(missing)?;
        self.spent += used.len();
        if self.spent > limits::RENDERED {
            return Err(PlaceholderFault::TooLarge);
        }
        match self.place.escape(used) {
            Ok(escaped) => self.push(&escaped, at, false)?,
            Err(_) if value.is_none() => {}
            Err(why) => return Err(PlaceholderFault::Unescapable { name: name.to_owned(), why }),
        }
        value.map(|_| ()).ok_or_else(missing)
    }
}

/// Returns the names of the variables that a template uses.
pub fn variables(text: &str) -> BTreeSet<String> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Variable { name, .. } => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(found) = text[start..].find('$') {
        let at = start + found;
        pieces.push(Piece::Literal { text: &text[start..at], at: start });
        let rest = &text[at + 1..];
        let (piece, length) = if rest.starts_with('$') {
            (Piece::Literal { text: &rest[..1], at }, 1)
        } else if let Some(length) = identifier(rest) {
            (Piece::Variable { name: &rest[..length], at }, length)
        } else {
            match rest.strip_prefix('{').and_then(|r| identifier(r).map(|length| (r, length))) {
                Some((r, length)) if r[length..].starts_with('}') => {
                    (Piece::Variable { name: &r[..length], at }, length + 2)
                }
                _ => (Piece::Invalid { at }, 0),
            }
        };
        pieces.push(piece);
        start = at + 1 + length;
    }
    pieces.push(Piece::Literal { text: &text[start..], at: start });
    pieces
}

/// Returns the length of the identifier that `text` begins with.
fn identifier(text: &str) -> Option<usize> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return None;
    }
    Some(text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count())
}

#[cfg(test)]
mod tests;
