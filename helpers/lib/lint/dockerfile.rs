//! The Dockerfile: what it copies to /exports, and outdated habits.

use std::path::{Component, Path};

use super::finding::{LintReport, Place};
use super::rules;
use super::target::{Dockerfile, Sources, Target};
use crate::steps;

/// One instruction, with continued lines joined.
struct Instruction {
    line: usize,
    /// Name of the instruction in upper case.
    keyword: String,
    rest: String,
}

/// A COPY or an ADD instruction.
struct CopyInstruction {
    line: usize,
    is_add: bool,
    sources: Vec<String>,
    destination: String,
    /// Whether it copies from another image or stage, whose files are unknown here.
    is_foreign: bool,
}

/// Applies the rules for Dockerfiles.
pub fn check(target: &Target, source: &Sources, report: &mut LintReport) {
    let Some(file) = source.dockerfile() else {
        let directory = source.path().display().to_string();
        let message = "there is neither a Dockerfile nor a Containerfile";
        report.add(&rules::NO_DOCKERFILE, Place::file(directory), message);
        return;
    };
    let instructions = instructions(&file.text);
    habits(file, &instructions, report);
    let copies: Vec<CopyInstruction> = instructions.iter().filter_map(copy).collect();
    for copy in copies.iter().filter(|copy| is_typo(&copy.destination)) {
        let message = format!("files are copied to {}; did you mean /exports/?", copy.destination);
        report.add(&rules::EXPORT_TYPO, Place::at(&file.file, copy.line, 1), message);
    }
    for name in source.files() {
        copied(target, source, file, &copies, &name, report);
    }
}

/// Returns whether a label says that containers of the image run once.
pub fn is_run_once(text: &str) -> bool {
    let labels = instructions(text).into_iter().filter(|instruction| instruction.keyword == "LABEL");
    labels.flat_map(|label| words(&label.rest)).any(|word| word == "atomic.run=once")
}

/// The ports that an image exposes, as far as they are known, and where it says so first.
pub fn exposed_ports(file: &Dockerfile) -> Option<(Place, Vec<String>)> {
    let exposed: Vec<_> = last_stage(&file.text).filter(|i| i.keyword == "EXPOSE").collect();
    let first = exposed.first()?;
    let ports = exposed.iter().flat_map(|instruction| words(&instruction.rest)).collect();
    Some((Place::at(&file.file, first.line, 1), ports))
}

/// Where an image says how its health is checked, unless it says that it is not.
pub fn healthcheck(file: &Dockerfile) -> Option<Place> {
    let last = last_stage(&file.text).filter(|i| i.keyword == "HEALTHCHECK").last()?;
    let is_none = last.rest.eq_ignore_ascii_case("none");
    (!is_none).then(|| Place::at(&file.file, last.line, 1))
}

/// The instructions for the image itself; other stages are for what it is built with.
fn last_stage(text: &str) -> impl Iterator<Item = Instruction> {
    let all = instructions(text);
    let begin = all.iter().rposition(|instruction| instruction.keyword == "FROM").unwrap_or(0);
    all.into_iter().skip(begin)
}

fn habits(file: &Dockerfile, instructions: &[Instruction], report: &mut LintReport) {
    let skips_docs = file.text.contains("nodocs");
    for instruction in instructions {
        let place = || Place::at(&file.file, instruction.line, 1);
        match instruction.keyword.as_str() {
            "MAINTAINER" => {
                let name = &instruction.rest;
                let message = format!("MAINTAINER is deprecated; write LABEL maintainer={name:?}");
                report.add(&rules::MAINTAINER, place(), message);
            }
            "RUN" if !skips_docs && installs_packages(&instruction.rest) => {
                let message = "packages are installed with their documentation; add --setopt=tsflags=nodocs unless it is needed";
                report.add(&rules::NODOCS, place(), message);
            }
            _ => {}
        }
    }
}

fn installs_packages(command: &str) -> bool {
    let words: Vec<&str> =
        command.split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '"' | ',')).collect();
    let manager = words.iter().position(|word| matches!(word.rsplit('/').next(), Some("dnf" | "yum")));
    manager.is_some_and(|at| words[at..].contains(&"install"))
}

fn is_typo(destination: &str) -> bool {
    destination == "/export" || destination.starts_with("/export/")
}

/// Checks whether and how one file gets to /exports.
fn copied(
    target: &Target,
    source: &Sources,
    file: &Dockerfile,
    copies: &[CopyInstruction],
    name: &str,
    report: &mut LintReport,
) {
    let shown = || target.shown(&format!("exports/{}", name.strip_prefix("exports/").unwrap_or(name)));
    let is_directory = source.is_directory(name);
    let mut is_copied = copies.iter().any(|copy| is_typo(&copy.destination) && copy.takes(name));
    for copy in copies.iter().filter(|copy| copy.reaches(name)) {
        is_copied = true;
        let names_it = copy.sources.iter().any(|source| plain(source) == name);
        if copy.is_add && names_it {
            let message = format!("{name} is added with ADD; use COPY");
            report.add(&rules::ADD_FOR_COPY, Place::at(&file.file, copy.line, 1), message);
        }
        if copy.destination == "/exports" && names_it && !is_directory {
            let message = format!("{name} is copied to /exports without a trailing slash; write /exports/");
            report.add(&rules::TRAILING_SLASH, Place::at(&file.file, copy.line, 1), message);
        }
    }
    if !is_copied {
        let message =
            format!("the file is not copied into the image; add COPY {name} /exports/ to the Dockerfile");
        report.add(&rules::NOT_COPIED, Place::file(shown()), message);
    }
}

impl CopyInstruction {
    /// Returns whether it copies a file to /exports.
    fn reaches(&self, name: &str) -> bool {
        let below = Path::new(&self.destination);
        if below.starts_with("/exports") {
            return self.is_foreign || self.takes(name);
        }
        // A whole tree that is copied to the root directory.
        let is_tree = |source: &String| matches!(plain(source).as_str(), "" | ".");
        below == Path::new("/")
            && name.starts_with("exports/")
            && !self.is_foreign
            && self.sources.iter().any(is_tree)
    }

    fn takes(&self, name: &str) -> bool {
        self.sources.iter().any(|source| covers(&plain(source), name))
    }
}

/// Returns a path without `./`, and without slashes at its ends.
fn plain(source: &str) -> String {
    let parts = Path::new(source).components().filter(|part| matches!(part, Component::Normal(_)));
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Returns whether copying `source` copies the file `name`, or something below a directory of that name.
fn covers(source: &str, name: &str) -> bool {
    // The values of build arguments are unknown.
    if source.is_empty() || source.contains('$') {
        return true;
    }
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (source.split('/').collect(), name.split('/').collect());
    patterns.iter().zip(&parts).all(|(pattern, part)| matches(pattern, part))
}

/// Matches a shell pattern with `*` and `?`. Only the last `*` is tried at further places: what is before it matches
/// already, and fits nowhere better.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        steps::count(1);
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn copy(instruction: &Instruction) -> Option<CopyInstruction> {
    let is_add = match instruction.keyword.as_str() {
        "ADD" => true,
        "COPY" => false,
        _ => return None,
    };
    let (options, mut paths): (Vec<String>, Vec<String>) =
        words(&instruction.rest).into_iter().partition(|word| word.starts_with("--"));
    let destination = paths.pop()?;
    let is_foreign = options.iter().any(|option| option.starts_with("--from="));
    Some(CopyInstruction { line: instruction.line, is_add, sources: paths, destination, is_foreign })
}

/// Returns the words of an instruction: those of a JSON array, or separated by whitespace and perhaps quoted.
fn words(text: &str) -> Vec<String> {
    let array = text.find('[').filter(|at| text[..*at].split_whitespace().all(|word| word.starts_with("--")));
    if let Some(at) = array {
        if let Ok(words) = serde_json::from_str::<Vec<String>>(text[at..].trim()) {
            let options = text[..at].split_whitespace().map(str::to_owned);
            return options.chain(words).collect();
        }
    }
    text.split_whitespace().map(|word| word.replace(['"', '\''], "")).collect()
}

/// Parses a Dockerfile. Comments and blank lines are left out, also between continued lines.
fn instructions(text: &str) -> Vec<Instruction> {
    let (mut found, mut open): (Vec<Instruction>, Option<(usize, String)>) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(line) => {
                joined.push_str(line);
                joined.push(' ');
                open = Some((number, joined));
            }
            None => {
                joined.push_str(line);
                found.extend(instruction(number, &joined));
            }
        }
    }
    found.extend(open.and_then(|(number, joined)| instruction(number, &joined)));
    found
}

fn instruction(line: usize, text: &str) -> Option<Instruction> {
    let text = text.trim();
    let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let is_keyword = !keyword.is_empty() && keyword.chars().all(|c| c.is_ascii_alphabetic());
    is_keyword.then(|| Instruction { line, keyword: keyword.to_uppercase(), rest: rest.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(dockerfile: &str, name: &str) -> bool {
        instructions(dockerfile).iter().filter_map(copy).any(|copy| copy.reaches(name))
    }

    #[test]
    fn knows_what_is_copied() {
        for (dockerfile, name) in [
            ("COPY a b /exports/", "b"),
            ("copy --chown=0:0 [\"a\", \"/exports/\"]", "a"),
            ("COPY a \\\n  # comment\n\n  b \\\n /exports/", "b"),
            ("COPY exports /exports", "exports/a"),
            ("COPY ./exports/ /exports/", "exports/a"),
            ("COPY *.template /exports/", "service.template"),
            ("COPY exports/*.js?n /exports/", "exports/a.json"),
            ("COPY . /", "exports/a"),
            ("ADD ./a /exports/a", "a"),
            ("COPY hostfs /exports/hostfs", "hostfs"),
            ("COPY --from=build /out/ /exports/", "a"),
            ("COPY $FILES /exports/", "a"),
        ] {
            assert!(reaches(dockerfile, name), "{dockerfile}");
        }
        for (dockerfile, name) in [
            ("COPY a /exports/", "b"),
            ("COPY a /etc/", "a"),
            ("COPY . /", "a"),
            ("# COPY a /exports/", "a"),
            ("COPY *.json /exports/", "service.template"),
            ("COPY a", "a"),
        ] {
            assert!(!reaches(dockerfile, name), "{dockerfile}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-", false),
            ("*", "", true),
            ("**?", "", false),
            ("?ä*", "xä", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern}");
        }
        steps::assert_linear("many stars", |size| {
            for _ in 0..size {
                assert!(!matches(&("*?".repeat(40) + "z"), "manifest.json"));
            }
            // Of the length of the pattern.
            assert!(!matches(&("*?".repeat(size) + "z"), &"a".repeat(40)));
        });
    }

    #[test]
    fn knows_labels_and_package_managers() {
        assert!(is_run_once("FROM x\nLABEL a=b \\\n \"atomic.run\"=\"once\""));
        assert!(!is_run_once("FROM x\nRUN echo atomic.run=once"));
        assert!(installs_packages("dnf -y install x") && installs_packages("a && /usr/bin/yum install x"));
        assert!(!installs_packages("dnf clean all") && !installs_packages("apt-get install dnf"));
    }

    #[test]
    fn knows_what_is_exposed_and_checked() {
        let file = |text: &str| Dockerfile { file: "Dockerfile".into(), text: text.into() };
        let ports = |text: &str| exposed_ports(&file(text)).map(|(_, ports)| ports);
        let expected = ["80", "443/tcp", "$PORT"].map(str::to_owned).to_vec();
        assert_eq!(ports("FROM a\nEXPOSE 80 443/tcp\nEXPOSE $PORT"), Some(expected));
        assert_eq!(ports("FROM a AS build\nEXPOSE 80\nFROM b"), None);
        assert!(healthcheck(&file("FROM a\nHEALTHCHECK CMD true")).is_some());
        assert!(healthcheck(&file("FROM a\nHEALTHCHECK CMD true\nhealthcheck none")).is_none());
        assert!(healthcheck(&file("FROM a\nHEALTHCHECK CMD true\nFROM b")).is_none());
    }

    #[test]
    fn never_panics() {
        for text in ["", "\\", "COPY", "COPY [", "COPY [] /", "ADD \"", "ä\\\n*", "COPY ? * /exports"] {
            instructions(text)
                .iter()
                .filter_map(copy)
                .for_each(|copy| assert!(!copy.reaches("ä") || copy.is_foreign || !copy.sources.is_empty()));
        }
    }
}
