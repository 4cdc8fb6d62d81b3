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
fn a_part_of_many_problems_is_listed() {
    let found =
        |count: usize| render("t", &"$".repeat(2 * count - 1), Format::Text, &values(), None).problems;
    assert_eq!(found(1).len(), 1);
    let (mut problems, problem) = (Problems::default(), found(1).remove(0));
    problems.extend(vec![problem.clone(); limits::PROBLEMS_OF_FILE + 1]);
    assert_eq!((problems.listed.len(), problems.omitted), (limits::PROBLEMS_OF_FILE, 1));
    for _ in 0..2 * limits::PROBLEMS {
        problems.extend([problem.clone()]);
    }
    let expected = (limits::PROBLEMS, limits::PROBLEMS_OF_FILE + 1 + limits::PROBLEMS);
    assert_eq!((problems.listed.len(), problems.omitted), expected);
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
    assert!(problem.ends_with("the text is larger than 1024 KiB, the most that is allowed"), "{problem}");
    // Nor is a value tried for ever that cannot be used.
    let values = Values::from([("A".into(), "x".repeat(100_000) + "\n")]);
    let rendered = render("t", &"$A".repeat(limits::TEXT / 2), Format::Unit, &values, None);
    assert_eq!(rendered.problems.len(), 11);
}
