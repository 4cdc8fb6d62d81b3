//! Templates: Python's `string.Template` syntax, with values escaped for the file they end up in.
//!
//! `$NAME`, `${NAME}` and `$$` mean what they mean in Python (longest ASCII identifier, no recursion); anything else
//! after a dollar sign is an error. Every problem of a file is found in one pass, with line and column.

use std::collections::BTreeSet;
use std::fmt;

use crate::image::json;
use crate::unit::escape;

/// What a rendered file is, and so how values are escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// JSON: escaped inside strings; elsewhere spliced as it is, if it can neither close nor name anything.
    Json,
    /// A unit file: specifiers, and in command lines quotes and variables, are taken literally.
    Unit,
    /// tmpfiles.d(5): one value stays within one field.
    Tmpfiles,
    /// Any other text: as it is.
    Text,
}

/// What is wrong with one placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The template, as `exports/service.template`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
    /// Which kind of problem it is.
    pub fault: Fault,
}

/// Kinds of [`Problem`]s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This variable has no value.
    NoValue(String),
    /// This variable's value cannot stand there.
    Value(String),
    /// What follows a dollar sign is no placeholder.
    Placeholder,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.reason)
    }
}

/// One piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal { text: &'a str, at: usize },
    Variable { name: &'a str, at: usize },
    Invalid { at: usize },
}

/// Renders `text`. Problems are added to `problems`; the result is whole only if there are none.
pub fn render<'v>(
    file: &str,
    text: &str,
    target: Target,
    value: impl Fn(&str) -> Option<&'v str>,
    problems: &mut Vec<Problem>,
) -> String {
    render_traced(file, text, target, value, problems).0
}

/// As [`render`], with where in the template each part of the result is from.
pub fn render_traced<'v>(
    file: &str,
    text: &str,
    target: Target,
    value: impl Fn(&str) -> Option<&'v str>,
    problems: &mut Vec<Problem>,
) -> (String, Trace) {
    let (mut out, mut trace) = (String::with_capacity(text.len() + text.len() / 4), Trace(Vec::new()));
    for piece in pieces(text) {
        let (at, reason, fault) = match piece {
            Piece::Literal { text, at } => {
                trace.0.push((out.len(), at, true));
                out.push_str(text);
                continue;
            }
            Piece::Variable { name, at } => match value(name) {
                None => (at, format!("no value for {name}"), Fault::NoValue(name.to_owned())),
                Some(value) => match escape(target, &out, value) {
                    Ok(escaped) => {
                        trace.0.push((out.len(), at, false));
                        out.push_str(&escaped);
                        continue;
                    }
                    Err(why) => {
                        let reason = format!("the value of {name} cannot stand here: {why}");
                        (at, reason, Fault::Value(name.to_owned()))
                    }
                },
            },
            Piece::Invalid { at } => {
                (at, "invalid placeholder; a dollar sign is written '$$'".into(), Fault::Placeholder)
            }
        };
        let (line, column) = position(text, at);
        problems.push(Problem { file: file.to_owned(), line, column, reason, fault });
    }
    (out, trace)
}

/// Where in a template the parts of what it became are from.
pub struct Trace(Vec<(usize, usize, bool)>);

impl Trace {
    /// The byte of the template that a byte of the result is from; all of a value is from its placeholder.
    pub fn origin(&self, at: usize) -> usize {
        let found = self.0.iter().rev().find(|(out, _, _)| *out <= at);
        found.map_or(0, |(out, text, is_literal)| if *is_literal { text + (at - out) } else { *text })
    }
}

/// Names of the variables that a template uses.
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

/// Length of the identifier that `text` begins with.
fn identifier(text: &str) -> Option<usize> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return None;
    }
    Some(text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count())
}

/// Line and column, from 1, of a byte.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Escapes `value` for where it lands: `before` is all that is rendered already.
fn escape(target: Target, before: &str, value: &str) -> Result<String, &'static str> {
    if value.contains('\0') {
        return Err("it contains a NUL character");
    }
    match target {
        Target::Text => Ok(value.to_owned()),
        Target::Json => json::value(before, value),
        Target::Unit => escape::unit_value(before, value),
        Target::Tmpfiles => escape::tmpfiles_value(before, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<&'static str> {
        Some(match name {
            "NAME" => "n",
            "A_1" => "one",
            "QUOTE" => "a\"b\\c\nd",
            "PERCENT" => "50%$x\"y'z\\",
            "SEMI" => "; /bin/evil",
            "INJECT" => "a\nExecStartPre=/bin/evil",
            "MOUNTS" => ",{\"type\":\"bind\"}",
            "CLOSE" => "}], \"x\": [{",
            "KEY" => "1,\"evil\":2",
            "LINE" => "ExecStartPre=/bin/evil",
            "EMPTY" => "",
            "SPACE" => "a b",
            "TRAIL" => "a\\",
            _ => return None,
        })
    }

    fn ok(target: Target, text: &str) -> String {
        let mut problems = Vec::new();
        let out = render("t", text, target, value, &mut problems);
        assert_eq!(problems, [], "{text}");
        out
    }

    fn bad(target: Target, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        render("t", text, target, value, &mut problems);
        problems.iter().map(|p| p.to_string()).collect()
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
            assert_eq!(ok(Target::Text, text), expected, "{text}");
        }
    }

    #[test]
    fn reports_every_problem_with_its_place() {
        let found = bad(Target::Text, "$NAMEx\nab $NAME_y ${A-b}\n$1 $( $");
        assert_eq!(
            found,
            [
                "t:1:1: no value for NAMEx",
                "t:2:4: no value for NAME_y",
                "t:2:12: invalid placeholder; a dollar sign is written '$$'",
                "t:3:1: invalid placeholder; a dollar sign is written '$$'",
                "t:3:4: invalid placeholder; a dollar sign is written '$$'",
                "t:3:7: invalid placeholder; a dollar sign is written '$$'",
            ]
        );
    }

    #[test]
    fn json_strings_are_escaped_and_splices_are_closed() {
        let text = ok(Target::Json, r#"{"a\"$NAME": "$QUOTE", "m": [1 $MOUNTS], "e": [1 $EMPTY]}"#);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["a\"n"], "a\"b\\c\nd");
        assert_eq!(parsed["m"][1]["type"], "bind");
        assert_eq!(bad(Target::Json, r#"[{"a": [{ $CLOSE }]}]"#).len(), 1);
        assert_eq!(bad(Target::Json, r#"{"port": $KEY}"#).len(), 1);
    }

    #[test]
    fn units_take_no_lines_settings_or_commands_from_values() {
        assert_eq!(ok(Target::Unit, "Description=$NAME$A_1 100$$"), "Description=none 100$");
        assert_eq!(
            ok(Target::Unit, "ExecStart=/bin/echo \"$PERCENT\""),
            "ExecStart=/bin/echo \"50%%$$x\\\"y\\'z\\\\\""
        );
        assert_eq!(ok(Target::Unit, "ExecStart=/bin/echo $SEMI"), "ExecStart=/bin/echo \\x3b /bin/evil");
        assert_eq!(ok(Target::Unit, "ExecStart=/bin/echo \\\n $SPACE"), "ExecStart=/bin/echo \\\n a b");
        assert_eq!(ok(Target::Unit, "Environment=\"A=$SPACE\""), "Environment=\"A=a b\"");
        assert_eq!(ok(Target::Unit, "# see $LINE"), "# see ExecStartPre=/bin/evil");
        assert_eq!(
            ok(Target::Unit, "ExecStart=\\\n# why\n  $LINE x"),
            "ExecStart=\\\n# why\n  ExecStartPre=/bin/evil x"
        );
        for text in ["Description=$INJECT", "$LINE", "[Service]\n$LINE", "Description=$TRAIL"] {
            assert_eq!(bad(Target::Unit, text).len(), 1, "{text}");
        }
        assert_eq!(ok(Target::Unit, "[Service]\n$EMPTY\nX=1"), "[Service]\n\nX=1");
    }

    #[test]
    fn tmpfiles_values_stay_in_their_field() {
        assert_eq!(ok(Target::Tmpfiles, "d /x/$SPACE - - - -"), "d /x/a\" \"b - - - -");
        assert_eq!(ok(Target::Tmpfiles, "d \"/x/$SPACE\" - - - -"), "d \"/x/a b\" - - - -");
        assert_eq!(ok(Target::Tmpfiles, "f '/x y' 0 - - - $SPACE"), "f '/x y' 0 - - - a\\x20b");
        assert_eq!(ok(Target::Tmpfiles, "# x\nd /$TRAIL -"), "# x\nd /a\\\\ -");
        assert_eq!(bad(Target::Tmpfiles, "d $INJECT").len(), 1);
    }

    #[test]
    fn traces_what_it_renders() {
        let text = "a$$b$A_1 $NAME\n";
        let (out, trace) = render_traced("t", text, Target::Text, value, &mut Vec::new());
        assert_eq!(out, "a$bone n\n");
        let origins: Vec<usize> = (0..out.len()).map(|at| trace.origin(at)).collect();
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
            for target in [Target::Json, Target::Unit, Target::Tmpfiles, Target::Text] {
                let mut problems = Vec::new();
                let out = render("t", &text, target, |_| Some(&value), &mut problems);
                if target == Target::Unit && problems.is_empty() {
                    assert_eq!(out.matches('\n').count(), text.matches('\n').count());
                }
            }
        }
    }
}
