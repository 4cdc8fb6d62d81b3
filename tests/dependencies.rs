//! The packages that the programs are built of: their licences, sources and versions are as decided here, and no
//! security advisory is known for them.
//!
//! Advisories are those of a clone of <https://github.com/RustSec/advisory-db>: the one that `ADVISORY_DB` names, or
//! else one that cargo-audit or cargo-deny keeps in cargo's directory. Nothing is downloaded.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use semver::{Version, VersionReq};
use serde::Deserialize;
use serde_json::Value;
use walkdir::WalkDir;

/// Licences that a package may have; each allows to distribute the programs under Apache-2.0.
const LICENCES: [&str; 8] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that are there in more than one version, and which package requires another one than the rest.
const DUPLICATES: [(&str, &str); 10] = [
    ("bitflags", "ostree"),
    ("block-buffer", "containers-image-proxy"),
    ("cpufeatures", "containers-image-proxy"),
    ("crypto-common", "containers-image-proxy"),
    ("digest", "containers-image-proxy"),
    ("nix", "libsystemd"),
    ("sha2", "containers-image-proxy"),
    ("syn", "derive macros, in the build only"),
    ("thiserror", "ostree"),
    ("thiserror-impl", "ostree"),
];

/// The only place that packages come from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Advisories that do not concern us, and why.
const IGNORED: [(&str, &str); 0] = [];

/// A package that is part of a program on Linux, or of a test.
struct Package {
    name: String,
    version: Version,
    licence: Option<String>,
    source: Option<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .arg("--filter-platform=x86_64-unknown-linux-gnu")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The list of packages has those of other platforms, too.
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let resolved: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let all = metadata["packages"].as_array().unwrap().iter();
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    all.filter(|package| resolved.contains(package["id"].as_str().unwrap()))
        .map(|package| Package {
            name: text(package, "name").unwrap(),
            version: text(package, "version").unwrap().parse().unwrap(),
            licence: text(package, "license"),
            source: text(package, "source"),
        })
        .filter(|package| package.name != env!("CARGO_PKG_NAME"))
        .collect()
}

fn is_allowed(licence: &str) -> bool {
    let mode = spdx::ParseMode::LAX;
    let Ok(expression) = spdx::Expression::parse_mode(licence, mode) else { return false };
    expression.evaluate(|requirement| LICENCES.contains(&requirement.to_string().as_str()))
}

#[test]
fn licences_are_compatible() {
    assert!(is_allowed("MIT/Apache-2.0") && is_allowed("(MIT OR GPL-3.0-only) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-3.0-only") && !is_allowed("MIT AND GPL-2.0-only") && !is_allowed(""));
    let packages = packages();
    assert!(packages.len() > 50, "there are only {}", packages.len());
    let bad = packages.iter().filter(|p| !p.licence.as_deref().is_some_and(is_allowed));
    let bad: Vec<String> = bad.map(|p| format!("{} {}: {:?}", p.name, p.version, p.licence)).collect();
    assert!(bad.is_empty(), "not allowed: {bad:#?}");
}

#[test]
fn all_packages_come_from_one_source() {
    let bad = packages().into_iter().filter(|package| package.source.as_deref() != Some(SOURCE));
    let bad: Vec<String> = bad.map(|package| format!("{} from {:?}", package.name, package.source)).collect();
    assert!(bad.is_empty(), "from elsewhere: {bad:#?}");
}

#[test]
fn duplicates_are_known() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().insert(package.version.to_string());
    }
    let found: BTreeMap<&str, &BTreeSet<String>> =
        versions.iter().filter(|(_, v)| v.len() > 1).map(|(name, v)| (name.as_str(), v)).collect();
    let known: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    let new: Vec<_> = found.iter().filter(|(name, _)| !known.contains(*name)).collect();
    assert!(new.is_empty(), "in more than one version: {new:#?}");
    let gone: Vec<_> = known.iter().filter(|name| !found.contains_key(*name)).collect();
    assert!(gone.is_empty(), "in one version only, remove them from the list: {gone:?}");
}

/// The head of an advisory.
#[derive(Deserialize)]
struct Advisory {
    advisory: Subject,
    #[serde(default)]
    versions: Versions,
}

#[derive(Deserialize)]
struct Subject {
    id: String,
    package: String,
    #[serde(default)]
    withdrawn: Option<toml::Value>,
    #[serde(default)]
    informational: Option<String>,
}

#[derive(Default, Deserialize)]
struct Versions {
    #[serde(default)]
    patched: Vec<String>,
    #[serde(default)]
    unaffected: Vec<String>,
}

impl Advisory {
    /// Reads an advisory: TOML in a code block, and then prose.
    fn parse(text: &str) -> Advisory {
        let head = text.split("```").nth(1).unwrap().strip_prefix("toml").unwrap();
        toml::from_str(head).unwrap()
    }

    fn concerns(&self, package: &Package) -> bool {
        let safe = self.versions.patched.iter().chain(&self.versions.unaffected);
        let is_safe =
            safe.map(|range| VersionReq::parse(range).unwrap()).any(|range| range.matches(&package.version));
        self.advisory.package == package.name
            && self.advisory.withdrawn.is_none()
            && self.advisory.informational.as_deref() != Some("notice")
            && !IGNORED.iter().any(|(id, _)| *id == self.advisory.id)
            && !is_safe
    }
}

/// The directory with advisories by packages, in a clone of the database.
fn database() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ADVISORY_DB") {
        let directory = Path::new(&path).join("crates");
        assert!(directory.is_dir(), "ADVISORY_DB: there is no {}", directory.display());
        return Some(directory);
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))?;
    let kept = fs::read_dir(home.join("advisory-dbs")).into_iter().flatten().flatten();
    let candidates = kept.map(|entry| entry.path()).chain([home.join("advisory-db")]);
    candidates.map(|path| path.join("crates")).find(|path| path.is_dir())
}

#[test]
fn no_advisory_is_known() {
    let Some(database) = database() else {
        eprintln!("skipped: there is no database of advisories, and ADVISORY_DB does not name one");
        return;
    };
    let packages = packages();
    let files = WalkDir::new(&database).into_iter().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("RUSTSEC-"));
    let (mut count, mut bad) = (0, Vec::new());
    for file in files {
        let advisory = Advisory::parse(&fs::read_to_string(file.path()).unwrap());
        count += 1;
        let concerned = packages.iter().filter(|package| advisory.concerns(package));
        bad.extend(concerned.map(|p| format!("{}: {} {}", advisory.advisory.id, p.name, p.version)));
    }
    assert!(count > 100, "{} has only {count} advisories", database.display());
    assert!(bad.is_empty(), "advisories: {bad:#?}");
    eprintln!("{count} advisories, none of which concerns one of {} packages", packages.len());
}

#[test]
fn advisories_are_understood() {
    let text = "```toml\n[advisory]\nid = \"RUSTSEC-2020-0001\"\npackage = \"a\"\ndate = \"2020-01-01\"\n\n\
                [versions]\npatched = [\">= 1.2.3\", \"^1.0.5, < 1.1.0\"]\nunaffected = [\"< 0.9\"]\n```\n\n# Title\n";
    let advisory = Advisory::parse(text);
    let package = |name: &str, version: &str| Package {
        name: name.into(),
        version: version.parse().unwrap(),
        licence: None,
        source: None,
    };
    for (name, version, expected) in [
        ("a", "1.2.2", true),
        ("a", "1.2.3", false),
        ("a", "1.0.5", false),
        ("a", "1.0.4", true),
        ("a", "0.8.0", false),
        ("b", "1.2.2", false),
    ] {
        assert_eq!(advisory.concerns(&package(name, version)), expected, "{name} {version}");
    }
}
