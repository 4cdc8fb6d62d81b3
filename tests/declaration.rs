//! What syscontainer.conf(5) says of declarations is what is read: its keys, their defaults, and its examples.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Page, file, plain};
use syscontainers::container::settings;
use syscontainers::declaration::files::{self, DROP_INS_MAX, FILE_MAX, Place, Source, TOTAL_MAX};
use syscontainers::declaration::keys::KEYS;
use syscontainers::declaration::parse::{self, Parsed};
use syscontainers::paths::{DECLARATIONS, Root, TreePath};

const PAGE: &str = "helpers/syscontainer.conf.5";

/// What a text declares as the instance `web@x`; fails if anything is wrong with it.
fn valid(text: &str) -> Parsed {
    let path = TreePath::from("/web@x.conf");
    let source = Source { place: Place::Host, path: path.clone(), drop_ins: Vec::new() };
    let parsed = parse::parse(&"web@x".parse().unwrap(), &source, &[(path, text.as_bytes().to_vec())]);
    assert!(parsed.errors.is_empty() && parsed.warnings.is_empty(), "{text}\n{parsed:?}");
    parsed
}

/// What the page says of a key.
struct Item {
    repeats: bool,
    /// `None` if there is none, or if the key is required.
    default: Option<String>,
    is_required: bool,
    example: String,
}

/// The keys of the page: tags such as `Keep=NUMBER (default 2)`, and examples at the ends of the items.
fn items() -> BTreeMap<String, Item> {
    let lines: Vec<String> = Page::read(PAGE).section("KEYS").to_vec();
    let mut items = BTreeMap::new();
    for item in lines.split(|line| line == ".TP").skip(1) {
        let tag = plain(&item[0]);
        let (head, said) = tag.strip_suffix(')').and_then(|tag| tag.split_once(" (")).unwrap();
        let example = item.iter().skip_while(|line| *line != "Example:").nth(1);
        let example = plain(example.unwrap_or_else(|| panic!("{tag} has no example")));
        let known = items.insert(
            head.split_once('=').unwrap().0.to_owned(),
            Item {
                repeats: head.ends_with(" *"),
                default: said.strip_prefix("default ").map(str::to_owned),
                is_required: said == "required",
                example,
            },
        );
        assert!(
            known.is_none() && ["required", "no default"].contains(&said) || said.starts_with("default ")
        );
    }
    items
}

#[test]
fn the_page_has_the_keys_that_are_read() {
    let own = KEYS.iter().map(|key| (key.name, key.repeats));
    let known: BTreeMap<&str, bool> =
        own.chain(settings::KEYS.iter().map(|key| (key.name, key.repeats))).collect();
    let items = items();
    let documented: BTreeMap<&str, bool> =
        items.iter().map(|(key, item)| (key.as_str(), item.repeats)).collect();
    assert_eq!(documented, known);
    for key in KEYS {
        let item = &items[key.name];
        assert_eq!(item.default.as_deref().unwrap_or_default(), key.default, "{}", key.name);
        assert_eq!(item.is_required, key.name == "Image", "{}", key.name);
    }
}

#[test]
fn examples_and_defaults_of_keys_are_valid_and_choose_something() {
    let base = valid("[Container]\nImage=x\n").declaration.digest();
    for (key, item) in items() {
        assert!(item.example.starts_with(&format!("{key}=")), "{key}: {}", item.example);
        let declared = valid(&format!("[Container]\nImage=x\n{}\n", item.example)).declaration;
        assert_ne!(declared.digest(), base, "{key}");
        if let Some(default) = item.default {
            assert_ne!(item.example, format!("{key}={default}"));
            valid(&format!("[Container]\nImage=x\n{key}={default}\n"));
        }
    }
}

#[test]
fn examples_of_declarations_are_valid() {
    let section = Page::read(PAGE).section("EXAMPLES").join("\n");
    let examples = section.split("\n.EX\n").skip(1).map(|rest| rest.split_once("\n.EE").unwrap().0);
    let declarations: Vec<String> = examples
        .filter(|example| example.starts_with('['))
        .map(|example| example.lines().map(|line| plain(line) + "\n").collect())
        .collect();
    assert_eq!(declarations.len(), 4);
    declarations.iter().for_each(|text| drop(valid(text)));
}

#[test]
fn the_page_has_directories_limits_and_what_is_refused() {
    let page = Page::read(PAGE);
    let text: Vec<String> = file(PAGE).lines().map(plain).collect();
    for directory in DECLARATIONS {
        assert!(text.contains(&format!("{directory}/NAME.conf")), "{directory}");
    }
    let files = page.text("FILES AND PRECEDENCE");
    let limits = [
        format!("may have {} KiB", FILE_MAX >> 10),
        format!("{DROP_INS_MAX} drop-ins and {} KiB in all", TOTAL_MAX >> 10),
    ];
    limits.iter().for_each(|limit| assert!(files.contains(limit), "{limit}"));
    let sections = page.text("OTHER SECTIONS");
    for (key, _) in parse::REFUSED {
        assert!(sections.contains(&format!("{key}=")), "{key}");
    }
}

/// Nothing that a declaration names is looked at to read it.
#[test]
fn files_that_are_named_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let directory = dir.path().join("etc/syscontainers");
    std::fs::create_dir_all(&directory).unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.display();
    let text = format!(
        "[Container]\nImage=oci-archive:{fifo}\nSetFile=A={fifo}\nEnvironmentFile={fifo}\nRuntime={fifo}\nRootfs={fifo}\nVolume={fifo}:/x\n"
    );
    std::fs::write(directory.join("web.conf"), text).unwrap();
    let name = "web".parse().unwrap();
    let source = files::find(&root, &name).unwrap().unwrap();
    let declaration = files::read(&root, &name, &source).unwrap();
    assert_eq!(declaration.choices.value_files.len(), 1);
    assert!(!declaration.needs_network());
}

/// Whatever a file holds, reading it ends, and each message has a line of the file.
#[test]
fn damaged_declarations_are_read_to_their_ends() {
    let text = "# a\n[Container]\nImage=quay.io/web:%i\nSet=A=%%b \\\n  c\nVolume=/a:/b\nKeep=3\n[Service]\nNice=1\n[Install]\nWantedBy=x\n";
    let (name, path) = ("web@x".parse().unwrap(), TreePath::from("/web@x.conf"));
    let source = Source { place: Place::Host, path: path.clone(), drop_ins: Vec::new() };
    let mut state = 7u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..5000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = next(256) as u8,
                2 => bytes.insert(at, b"\n\\[]=%#\0"[next(8)]),
                _ => drop(bytes.splice(at / 2..at, [])),
            }
            bytes.push(b'\n');
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let parsed = parse::parse(&name, &source, &[(path.clone(), bytes)]);
        for fault in parsed.errors.iter().chain(&parsed.warnings) {
            assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{fault}");
        }
        let digest = parsed.declaration.digest();
        assert_eq!(digest, parsed.declaration.digest());
    }
}

/// A file that declares nothing keeps none that do from being applied.
#[cfg(feature = "store")]
#[test]
fn odd_names_are_skipped_and_no_failure() {
    use syscontainers::apply::select::{self, Operand};
    let tree = tempfile::tempdir().unwrap();
    let directory = tree.path().join("etc/syscontainers");
    std::fs::create_dir_all(&directory).unwrap();
    for file in ["web.conf", "an odd name.conf"] {
        std::fs::write(directory.join(file), "[Container]\nImage=x\n").unwrap();
    }
    let root = Root::new(tree.path());
    for operands in [vec![], vec![Operand::Path(directory.clone())]] {
        let (selected, errors) = select::select(&root, &operands);
        assert_eq!((selected.len(), errors.len()), (1, 0), "{operands:?}");
    }
    std::fs::write(tree.path().join("run"), "a file\n").unwrap();
    assert_eq!(select::select(&root, &[]).1.len(), 1);
}
