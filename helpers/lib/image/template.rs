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
                write!(f, "with its variables replaced, the text is larger than the limit of {limit} KiB")
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
mod tests {
    use super::*;

    fn values() -> Values {
        let values = [("NAME", "n"), ("A_1", "one"), ("LINE", "ExecStartPre=/bin/evil"), ("EMPTY", "")];
        values.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn ok(format: Format, text: &str) -> String {
        let rendered = render("t", text, format, &values(), None);
        assert_eq!(rendered.problems, [], "{text}");
        rendered.text
    }

    fn bad(format: Format, text: &str) -> Vec<String> {
        render("t", text, format, &values(), None).problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn follows_string_template() {
        for (text, expected) in [
            ("$NAME.conf", "n.conf"),
            ("$NAME/x", "n/x"),
            ("${NAME}x", "nx"),
            ("$A_1", "one"),
            ("$$NAME", "$NAME"),
            ("$$$NAME$$", "$n$"),
            ("ä$NAME", "än"),
            ("", ""),
        ] {
            assert_eq!(ok(Format::Text, text), expected, "{text}");
        }
    }

    #[test]
    fn reports_every_problem_with_its_place() {
        let found = bad(Format::Text, "$NAMEx\nab $NAME_y ${A-b}\n$1 $( $");
        assert_eq!(
            found,
            [
                "t:1:1: no value for NAMEx",
                "t:2:4: no value for NAME_y",
                "t:2:12: invalid placeholder; write '$$' for a dollar sign",
                "t:3:1: invalid placeholder; write '$$' for a dollar sign",
                "t:3:4: invalid placeholder; write '$$' for a dollar sign",
                "t:3:7: invalid placeholder; write '$$' for a dollar sign",
            ]
        );
    }

    #[test]
    fn values_are_escaped_for_their_format() {
        assert_eq!(ok(Format::Unit, "Description=$NAME$A_1 100$$"), "Description=none 100$");
        assert_eq!(ok(Format::Unit, "[Service]\n$EMPTY\nX=1"), "[Service]\n\nX=1");
        assert_eq!(ok(Format::Json, "[\"$NAME\" $EMPTY]"), "[\"n\" ]");
        assert_eq!(
            bad(Format::Unit, "[Service]\n$LINE"),
            ["t:2:1: the value of LINE cannot be used here: it would add a line or a setting to the unit"]
        );
    }

    #[test]
    fn a_stand_in_takes_the_place_of_missing_values() {
        let rendered = render("t", "$NAME $NONE", Format::Text, &values(), Some("?"));
        assert_eq!(rendered.text, "n ?");
        assert_eq!(rendered.problems[0].fault, PlaceholderFault::NoValue("NONE".into()));
    }

    #[test]
    fn knows_where_parts_come_from() {
        let rendered = render("t", "a$$b$A_1 $NAME\n", Format::Text, &values(), None);
        assert_eq!(rendered.text, "a$bone n\n");
        let origins: Vec<usize> = (0..rendered.text.len()).map(|at| rendered.origin(at)).collect();
        assert_eq!(origins, [0, 1, 3, 4, 4, 4, 8, 9, 14]);
    }

    #[test]
    fn lists_variables() {
        let names: Vec<_> = variables("$A ${B} $$C $A $1").into_iter().collect();
        assert_eq!(names, ["A", "B"]);
    }

    /// Whatever the template and the values are, rendering ends without a panic.
    #[test]
    fn never_panics() {
        let alphabet: Vec<char> = "${}AÄ\"'\\\n=;[] %:,x1".chars().collect();
        let mut state = 1u64;
        let mut next = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        for _ in 0..20_000 {
            let length = next(24);
            let text: String = (0..length).map(|_| alphabet[next(alphabet.len())]).collect();
            let value: String = (0..next(8)).map(|_| alphabet[next(alphabet.len())]).collect();
            let values = ["A", "AA", "Ax1", "x1", "x"].map(|name| (name.to_owned(), value.clone())).into();
            for format in [Format::Json, Format::Unit, Format::Tmpfiles, Format::Text] {
                let rendered = render("t", &text, format, &values, Some(&value));
                if format == Format::Unit && rendered.problems.is_empty() {
                    assert_eq!(rendered.text.matches('\n').count(), text.matches('\n').count());
                }
            }
        }
    }

    #[test]
    fn every_byte_is_looked_at_once() {
        for format in [Format::Json, Format::Unit, Format::Tmpfiles, Format::Text] {
            for (line, variable) in [("", "$NONE"), ("A=", "$NAME"), ("A=\\\n", "$NAME\\\n"), ("\"", "$1")] {
                crate::steps::assert_linear(&format!("{format:?} {variable}"), |size| {
                    let text = format!("{line}{}", variable.repeat(size));
                    let rendered = render("t", &text, format, &values(), Some("x"));
                    let at = rendered.text.len();
                    crate::steps::count(size);
                    assert!(rendered.origin(at) <= text.len());
                });
            }
        }
    }

    #[test]
    fn a_text_has_an_end() {
        let values = Values::from([("A".into(), "x".repeat(1000))]);
        let rendered = render("t", &"$A".repeat(limits::TEXT / 2), Format::Text, &values, None);
        assert!(rendered.text.len() <= limits::RENDERED);
        let problem = rendered.problems.last().unwrap().to_string();
        assert!(problem.ends_with("the text is larger than the limit of 1024 KiB"), "{problem}");
        // Nor is a value tried forever that cannot be used.
        let values = Values::from([("A".into(), "x".repeat(100_000) + "\n")]);
        let rendered = render("t", &"$A".repeat(limits::TEXT / 2), Format::Unit, &values, None);
        assert_eq!(rendered.problems.len(), 11);
    }
}
