use super::*;

#[test]
fn reads_what_systemd_reads() {
    let text = "# c\n[Unit]\nDescription = a b \n; c\n[Service]\nExecStart=/bin/x \\\n# between\n  y\\\nz\nA=\\\\\n[X-Y]\nq=1\n[Unit]\nAfter=\nAfter=b";
    let unit = UnitFile::parse(text).unwrap();
    let list = |section| unit.section(section).map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    assert_eq!(list("Unit"), ["Description=a b", "After=", "After=b"]);
    assert_eq!(list("Service"), ["ExecStart=/bin/x  y z", "A=\\\\"]);
    assert_eq!(unit.extensions(), ["X-Y"]);
    assert_eq!(unit.last("Unit", "After"), Some("b"));
    assert_eq!(unit.last("Unit", "Before"), None);
}

#[test]
fn errors_name_the_line() {
    let long = "a".repeat(NAME_MAX + 1);
    for (text, error) in [
        ("A=1", "line 1: A= is not in any section"),
        ("[Unit]\n\n[Sock]", "line 3: unknown section [Sock]"),
        ("[Unit]\nfoo", "line 2: \"foo\" is neither an assignment nor a section"),
        ("[Unit]\na b=1", "line 2: \"a b\" is not the name of a setting"),
        ("[Unit\n", "line 1: section header \"[Unit\" has no ']' at the end"),
        ("[Unit]\nA=\\\n1\nB=\u{1b}", "line 4: control characters are not allowed in a unit"),
        (
            "[Unit]\nA=x\\ \nB=1",
            "line 2: the value of A= ends in a backslash; remove that, or the blank behind it",
        ),
        (
            "[Unit]\nA=x\\ \\\n\nB=1",
            "line 2: the value of A= ends in a backslash; remove that, or the blank behind it",
        ),
        (&format!("\n[X-{long}]"), "line 2: the name of a section is longer than 128 bytes"),
        (&format!("[Unit]\n{long}=1"), "line 2: the name of a setting is longer than 128 bytes"),
    ] {
        assert_eq!(UnitFile::parse(text).unwrap_err().to_string(), error);
    }
}

/// Wherever lines of a section are.
#[test]
fn sections_are_found_once_for_all_their_lines() {
    steps::assert_linear("lines of sections", |size| {
        let name = format!("X-{}", "a".repeat(NAME_MAX - 2));
        let text = format!("[{name}]\n{}[X-empty]\n[{name}]\nb=\n", "a=\n".repeat(size));
        let unit = UnitFile::parse(&text).unwrap();
        assert_eq!((unit.lines(&name).count(), unit.extensions()), (size + 1, [name].as_slice()));
    });
}

#[test]
fn escapes_by_kind() {
    let mut writer = Writer::new("h");
    writer.set("Unit", "SourcePath", Value::Path(Path::new("/a b%c"))).unwrap();
    writer.set("Unit", "Description", Value::Text("50% \"x\"")).unwrap();
    writer.set("Unit", "RequiresMountsFor", Value::Words(&["/a b", "/$c\"%"])).unwrap();
    writer.set("Service", "ExecStart", Value::Exec("+", &["/bin/x", "a b", "$HOME;%\\", ""])).unwrap();
    let expected = "# h\n[Unit]\nSourcePath=/a b%%c\nDescription=50%% \"x\"\nRequiresMountsFor=\"/a b\" \"/$c\\\"%%\"\n\n[Service]\nExecStart=+/bin/x \"a b\" \"$$HOME;%%\\\\\" \"\"\n";
    assert_eq!(writer.finish(), expected);
}

#[test]
fn refuses_values_that_would_add_a_line() {
    let mut writer = Writer::new("h");
    for value in [
        Value::Path(Path::new("/a\nb")),
        Value::Path(Path::new("a")),
        Value::Path(Path::new("/a\\")),
        Value::Text("a\nExecStart=/x"),
        Value::Words(&["a\n"]),
        Value::Exec("", &["a\0"]),
        Value::Raw("a\nb"),
        Value::Raw("a\\"),
        Value::Raw("a\\\\\\"),
    ] {
        assert!(writer.set("Unit", "X", value).is_err());
    }
    assert!(writer.set("Unit", "A=1\nB", Value::Text("")).is_err());
    assert_eq!(writer.finish(), "# h\n");
}

/// Lines that are written are read back unchanged.
#[test]
fn raw_lines_round_trip() {
    let text = "[Unit]\nA=1\nB=x \"y\" %n\n\n[Service]\nC=\\\\\n";
    let unit = UnitFile::parse(text).unwrap();
    let mut writer = Writer::new("h");
    for section in ["Unit", "Service"] {
        for (key, value) in unit.section(section) {
            writer.set(section, key, Value::Raw(value)).unwrap();
        }
    }
    assert_eq!(writer.finish(), format!("# h\n{text}"));
}
