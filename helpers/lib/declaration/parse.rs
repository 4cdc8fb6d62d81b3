//! From the texts of a declaration's files to what they choose.
//!
//! Sections and lines are those of systemd.syntax(7). What is not known, which a later version may know, is only told of;
//! what is known and wrong breaks the declaration.

use std::fmt;
use std::rc::Rc;

use crate::declaration::choices::Choices;
use crate::declaration::declared::Declaration;
use crate::declaration::source::Source;
use crate::declaration::{keys, specifiers};
use crate::name::Name;
use crate::paths::TreePath;
use crate::unit::lines::{NAME_MAX, is_name, logical_lines};

/// The section with what the container is.
const CONTAINER: &str = "Container";
/// All sections, besides those that begin with `X-`.
const SECTIONS: [&str; 4] = [CONTAINER, "Unit", "Service", "Install"];

/// Settings of `[Service]` that a declaration cannot have, and why.
pub const REFUSED: [(&str, &str); 10] = [
    ("BusName", "it is the image's to say; use a drop-in of the unit"),
    ("DynamicUser", PAYLOAD_USER),
    ("ExecStart", "the payload is what the service runs; use Exec= of [Container] for another command"),
    ("Group", "it would be that of the programs that start the payload; use Group= of [Container]"),
    ("NotifyAccess", "syscontainers sets it; use Notify= of [Container]"),
    ("PIDFile", "syscontainers sets it; leave the line out"),
    ("RootDirectory", IMAGE_ROOT),
    ("RootImage", IMAGE_ROOT),
    ("Type", "syscontainers sets it; use Notify= of [Container] for a payload that notifies systemd"),
    ("User", PAYLOAD_USER),
];
const PAYLOAD_USER: &str =
    "it would be that of the programs that start the payload; use User= of [Container]";
const IMAGE_ROOT: &str = "the root file system is the image's; use Rootfs= of [Container] for another one";

/// How much of what is ignored is told at every start of the host.
const TOLD: usize = 20;

/// Something that is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: TreePath,
    /// Number of the line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.text),
            None => write!(f, "{}: {}", self.path, self.text),
        }
    }
}

/// What was found in the files of a declaration.
#[derive(Debug)]
pub struct Parsed {
    /// What they declare; only valid without `errors`.
    pub declaration: Declaration,
    /// What breaks it, in order.
    pub errors: Vec<Fault>,
    /// What is ignored, in order.
    pub warnings: Vec<Fault>,
}

/// Parses the texts of the files of `source`, in the order in which they count.
pub fn parse(name: &Name, source: &Source, texts: &[(TreePath, Vec<u8>)]) -> Parsed {
    let declaration = Declaration {
        name: name.clone(),
        source: source.clone(),
        choices: Choices::default(),
        unit: Vec::new(),
        install: Vec::new(),
        warnings: Vec::new(),
    };
    let mut parsed = Parsed { declaration, errors: Vec::new(), warnings: Vec::new() };
    for (path, bytes) in texts {
        File { path, parsed: &mut parsed, section: Section::None }.read(bytes);
    }
    keys::settle(&mut parsed.declaration.choices);
    if parsed.declaration.choices.image.is_empty() && parsed.errors.is_empty() {
        let text = "there is no Image= in [Container], which says what is to be installed".to_owned();
        parsed.errors.push(Fault { path: source.path.clone(), line: None, text });
    }
    parsed.declaration.warnings = parsed.warnings.iter().take(TOLD).map(Fault::to_string).collect();
    if let more @ 1.. = parsed.warnings.len().saturating_sub(TOLD) {
        parsed
            .declaration
            .warnings
            .push(format!("{}: {more} more keys and sections are ignored", source.path));
    }
    parsed
}

/// The section that a line is in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    /// There was none yet.
    None,
    /// One whose lines are ignored.
    Ignored,
    /// One that counts.
    Known(Rc<str>),
}

/// One file that is being read.
struct File<'a> {
    path: &'a TreePath,
    parsed: &'a mut Parsed,
    section: Section,
}

impl File<'_> {
    fn error(&mut self, line: usize, text: String) {
        self.parsed.errors.push(Fault { path: self.path.clone(), line: Some(line), text });
    }

    fn warning(&mut self, line: usize, text: String) {
        self.parsed.warnings.push(Fault { path: self.path.clone(), line: Some(line), text });
    }

    fn read(&mut self, bytes: &[u8]) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(e) => {
                let line = bytes[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                return self.error(line, "it is not UTF-8".into());
            }
        };
        // In comments, too: whoever looks at the file shall see what it says.
        let has_control = |line: &str| line.chars().any(|c| c.is_control() && c != '\t');
        if let Some(index) = text.lines().position(has_control) {
            return self.error(index + 1, "control characters are not allowed".into());
        }
        for (line, text) in logical_lines(text) {
            self.line(line, &text);
        }
    }

    fn line(&mut self, line: usize, text: &str) {
        if let Some(header) = text.strip_prefix('[') {
            match header.strip_suffix(']') {
                Some(name) => self.enter(line, name),
                None => self.error(line, format!("section header {text:?} has no ']' at the end")),
            }
            return;
        }
        let section = match self.section.clone() {
            Section::Ignored => return,
            Section::Known(name) => Some(name),
            Section::None => None,
        };
        // What such a line says may be a secret that has lost its key.
        let Some((key, value)) = text.split_once('=') else {
            return self.error(line, "expected KEY=VALUE or [SECTION]".into());
        };
        let (key, value) = (key.trim(), value.trim());
        if key.len() > NAME_MAX {
            return self.error(line, format!("what is in front of '=' is longer than {NAME_MAX} bytes"));
        }
        if !is_name(key) {
            return self.error(line, "what is in front of '=' is not a key".into());
        }
        let Some(section) = section else {
            return self.error(line, format!("{key}= is not in any section; begin with [{CONTAINER}]"));
        };
        match &*section {
            CONTAINER => self.choose(line, key, value),
            "Install" => self.parsed.declaration.install.push((key.to_owned(), value.to_owned())),
            _ => self.set(line, section, key, value),
        }
    }

    fn enter(&mut self, line: usize, name: &str) {
        if SECTIONS.contains(&name) || name.starts_with("X-") && is_name(name) {
            self.section = Section::Known(name.into());
            return;
        }
        self.section = Section::Ignored;
        if name.len() > NAME_MAX {
            let why = format!("its name is longer than {NAME_MAX} bytes");
            return self.warning(line, format!("unknown section, its lines are ignored: {why}"));
        }
        let meant = SECTIONS.iter().find(|known| known.eq_ignore_ascii_case(name));
        let meant = meant.map_or_else(String::new, |known| format!("; did you mean [{known}]?"));
        self.warning(line, format!("unknown section [{name}], its lines are ignored{meant}"));
    }

    fn choose(&mut self, line: usize, key: &str, value: &str) {
        if !keys::is_known(key) {
            let meant =
                keys::meant(key).map_or_else(String::new, |known| format!("; did you mean {known}=?"));
            return self.warning(line, format!("unknown key {key}=, it is ignored{meant}"));
        }
        let declaration = &mut self.parsed.declaration;
        let chosen = match specifiers::expand(value, &declaration.name) {
            Ok(expanded) if expanded.is_empty() && !value.is_empty() => Err(format!(
                "{key}={value} is empty, since {} is not an instance of a template",
                declaration.name
            )),
            Ok(expanded) => keys::choose(&mut declaration.choices, key, &expanded).map_err(|e| e.to_string()),
            Err(specifier) => {
                let shown = if keys::is_shown(key) { specifier } else { "'%'".to_owned() };
                let all = specifiers::ALL;
                Err(format!("{shown} in {key}= is not a specifier; there are {all}, which is a percent sign"))
            }
        };
        if let Err(why) = chosen {
            self.error(line, why);
        }
    }

    fn set(&mut self, line: usize, section: Rc<str>, key: &str, value: &str) {
        if &*section == "Service" {
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                return self.error(line, format!("{key}= cannot be set in [Service]: {why}"));
            }
            if key.starts_with("Exec") && value.is_empty() {
                let why = "it would remove the commands that the container needs; leave the line out";
                return self.error(line, format!("{key}= cannot be empty: {why}"));
            }
        }
        self.parsed.declaration.unit.push((section, key.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            declaration.install,
            [("WantedBy", "a"), ("WantedBy", "")].map(|(k, v)| (k.into(), v.into()))
        );
    }

    #[test]
    fn what_is_unknown_is_told_and_changes_nothing_else() {
        let found = parsed(
            "web",
            &["[Container]\nimage=x\nImage=web\nPod=x\n[service]\nType=x\nno assignment\n[Pod]\n"],
        );
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
            assert_ne!(
                digest(&format!("Set=A=1\nVolume=/a:/b\n{}={value}\n", key.name)),
                same,
                "{}",
                key.name
            );
        }
        assert_ne!(digest("Set=A=1\nVolume=/a:/b\nUser=1\n"), same);
        assert_ne!(digest("Set=A=1\nVolume=/a:/b\n[Install]\nWantedBy=x\n"), same);
    }
}
