//! The programs, and what the files of this repository say of them: each list of programs is that of Cargo.toml, and each
//! manual page has the options of its program's table.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use common::{Page, Program, file, names, plain, programs, same};

/// Where meson installs programs, and how it calls that.
const DIRECTORIES: [(&str, &str); 3] = [
    ("get_option('bindir')", "usr/bin"),
    ("libexecdir", "usr/libexec/syscontainers"),
    ("generatordir", "usr/lib/systemd/system-generators"),
];

type Names = BTreeSet<String>;

fn all() -> Names {
    programs().into_iter().map(|program| program.name).collect()
}

/// The programs that are named in a text.
fn named(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    words.filter(|word| word.starts_with("syscontainer-")).map(str::to_owned)
}

/// What meson.build says: where each program's source is, and where it is installed. Its other dictionary is behind this one.
fn meson(dictionary: &str) -> BTreeMap<String, (String, String)> {
    let text = file("meson.build");
    let (_, rest) = text.split_once(&format!("{dictionary} = {{\n")).unwrap();
    let (list, _) = rest.split_once('}').unwrap();
    let entry = |line: &str| {
        let (name, places) = line.trim().strip_suffix("],")?.split_once(": [")?;
        let (directory, place) = places.split_once(", ")?;
        Some((
            name.trim_matches('\'').to_owned(),
            (directory.trim_matches('\'').to_owned(), place.to_owned()),
        ))
    };
    list.lines().filter(|line| !line.trim().is_empty()).map(|line| entry(line).unwrap()).collect()
}

#[test]
fn every_source_is_a_program() {
    let mut sources = names("helpers", ".rs");
    sources.extend(names("generators", ".rs"));
    same("sources", sources.into_iter().map(|name| name.replace(".rs", "")).collect(), all());
}

#[test]
fn meson_builds_all_programs() {
    for (dictionary, needs_store) in [("programs", false), ("store_programs", true)] {
        let found = meson(dictionary).into_iter().map(|(name, (directory, _))| (name, directory));
        let wanted = programs().into_iter().filter(|program| program.needs_store == needs_store);
        let wanted = wanted.map(|program| (program.name, program.directory));
        same(&format!("{dictionary} in meson.build"), found.collect(), wanted.collect());
    }
}

#[test]
fn what_is_installed_is_all_of_them() {
    let installed = file("tests/install.files");
    let mut wanted = Names::new();
    let places = meson("programs").into_iter().chain(meson("store_programs"));
    for (name, (_, place)) in places {
        let (_, directory) = DIRECTORIES.iter().find(|(called, _)| *called == place).unwrap();
        wanted.insert(format!("{directory}/{name}"));
        wanted.insert(format!("usr/share/man/man8/{name}.8"));
        if *directory == "usr/bin" {
            wanted.insert(format!("usr/share/bash-completion/completions/{name}"));
            wanted.insert(format!("usr/share/fish/vendor_completions.d/{name}.fish"));
        }
    }
    for page in names("helpers", ".5") {
        wanted.insert(format!("usr/share/man/man5/{page}"));
    }
    let ours = [
        "usr/bin/",
        "usr/libexec/",
        "system-generators/",
        "/man8/",
        "/man5/",
        "completions/syscontainer-",
        "completions.d/syscontainer-",
    ];
    let found = installed.lines().filter(|line| ours.iter().any(|place| line.contains(place)));
    same("tests/install.files", found.map(str::to_owned).collect(), wanted);
}

#[test]
fn the_readme_and_the_manual_list_all_of_them() {
    let readme = file("README.md");
    let (_, rest) = readme.split_once("| Program | Job |\n|---|---|\n").unwrap();
    let rows = rest.lines().take_while(|line| line.starts_with('|'));
    let listed = rows.filter_map(|row| row.split('|').nth(1)).flat_map(named);
    same("README.md", listed.collect(), all());
    let tags = Page::read("units/syscontainers.7").tags("PROGRAMS");
    same("syscontainers(7)", tags.iter().flat_map(|tag| named(tag)).collect(), all());
}

/// All manual pages, as `name(section)`, with their paths.
fn pages() -> BTreeMap<String, String> {
    let places = [("generators", ".8"), ("helpers", ".8"), ("helpers", ".5"), ("units", ".7")];
    let of = |(directory, suffix): (&str, &str)| {
        let path = |name: &String| format!("{directory}/{name}");
        let names = names(directory, suffix).into_iter();
        names
            .map(|name| (name.replace(suffix, &format!("({})", &suffix[1..])), path(&name)))
            .collect::<Vec<_>>()
    };
    places.into_iter().flat_map(of).collect()
}

#[test]
fn pages_name_pages_that_are_there() {
    let pages = pages();
    let programs: Names = all().into_iter().map(|name| format!("{name}(8)")).collect();
    let of_programs = pages.keys().filter(|page| page.ends_with("(8)")).cloned();
    same("pages", of_programs.collect(), programs);
    for path in pages.values() {
        for line in file(path).lines().map(plain) {
            for (at, _) in line.match_indices("syscontainer") {
                let rest = &line[at..];
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && !"-@".contains(c))
                    .unwrap_or(rest.len());
                if let Some(section) = rest[end..].strip_prefix('(').and_then(|rest| rest.chars().next()) {
                    let page = format!("{}({section})", &rest[..end]);
                    assert!(pages.contains_key(&page), "{path} names {page}");
                }
            }
        }
    }
}

#[test]
fn pages_have_a_title_line() {
    let version = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
    for (page, path) in pages() {
        let text = file(&path);
        // Before it, a page with a table asks for tbl(1).
        let title = plain(text.lines().find(|line| line.starts_with(".TH ")).unwrap());
        let (name, section) = page.trim_end_matches(')').split_once('(').unwrap();
        let (begin, rest) = title.split_at(name.len() + section.len());
        assert_eq!(begin, format!("{}{section}", name.to_uppercase()), "{path}");
        let (date, rest) = rest.split_at("2026-11-29".len());
        assert!(date.bytes().filter(u8::is_ascii_digit).count() == 8, "{path}: {date}");
        assert!(rest.starts_with(&format!("syscontainers {version}")), "{path}: {rest}");
    }
}

fn run(program: &Program, arguments: &[&str]) -> Output {
    Command::new(program.path()).args(arguments).env("SYSTEMD_LOG_TARGET", "console").output().unwrap()
}

fn print(program: &Program, argument: &str) -> String {
    let output = run(program, &[argument]);
    assert!(output.status.success() && output.stderr.is_empty(), "{program:?} {argument}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn time_spans_have_units() {
    let root = tempfile::tempdir().unwrap();
    let root = format!("--root={}", root.path().display());
    for (name, option) in [("switch", "soak"), ("switch", "set-soak"), ("rollback", "soak")] {
        let name = format!("syscontainer-{name}");
        let program = programs().into_iter().find(|program| program.name == name).unwrap();
        let status = |value: &str| {
            run(&program, &[&format!("--{option}={value}"), &root, "nothing"]).status.code().unwrap()
        };
        // There is no such container.
        for value in ["0", "90", "2min", "1h 30min", "500ms"] {
            assert_eq!(status(value), 3, "{name} --{option}={value}");
        }
        for value in ["", "-1", "soon", "infinity"] {
            assert_eq!(status(value), 2, "{name} --{option}={value}");
        }
    }
}

/// An option of a table, or of a page: its name, its letter and what its value is called, each as it is written.
type Entry = (String, Option<String>, Option<String>);

/// The table of a program, and its exit statuses.
fn table(program: &Program) -> (BTreeSet<Entry>, Names) {
    let (mut options, mut statuses) = (BTreeSet::new(), Names::new());
    for line in print(program, "--help=table").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [long, short, value, _, _, last] = columns[..] else { panic!("{program:?}: {line}") };
        let there = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
        match long {
            "-" => statuses.extend(last.split(' ').map(str::to_owned)),
            _ => assert!(
                options.insert((long.to_owned(), there(short), there(value))),
                "{long} is there twice"
            ),
        }
        assert!(!last.ends_with('.') && !last.is_empty(), "{program:?}: {line}");
    }
    (options, statuses)
}

fn built() -> impl Iterator<Item = Program> {
    programs().into_iter().filter(Program::is_built)
}

#[test]
fn pages_have_the_options_of_the_tables() {
    for program in built() {
        let mut found = BTreeSet::new();
        for tag in program.page().tags("OPTIONS") {
            let mut letter = None;
            for part in tag.split(", ") {
                match part.strip_prefix("--") {
                    None => letter = Some(part.to_owned()),
                    Some(option) => {
                        let (name, value) =
                            option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
                        found.insert((format!("--{name}"), letter.take(), value.map(str::to_owned)));
                    }
                }
            }
            assert_eq!(letter, None, "{program:?}: {tag}");
        }
        same(&format!("options in {}(8)", program.name), found, table(&program).0);
    }
}

#[test]
fn pages_have_the_synopses_of_the_tables() {
    for program in built() {
        let usage = print(&program, "--help");
        let lines = usage.lines().take_while(|line| !line.is_empty()).map(|line| {
            let (_, synopsis) = line.split_once(&program.name).unwrap();
            synopsis.trim().to_owned()
        });
        let mut found = vec![String::new()];
        for line in program.page().section("SYNOPSIS") {
            match line.as_str() {
                ".br" | ".PP" => found.push(String::new()),
                _ => {
                    found.last_mut().unwrap().push_str(&plain(line));
                    found.last_mut().unwrap().push(' ');
                }
            }
        }
        // Units have no options.
        let of_program = |synopsis: &String| {
            let (path, rest) = synopsis.split_once(' ')?;
            (path.rsplit('/').next() == Some(&program.name)).then(|| rest.trim().to_owned())
        };
        let found: Vec<String> = found.iter().filter_map(of_program).collect();
        assert_eq!(found, lines.collect::<Vec<_>>(), "{program:?}: page, and usage");
        assert!(usage.lines().all(|line| line.len() < 90), "{program:?}: {usage}");
    }
}

#[test]
fn pages_have_the_exit_statuses_of_the_tables() {
    for program in built() {
        let text = program.page().text("EXIT STATUS");
        let words = text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()));
        let found = words.filter(|word| word.len() == 1).map(str::to_owned);
        same(&format!("exit statuses in {}(8)", program.name), found.collect(), table(&program).1);
    }
}

#[test]
fn parsers_take_the_options_of_the_tables() {
    let tree = tempfile::tempdir().unwrap();
    let root = format!("--root={}", tree.path().display());
    for program in built() {
        let (options, _) = table(&program);
        let has_root = options.iter().any(|(long, ..)| long == "--root");
        let own = options.iter().filter(|(long, ..)| long != "--help" && long != "--version");
        for (long, short, value) in own {
            for name in [Some(long), short.as_ref()].into_iter().flatten() {
                let mut arguments: Vec<&str> = has_root.then_some(root.as_str()).into_iter().collect();
                arguments.push(name);
                arguments.extend(value.iter().map(|_| "x"));
                // More than any program does something with in an empty tree.
                arguments.extend(["a", "b", "c", "d"]);
                let output = run(&program, &arguments);
                let message = String::from_utf8_lossy(&output.stderr);
                assert!(!output.status.success(), "{program:?} {arguments:?}");
                assert!(!message.contains("unexpected option"), "{program:?} {arguments:?}: {message}");
            }
        }
    }
}

#[test]
fn units_call_programs_as_their_tables_say() {
    let programs = programs();
    for unit in names("units", ".service.in") {
        for line in file(format!("units/{unit}")).lines().filter(|line| line.starts_with("Exec")) {
            let mut program = None;
            for word in line.split_whitespace() {
                let name = word.rsplit('/').next().unwrap_or(word);
                program = programs.iter().find(|program| program.name == name).or(program);
                let Some(program) = program.filter(|program| program.is_built() && word.starts_with("--"))
                else {
                    continue;
                };
                let option = word.split('=').next().unwrap_or(word);
                assert!(table(program).0.iter().any(|(long, ..)| long == option), "{unit}: {line}");
            }
        }
    }
}
