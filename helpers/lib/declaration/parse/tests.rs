use super::*;
use crate::declaration::source::Place;

fn parsed(name: &str, texts: &[&str]) -> Parsed {
    let paths = ["/a.conf", "/b.conf", "/c.conf"].map(TreePath::from);
    let source =
        Source { place: Place::Host, path: paths[0].clone(), drop_ins: paths[1..texts.len()].to_vec() };
    let texts: Vec<_> = paths.iter().cloned().zip(texts.iter().map(|t| t.as_bytes().to_vec())).collect();
    parse(&name.parse().unwrap(), &source, &texts)
}

fn shown(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn files_are_merged_in_order() {
    let main = "\u{feff}# c\n[Container]\nImage = quay.io/web:1 \nVolume=/a:/b\nExec=a \\\n  # between\n  b\n\n[Unit]\nAfter=x.service\n[Install]\nWantedBy=a\n[X-Y]\nq=%h\n";
    let drop_in = "[Container]\r\nImage=quay.io/%p:2\r\nVolume=\r\nVolume=/%i:/%%i\r\n[Service]\r\nMemoryMax=%h\r\n[Install]\r\nWantedBy=\r\n";
    let found = parsed("web@x", &[main, drop_in]);
    assert_eq!((shown(&found.errors), shown(&found.warnings)), (vec![], vec![]));
    let declaration = found.declaration;
    assert_eq!(declaration.choices.image, "quay.io/web:2");
    let settings = declaration.choices.settings.iter().map(|a| format!("{}={}", a.key(), a.value()));
    assert_eq!(settings.collect::<Vec<_>>(), ["Exec=a  b", "Volume=/x:/%i"]);
    let unit: Vec<_> = declaration.unit.iter().map(|(a, b, c)| format!("[{a}]{b}={c}")).collect();
    assert_eq!(unit, ["[Unit]After=x.service", "[X-Y]q=%h", "[Service]MemoryMax=%h"]);
    assert_eq!(declaration.install, [("WantedBy", "a"), ("WantedBy", "")].map(|(k, v)| (k.into(), v.into())));
}

#[test]
fn what_is_unknown_is_told_and_changes_nothing_else() {
    let found =
        parsed("web", &["[Container]\nimage=x\nImage=web\nPod=x\n[service]\nType=x\nno assignment\n[Pod]\n"]);
    assert_eq!(shown(&found.errors), [""; 0]);
    let warnings = [
        "/a.conf:2: unknown key image=, it is ignored; did you mean Image=?",
        "/a.conf:4: unknown key Pod=, it is ignored",
        "/a.conf:5: unknown section [service], its lines are ignored; did you mean [Service]?",
        "/a.conf:8: unknown section [Pod], its lines are ignored",
    ];
    assert_eq!(shown(&found.warnings), warnings);
    assert_eq!(found.declaration.warnings, warnings);
    let known = parsed("web", &["[Container]\nImage=web\n"]).declaration;
    assert_eq!(found.declaration.digest(), known.digest());
}

#[test]
fn everything_that_is_wrong_is_found_with_its_line() {
    let text = "Image=x\n[Container]\nHold=perhaps\nimage\n= 5\nSet=PW=50%x\nEnvironment=A=%h\nUser=%u\nHostName=%i\n[Service]\nType=simple\nUser=1\nExecStartPre=\nExecStartPre=/bin/true\n[Unit\n";
    let found = parsed("web", &["[Container]\nImage=web\n", text]);
    let all = "there are %i, %I, %n, %N, %p and %%, which is a percent sign";
    let expected = [
        "1: Image= is not in any section; begin with [Container]".to_owned(),
        "3: invalid Hold=perhaps: it is neither yes nor no".into(),
        "4: expected KEY=VALUE or [SECTION]".into(),
        "5: what is in front of '=' is not a key".into(),
        format!("6: '%' in Set= is not a specifier; {all}"),
        format!("7: '%' in Environment= is not a specifier; {all}"),
        format!("8: %u in User= is not a specifier; {all}"),
        "9: HostName=%i is empty, since web is not an instance of a template".into(),
        "11: Type= cannot be set in [Service]: syscontainers sets it; use Notify= of [Container] for a payload that notifies systemd".into(),
        "12: User= cannot be set in [Service]: it would be that of the programs that start the payload; use User= of [Container]".into(),
        "13: ExecStartPre= cannot be empty: it would remove the commands that the container needs; leave the line out".into(),
        "15: section header \"[Unit\" has no ']' at the end".into(),
    ];
    assert_eq!(shown(&found.errors), expected.map(|text| format!("/b.conf:{text}")));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let source = Source { place: Place::Host, path: TreePath::from("/a.conf"), drop_ins: vec![] };
    for (bytes, expected) in [
        (b"[Container]\nImage=\xff\n".as_slice(), "/a.conf:2: it is not UTF-8"),
        (b"# \x1b[2J\n[Container]\nImage=x\n", "/a.conf:1: control characters are not allowed"),
        (b"[Container]\nImage=x\0y\n", "/a.conf:2: control characters are not allowed"),
        (b"[Container]\nImage=x\rImage=y\n", "/a.conf:2: control characters are not allowed"),
        (b"\n", "/a.conf: there is no Image= in [Container], which says what is to be installed"),
        (
            b"[Container]\nImage=x\nImage=\n",
            "/a.conf: there is no Image= in [Container], which says what is to be installed",
        ),
    ] {
        let found = parse(&"web".parse().unwrap(), &source, &[(source.path.clone(), bytes.to_vec())]);
        assert_eq!(shown(&found.errors), [expected]);
    }
}

/// Nobody wants to read more, and the kernel log of a boot has better to keep.
#[test]
fn much_that_is_unknown_is_told_in_few_words() {
    let found = parsed("web", &["[Container]\nImage=x\n", &"[Container]\nx=\n".repeat(30)]);
    assert_eq!((found.warnings.len(), found.declaration.warnings.len()), (30, TOLD + 1));
    assert_eq!(found.declaration.warnings[TOLD], "/a.conf: 10 more keys and sections are ignored");
}

/// Units say to everybody why a declaration is broken.
#[test]
fn nothing_that_may_be_secret_is_shown() {
    let lines = [
        "Set=PW=hunter2 %x",
        "SetFile=PW=hunter2",
        "Secret=PW=hunter2",
        "Environment=PW=hunter2 x",
        "Exec=server --password=hunter2 \\q",
        "Exec=server --password=hunter2 100%",
        "Entrypoint=[\"server\", \"hunter2\"",
        "[\"hunter2\", \"",
        "[\"hunter2\"]",
        "hunter2",
        "Image=hunter2@r.io/x y",
    ];
    for line in lines {
        let found = parsed("web", &[&format!("[Container]\nImage=x\n{line}\n")]);
        let said = [shown(&found.errors), shown(&found.warnings)].concat();
        assert!(said.len() == 1 && !said[0].contains("hunter2"), "{line}: {said:?}");
    }
}

/// Lines of these sections are written to units as they are.
#[test]
fn no_value_continues_a_line_of_a_unit() {
    let found = parsed(
        "web",
        &[
            "[Container]\nImage=x\nSet=A=b\\ \n[Unit]\nA=b\\ \n[Service]\nA=\\\\\n[Install]\nA=b \\ \\\n\n[X-Y]\nA=\\ \n",
        ],
    );
    let why = "A= ends in a backslash, which would continue the line; remove that, or the blank behind it";
    assert_eq!(shown(&found.errors), [5, 9, 12].map(|line| format!("/a.conf:{line}: the value of {why}")));
    assert_eq!(found.declaration.choices.values["A"], "b\\");
}

/// Each line has what it is about, and that is not what its section is called.
#[test]
fn names_are_short_and_kept_once() {
    let long = "a".repeat(NAME_MAX + 1);
    let text = format!("[X-{long}]\n{}[X-b]\na=\na=\n{long}=\n", "a=\n".repeat(1000));
    let found = parsed("web", &["[Container]\nImage=x\n", &text]);
    assert_eq!(shown(&found.errors), ["/b.conf:1005: what is in front of '=' is longer than 128 bytes"]);
    let warning = "/b.conf:1: unknown section, its lines are ignored: its name is longer than 128 bytes";
    assert_eq!(shown(&found.warnings), [warning]);
    let unit = found.declaration.unit;
    assert!(unit.len() == 2 && Rc::ptr_eq(&unit[0].0, &unit[1].0), "{unit:?}");
}

/// As long as a file may be, in the order that would take longest if each line looked at those before it.
#[test]
fn what_counts_of_many_lines_is_found_at_once() {
    let many: String = (0..16_000).map(|n| format!("Label=a={n}\nUser={n}\n")).collect();
    let found = parsed("web", &[&format!("[Container]\nImage=x\n{many}")]);
    let settings = &found.declaration.choices.settings;
    assert_eq!((settings.len(), settings[16_000].value()), (16_001, "15999"));
}

#[test]
fn the_digest_is_of_what_is_chosen() {
    let digest =
        |text: &str| parsed("web", &[&format!("[Container]\nImage=web\n{text}")]).declaration.digest();
    let same = digest("Set=A=1\nVolume=/a:/b\n");
    for other in [
        "Volume=/a:/b\nSet=A=2\nSet=A=1\n",
        "Set=A=1\nVolume=/a:/b\nHold=no\n#\n[Unit]\nAfter=x\n[Service]\nMemoryMax=1G\n",
    ] {
        assert_eq!(digest(other), same, "{other}");
    }
    for key in keys::KEYS {
        let value = match key.name {
            "Set" => "B=1",
            "SetFile" => "B=/x",
            "Runtime" | "Rootfs" => "/x",
            "Pull" => "never",
            "Keep" => "4",
            "SoakSec" => "1s",
            "Image" | "Secret" => "x",
            _ => "yes",
        };
        assert_ne!(digest(&format!("Set=A=1\nVolume=/a:/b\n{}={value}\n", key.name)), same, "{}", key.name);
    }
    assert_ne!(digest("Set=A=1\nVolume=/a:/b\nUser=1\n"), same);
    assert_ne!(digest("Set=A=1\nVolume=/a:/b\n[Install]\nWantedBy=x\n"), same);
}
