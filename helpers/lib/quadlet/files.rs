//! Files of a quadlet: `NAME.container`, and the drop-ins that podman merges into it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::name::Name;
use crate::quadlet::syntax::{self, Entries, Entry};
use crate::system::files;

/// What names of quadlets of containers end in.
pub const SUFFIX: &str = ".container";
/// Where podman itself looks for quadlets, the first place that counts first.
const PLACES: [&str; 3] =
    ["/run/containers/systemd", "/etc/containers/systemd", "/usr/share/containers/systemd"];
/// Size of a file in bytes, which is that of a declaration's at most.
const MAX_SIZE: usize = 64 << 10;
/// Size of all files of a quadlet together, likewise.
const TOTAL_MAX: usize = 256 << 10;
/// Number of drop-ins, likewise.
const DROP_INS_MAX: usize = 256;

/// A quadlet as it was read.
#[derive(Debug)]
pub struct Quadlet {
    /// The path, as it was given.
    pub path: PathBuf,
    /// The directory that it is in, which relative paths begin at: absolute.
    pub(super) directory: PathBuf,
    /// What the file is called, without its suffix.
    pub(super) stem: String,
    /// All assignments, those of drop-ins at the end.
    pub(super) entries: Entries,
    /// Whether there is a file that not everybody can read.
    pub(super) is_private: bool,
}

impl Quadlet {
    /// Reads a file and its drop-ins.
    pub fn read(path: &Path) -> Result<Quadlet> {
        let what = || format!("cannot convert {}", path.display());
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = file.strip_suffix(SUFFIX).filter(|stem| !stem.is_empty()).ok_or_else(|| {
            Error::usage(format!("cannot convert {}: its name does not end in {SUFFIX}", path.display()))
        })?;
        let absolute = std::path::absolute(path).context(what)?;
        let directory = clean(absolute.parent().unwrap_or(Path::new("/")));
        let text = read(path)?.ok_or_else(|| Error::not_found(format!("{}: it does not exist", what())))?;
        let mut entries = syntax::parse(&text, &path.display().to_string())?;
        // Drop-ins are named like the file itself was.
        let given = path.parent().unwrap_or(Path::new(""));
        let mut is_private = is_private(path);
        let drop_ins = drop_ins(given, &directory, stem)?;
        if drop_ins.len() > DROP_INS_MAX {
            return Err(Error::new(format!("it has more than {DROP_INS_MAX} drop-ins"))).context(what);
        }
        let mut size = text.len();
        for path in drop_ins {
            let text = read(&path)?.unwrap_or_default();
            size += text.len();
            if size > TOTAL_MAX {
                let (path, limit) = (path.display(), TOTAL_MAX >> 10);
                let why = format!("with {path}, the files are larger than the limit of {limit} KiB in all");
                return Err(Error::new(why)).context(what);
            }
            entries.extend(syntax::parse(&text, &path.display().to_string())?);
            is_private |= self::is_private(&path);
        }
        let (stem, entries) = (stem.to_owned(), Entries::new(entries));
        Ok(Quadlet { path: path.to_owned(), directory, stem, entries, is_private })
    }

    /// The last value of a key in a section, as one text; `None` if that is empty.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.entries.last(section, key).map(Entry::text).filter(|text| !text.is_empty())
    }

    /// Whether there is a value of a key in a section that no later line resets.
    pub(super) fn has(&self, section: &str, key: &str) -> bool {
        self.entries.last(section, key).is_some_and(|entry| !entry.value.is_empty())
    }

    /// Whether a boolean key is true, in the words that podman takes for it.
    pub(super) fn is_on(&self, section: &str, key: &str) -> bool {
        let is_true =
            |text: &str| ["1", "yes", "true", "on"].iter().any(|word| text.eq_ignore_ascii_case(word));
        self.last(section, key).is_some_and(is_true)
    }

    /// Whether it is a template, `NAME@.container`, or an instance of one.
    pub(super) fn has_instances(&self) -> bool {
        self.stem.contains('@')
    }

    /// What the service is called, without its suffix: that is the name of the container, too.
    pub(super) fn service(&self) -> &str {
        self.last("Container", "ServiceName").unwrap_or(&self.stem)
    }

    /// Checks that a container can be called like the service.
    pub(super) fn check_name(&self) -> Result<()> {
        let name = self.service();
        if self.stem.contains('@') && name != self.stem {
            return Err(Error::new(
                "the service of a template or of its instance has to be called like the file",
            ));
        }
        // A template has no name itself, but one without its instance.
        name.strip_suffix('@').unwrap_or(name).parse::<Name>().map(|_| ())
    }

    /// A path of the host, which may be relative to the file.
    pub(super) fn resolve(&self, path: &str) -> String {
        match path.starts_with(['/', '%']) {
            true => path.to_owned(),
            false => clean(&self.directory.join(path)).to_string_lossy().into_owned(),
        }
    }

    /// The text of another quadlet in the same directory, such as `data.volume`.
    pub(super) fn beside(&self, name: &str) -> Result<Option<Vec<Entry>>> {
        if name.contains('/') {
            return Ok(None);
        }
        let path = self.directory.join(name);
        read(&path)?.map(|text| syntax::parse(&text, &path.display().to_string())).transpose()
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    let what = || format!("cannot read {}", path.display());
    let bytes = files::read_bounded(path, MAX_SIZE).context(what)?;
    bytes.map(String::from_utf8).transpose().context(what)
}

/// Whether others cannot read a file, or cannot reach it.
fn is_private(path: &Path) -> bool {
    // Wherever links lead.
    let Ok(path) = path.canonicalize() else { return true };
    let allows = |path: &Path, mode| std::fs::metadata(path).is_ok_and(|found| found.mode() & mode != 0);
    !allows(&path, 0o004) || path.ancestors().skip(1).any(|above| !allows(above, 0o001))
}

/// A path without `.` and `..`, symlinks aside.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Drop-ins of a quadlet in the order in which they are merged. Of those with the same name, the one counts whose directory
/// is closest to the quadlet's name.
fn drop_ins(given: &Path, directory: &Path, stem: &str) -> Result<Vec<PathBuf>> {
    let mut places = vec![given.to_owned()];
    if PLACES.iter().any(|place| directory.starts_with(place)) {
        places.extend(PLACES.map(PathBuf::from).into_iter().filter(|place| place != directory));
    }
    let mut found = BTreeMap::new();
    for name in drop_in_directories(stem) {
        for place in &places {
            let directory = place.join(&name);
            for file in files::names(&directory)?.into_iter().filter(|file| file.ends_with(".conf")) {
                let path = directory.join(&file);
                found.entry(file).or_insert(path);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The names of directories with drop-ins, the closest one first: `a-b@c` has those of `a-b@c`, `a-b@`, `a-` and all.
fn drop_in_directories(stem: &str) -> Vec<String> {
    let (unit, instance) = stem.split_once('@').map_or((stem, None), |(unit, rest)| (unit, Some(rest)));
    let mut names = vec!["container.d".to_owned()];
    for (at, _) in unit.match_indices('-') {
        names.push(format!("{}{SUFFIX}.d", &unit[..=at]));
        if instance.is_some() {
            names.push(format!("{}@{SUFFIX}.d", &unit[..=at]));
        }
    }
    if instance.is_some_and(|instance| !instance.is_empty()) {
        names.push(format!("{unit}@{SUFFIX}.d"));
    }
    names.push(format!("{stem}{SUFFIX}.d"));
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_those_of_podman() {
        let names = |stem| drop_in_directories(stem).join(" ").replace(".container.d", "");
        assert_eq!(names("web"), "web container.d");
        assert_eq!(names("a-b-c"), "a-b-c a-b- a- container.d");
        assert_eq!(names("a-b@"), "a-b@ a-@ a- container.d");
        assert_eq!(names("a@x-y"), "a@x-y a@ container.d");
    }

    #[test]
    fn the_closest_drop_in_of_a_name_counts() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a-b.container", "[Container]\nImage=x\nUser=0\n");
        write("a-b.container.d/20.conf", "[Container]\nUser=2\n");
        write("a-.container.d/20.conf", "[Container]\nUser=far\n");
        write("container.d/10.conf", "[Container]\nUser=1\n");
        write("a-b.container.d/30.txt", "nothing");
        let quadlet = Quadlet::read(&directory.path().join("a-b.container")).unwrap();
        let users: Vec<&str> =
            quadlet.entries.iter().filter(|e| e.key == "User").map(|e| e.value.as_str()).collect();
        assert_eq!(users, ["0", "1", "2"]);
        assert_eq!(quadlet.resolve("../x/./y"), {
            let parent = directory.path().parent().unwrap().join("x/y");
            parent.to_str().unwrap().to_owned()
        });
        assert_eq!(quadlet.resolve("%h/x"), "%h/x");
    }

    #[test]
    fn what_others_cannot_reach_is_private() {
        use std::fs::{self, Permissions};
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let allow = |name: &str, mode| fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        fs::create_dir_all(path("a/web.container.d")).unwrap();
        for file in ["a/web.container", "a/web.container.d/x.conf"] {
            fs::write(path(file), "[Container]\nImage=x\n").unwrap();
            allow(file, 0o644);
        }
        std::os::unix::fs::symlink("a/web.container", path("link.container")).unwrap();
        let is_private = |name: &str| Quadlet::read(&path(name)).unwrap().is_private;
        for (changed, mode, expected) in [
            ("", 0o711, false),
            ("a", 0o755, false),
            ("a/web.container.d/x.conf", 0o600, true),
            ("a/web.container.d/x.conf", 0o644, false),
            ("a/web.container.d", 0o700, true),
            ("a/web.container.d", 0o755, false),
            ("a", 0o750, true),
        ] {
            allow(changed, mode);
            assert_eq!(is_private("a/web.container"), expected, "{changed:?} {mode:o}");
        }
        assert!(is_private("link.container"));
    }

    #[test]
    fn only_regular_files_of_that_name_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(Quadlet::read(&path("a.pod")).unwrap_err().is_usage());
        let error = Quadlet::read(&path("a.container")).unwrap_err();
        assert!(error.to_string().ends_with("it does not exist"), "{error}");
        std::fs::create_dir(path("b.container")).unwrap();
        let error = Quadlet::read(&path("b.container")).unwrap_err();
        assert!(error.to_string().ends_with("it is not a regular file"), "{error}");
        std::fs::write(path("c.container"), "#".repeat(MAX_SIZE + 1)).unwrap();
        assert!(Quadlet::read(&path("c.container")).is_err());
    }

    /// What is converted is as large as a declaration may be.
    #[test]
    fn drop_ins_have_the_limits_of_declarations() {
        use crate::declaration::files;
        assert_eq!(
            [MAX_SIZE, TOTAL_MAX, DROP_INS_MAX],
            [files::FILE_MAX, files::TOTAL_MAX, files::DROP_INS_MAX]
        );
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["many", "large"] {
            std::fs::write(path(&format!("{name}.container")), "[Container]\nImage=x\n").unwrap();
            std::fs::create_dir(path(&format!("{name}.container.d"))).unwrap();
        }
        let write = |file: &str, text: &str| std::fs::write(path(file), text).unwrap();
        (0..DROP_INS_MAX).for_each(|n| write(&format!("many.container.d/{n}.conf"), "#\n"));
        (0..3).for_each(|n| write(&format!("large.container.d/{n}.conf"), &"#".repeat(MAX_SIZE)));
        let read = |name: &str| Quadlet::read(&path(&format!("{name}.container"))).map(|_| ());
        assert!(read("many").is_ok() && read("large").is_ok());
        write("many.container.d/x.conf", "#\n");
        write("large.container.d/3.conf", &"#".repeat(MAX_SIZE));
        for (name, why) in [
            ("many", "it has more than 256 drop-ins"),
            ("large", "large.container.d/3.conf, the files are larger than the limit of 256 KiB in all"),
        ] {
            let error = read(name).unwrap_err().to_string();
            assert!(error.starts_with("cannot convert ") && error.ends_with(why), "{error}");
        }
    }
}
