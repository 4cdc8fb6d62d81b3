//! The folders of the library import only what the table in its `lib.rs` says, no file imports another in a circle, and
//! none is too long.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// A path of modules below the crate: `system`, `files`.
type Module = Vec<String>;

/// The library as it is read for this.
struct Library {
    /// The text of each module's file, without tests and comments.
    modules: BTreeMap<Module, String>,
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helpers/lib")
}

impl Library {
    fn read() -> Library {
        let mut texts = BTreeMap::new();
        for entry in WalkDir::new(source()).into_iter().map(Result::unwrap) {
            let below = entry.path().strip_prefix(source()).unwrap().with_extension("");
            if entry.file_type().is_file() && below != Path::new("lib") {
                let mut module: Module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                module.retain(|part| part != "mod");
                texts.insert(module, fs::read_to_string(entry.path()).unwrap());
            }
        }
        let tests: BTreeSet<Module> =
            texts.iter().flat_map(|(module, text)| test_modules(module, text)).collect();
        let modules = texts.into_iter().filter(|(module, _)| !tests.contains(module));
        Library { modules: modules.map(|(module, text)| (module, code(&text))).collect() }
    }

    /// What a module imports, as modules.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        self.imported_items(module).into_iter().map(|(module, _)| module).collect()
    }

    /// What a module imports, as modules and what follows them in the path.
    fn imported_items(&self, module: &Module) -> BTreeSet<(Module, String)> {
        let text = &self.modules[module];
        let mut paths: Vec<Vec<String>> = text.split("use ").skip(1).flat_map(use_tree).collect();
        paths.extend(inline_paths(text));
        let found = paths.iter().filter_map(|path| self.resolve(path, module));
        found.filter(|(found, _)| found != module).collect()
    }

    /// The longest beginning of a path that is a module, and what follows it.
    fn resolve(&self, path: &[String], from: &Module) -> Option<(Module, String)> {
        let child: Vec<String> = from.iter().cloned().chain(path.first().cloned()).collect();
        let absolute: Vec<String> = match path.first()?.as_str() {
            "crate" => path[1..].to_vec(),
            "super" => [&from[..from.len() - 1], &path[1..]].concat(),
            "self" => [from, &path[1..]].concat(),
            // A module of this one's own.
            _ if self.modules.contains_key(&child) => [from, path].concat(),
            _ => return None,
        };
        let end = (1..=absolute.len()).rev().find(|end| self.modules.contains_key(&absolute[..*end]))?;
        Some((absolute[..end].to_vec(), absolute.get(end).cloned().unwrap_or_default()))
    }

    fn folder<'a>(&self, module: &'a Module) -> &'a str {
        let is_folder = source().join(&module[0]).is_dir();
        if is_folder { &module[0] } else { "root" }
    }
}

/// Modules that are compiled for unit tests only.
fn test_modules(module: &Module, text: &str) -> Vec<Module> {
    let declared = text.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let line = rest.trim_start().lines().next()?;
        line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.map(|name| [module.as_slice(), &[name.to_owned()]].concat()).collect()
}

/// A text without its inline tests, comments and strings.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").or(text.find("#[cfg(test)]\npub mod testing {"));
    let lines = text[..end.unwrap_or(text.len())].lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The paths of one `use`, whose braces are opened.
fn use_tree(rest: &str) -> Vec<Vec<String>> {
    let text: String = rest.split(';').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    expand("", &text, &mut found);
    found.iter().map(|path| segments(path)).collect()
}

fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some(open) = tree.find('{') else {
        found.push(format!("{prefix}{tree}"));
        return;
    };
    let (head, body) = (&tree[..open], tree[open + 1..].trim_end().trim_end_matches('}'));
    let (mut depth, mut start) = (0, 0);
    for (index, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = body[start..index].trim();
                if !part.is_empty() {
                    expand(&format!("{prefix}{head}"), part, found);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

fn segments(path: &str) -> Vec<String> {
    let path = path.split(" as ").next().unwrap();
    path.split("::")
        .map(|part| part.trim().to_owned())
        .filter(|part| part != "self" || path.starts_with("self"))
        .collect()
}

/// Paths that begin with `crate::` or `super::` outside of `use`.
fn inline_paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let end = text[at..].find(|c| !is_path(c)).map_or(text.len(), |end| at + end);
            let path = segments(text[at..end].trim_end_matches(':'));
            // `super::{a, b}`, which is the beginning of a `use`.
            if path.len() > 1 {
                found.push(path);
            }
        }
    }
    found
}

/// What each folder may import: folders, or single modules.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let mut allowed = BTreeSet::new();
        for word in cells[2].split(", ").filter(|word| !word.is_empty()) {
            match word.strip_prefix("all of ") {
                Some(folder) => allowed.extend(table[folder].iter().cloned()),
                None => {
                    allowed.insert(word.to_owned());
                }
            }
        }
        table.insert(cells[0].to_owned(), allowed);
    }
    table
}

#[test]
fn folders_import_what_the_table_says() {
    let (library, table) = (Library::read(), table());
    assert!(library.modules.len() > 60 && table.len() == 19, "{} modules", library.modules.len());
    let mut wrong = Vec::new();
    for module in library.modules.keys() {
        let folder = library.folder(module);
        let allowed = table.get(folder).unwrap_or_else(|| panic!("{folder} is not in the table"));
        for (import, item) in library.imported_items(module) {
            let other = library.folder(&import);
            let path = import.join("::");
            let is_named =
                [other, &path, &format!("{path}::{item}")].iter().any(|name| allowed.contains(*name));
            if other != folder && !is_named {
                wrong.push(format!("{} imports {}", module.join("::"), import.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the table of lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn programs_are_built_on_what_the_table_says() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(repository.join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| Program |")).skip(2);
    let cells = rows.map_while(|row| row.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let mut count = 0;
    for (programs, folders) in cells {
        for program in programs.split(", ") {
            let file = format!("syscontainer-{program}.rs");
            let path = ["generators", "helpers"].map(|folder| repository.join(folder).join(&file));
            let code = fs::read_to_string(path.iter().find(|path| path.exists()).unwrap()).unwrap();
            let names = code.split("syscontainers::").skip(1).filter_map(|rest| {
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
                source().join(name).is_dir().then_some(name)
            });
            // All programs use these two.
            let used: BTreeSet<&str> = names.filter(|name| !["program", "system"].contains(name)).collect();
            assert_eq!(used, folders.split(", ").collect::<BTreeSet<_>>(), "{program} in ARCHITECTURE.md");
            count += 1;
        }
    }
    assert_eq!(count, 18);
}

#[test]
fn no_module_is_longer_than_400_lines() {
    for folder in ["helpers", "generators", "tests"] {
        let files = WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into_iter();
        for file in
            files.map(Result::unwrap).filter(|file| file.path().extension().is_some_and(|e| e == "rs"))
        {
            let lines = fs::read_to_string(file.path()).unwrap().lines().count();
            assert!(lines <= 400, "{} has {lines} lines", file.path().display());
        }
    }
}

#[test]
fn no_file_imports_another_in_a_circle() {
    let library = Library::read();
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        library.modules.keys().map(|module| (module, library.imports(module))).collect();
    let mut circles = BTreeSet::new();
    for start in library.modules.keys() {
        let mut queue: Vec<Vec<&Module>> = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(path) = queue.pop() {
            for next in &imports[*path.last().unwrap()] {
                if next == start {
                    let mut names: Vec<String> = path.iter().map(|module| module.join("::")).collect();
                    names.sort();
                    circles.insert(names.join(", "));
                } else if seen.insert(next) {
                    queue.push([path.as_slice(), &[next]].concat());
                }
            }
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Imports of each form are seen.
#[test]
fn this_reads_what_it_has_to() {
    let library = Library::read();
    let of = |text: &str| -> Module { text.split("::").map(str::to_owned).collect() };
    assert!(library.imports(&of("update::switcher")).contains(&of("update::switcher::steps")));
    assert!(library.imports(&of("install::register")).contains(&of("container::derived")));
    assert!(library.imports(&of("system::lock")).contains(&of("paths")));
    let mut found = Vec::new();
    expand("", "a::{b::{self, c}, d as e}", &mut found);
    assert_eq!(found, ["a::b::self", "a::b::c", "a::d as e"]);
}
