//! Bind sources that lie in others, and those that are the image's own files: what the payload writes to must not lead a
//! mount elsewhere, and nobody writes to what containers share.
//!
//! A payload can replace a directory on the way to the inner source by a symlink, and the next start would bind whatever
//! that leads to on the host. So before every start, the way is opened component by component; what is missing is made
//! there, and not by systemd-tmpfiles, which follows symlinks. It is opened so again when the runtime is started, which
//! gets what was opened and not its path: see [`crate::run::view`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::registration::Registration;
use crate::error::{Context, Error, Result};
use crate::oci::config::Normalised;
use crate::oci::nesting;
use crate::paths::{DEPLOYMENTS, PREINSTALLED, Root, TreePath};
use crate::system::directory::{self, Directory};
use crate::system::mount_tree::{Place, Tree};
use crate::system::mounts;
use crate::system::untrusted::Untrusted;

/// Mode of a source that is missing, as where systemd-tmpfiles makes it.
const MODE: u32 = 0o700;
/// Where the bind sources are that are in others, by their numbers. Not a valid name of a container.
pub const SOURCES: &str = "/run/syscontainers/.sources";

/// Where the runtime is shown a bind source that is in another one.
pub fn place(number: usize) -> PathBuf {
    Path::new(SOURCES).join(number.to_string())
}

/// The path that a runtime is shown at a [`place`]; any other one is itself.
pub fn original(source: &Path, nested: &[Source]) -> PathBuf {
    let number =
        source.strip_prefix(SOURCES).ok().and_then(Path::to_str).and_then(|number| number.parse().ok());
    let found = number.and_then(|number: usize| nested.get(number));
    found.map_or_else(|| source.to_path_buf(), |nested| nested.path.as_path().to_path_buf())
}

/// A bind source that lies in another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its path.
    pub path: TreePath,
    /// The outer one, which the payload writes to.
    pub outer: TreePath,
}

impl Source {
    fn failure(&self) -> String {
        format!("cannot bind {}, which is in {}, where a payload can put anything", self.path, self.outer)
    }

    /// The components of its path that are below the outer one: directories, and the last one.
    fn below(&self) -> Option<(impl Iterator<Item = &std::ffi::OsStr>, &std::ffi::OsStr)> {
        let below = self.path.as_path().strip_prefix(self.outer.as_path()).ok()?;
        Some((below.parent()?.iter(), below.file_name()?))
    }

    /// Opens it, whatever it is, without following a symlink on the way from the outer one.
    pub fn open(&self, root: &Root) -> Result<OwnedFd> {
        self.try_open(root).context(|| self.failure())
    }

    fn try_open(&self, root: &Root) -> Result<OwnedFd> {
        let not_a_path = || Error::new("it is not the path of a file");
        let mut directory = Directory::open(&root.join(&self.outer)).context(|| self.outer.to_string())?;
        let (names, last) = self.below().ok_or_else(not_a_path)?;
        for name in names {
            let missing = || Error::new(format!("{} is missing", directory.path_of(name).display()));
            directory = directory.enter(name)?.ok_or_else(missing)?;
        }
        directory.place(last).context(|| directory.path_of(last).display().to_string())
    }
}

/// The bind sources of a container that lie in others.
pub struct Sources {
    /// With the paths that the configuration has for them.
    nested: Vec<(PathBuf, Source)>,
    /// Who is to own what is missing; `None` if nothing is to be made.
    owner: Option<(u32, u32)>,
}

impl Sources {
    /// Finds them in the configuration of a deployment. Those that are missing are made for an image that is trusted; the
    /// administrator makes what others get.
    pub fn of(root: &Root, config: &Normalised, untrusted: &Untrusted, is_trusted: bool) -> Result<Sources> {
        let (uid, gid) = if config.has_user_namespace() { (0, 0) } else { config.user() };
        let id = |id: u64| u32::try_from(id).context(|| format!("cannot use {id} as the ID of a user"));
        let owner = is_trusted.then(|| Ok::<_, Error>((id(uid)?, id(gid)?))).transpose()?;
        let mut nested = Vec::new();
        for source in nesting::bind_sources(config).filter(|source| source.is_absolute()) {
            let way = untrusted.find(root, &source)?;
            nested.extend(way.outer.map(|outer| (source, Source { path: way.path, outer })));
        }
        Ok(Sources { nested, owner })
    }

    /// Has the configuration bind them from where the runtime is shown them.
    pub fn redirect(&self, config: &mut Normalised) {
        let numbers: BTreeMap<&Path, usize> =
            self.nested.iter().enumerate().map(|(number, (path, _))| (path.as_path(), number)).collect();
        config.replace_bind_sources(|path| {
            numbers.get(nesting::plain(path).as_path()).map(|number| place(*number))
        });
    }

    /// What the runtime is to be shown.
    pub fn into_nested(self) -> Vec<Source> {
        self.nested.into_iter().map(|(_, source)| source).collect()
    }

    /// Makes those that are missing. Fails if one cannot be reached without following a symlink.
    pub fn make(&self, root: &Root) -> Result<()> {
        self.nested
            .iter()
            .try_for_each(|(_, source)| self.make_one(root, source).context(|| source.failure()))
    }

    fn make_one(&self, root: &Root, source: &Source) -> Result<()> {
        // A missing one is reported by the runtime.
        let Ok(mut directory) = Directory::open(&root.join(&source.outer)) else { return Ok(()) };
        let Some((names, name)) = source.below() else { return Ok(()) };
        for name in names {
            directory = match directory.enter(name)? {
                Some(child) => child,
                None => self.make_directory(&directory, name)?,
            };
        }
        let stat = directory.stat_of(name).context(|| "cannot examine it".into())?;
        match stat.as_ref().map(directory::kind_name) {
            None => self.make_directory(&directory, name).map(|_| ()),
            Some("a symlink") => Err(Error::new("it is a symlink; remove it")),
            Some(_) => Ok(()),
        }
    }

    fn make_directory(&self, parent: &Directory, name: &std::ffi::OsStr) -> Result<Directory> {
        let path = parent.path_of(name).display().to_string();
        let Some((uid, gid)) = self.owner else {
            return Err(Error::new(format!("{path} is missing; make it")));
        };
        let what = || format!("cannot create {path}");
        match parent.make_new(name, MODE).context(what)? {
            Some(made) => made.set_owner(uid, gid, MODE).map(|()| made).context(what),
            // Whoever made it meanwhile decides whose it is.
            None => parent.child(name).context(what),
        }
    }
}

/// Fails if the payload would write to deployments or to the store, by whatever path: files of these are shared.
pub fn check(root: &Root, registration: &Registration, config: &Normalised) -> Result<()> {
    if config.mounts().all(|mount| mount.source().is_none()) {
        // Most have none, and every start comes here.
        return Ok(());
    }
    let own = registration.link().parent().map(|path| root.join(&path));
    let all = own.into_iter().chain([DEPLOYMENTS, PREINSTALLED].map(|path| root.join(path)));
    check_writable(root, &Tree::of(Path::new("/proc/self"))?, &all.collect::<Vec<_>>(), config)
}

fn check_writable(root: &Root, mounts: &Tree, directories: &[PathBuf], config: &Normalised) -> Result<()> {
    let real: Vec<_> = directories.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let shared = Shared {
        identities: real.iter().filter_map(|path| mounts::identity(path)).collect(),
        places: real.iter().filter_map(|path| mounts.place(path)).collect(),
        paths: real,
        mounts,
    };
    let refused = config.mounts().find_map(|mount| {
        let source = mount.source()?;
        // What does not exist is in nothing.
        let real = root.join(&TreePath::new(source)).canonicalize().ok();
        let is_in = !source.is_absolute() || real.as_deref().is_some_and(|real| shared.has(real));
        // That the source is read-only does not make what is mounted in it so.
        let is_refused = is_in && !mount.is_read_only() || real.is_some_and(|real| shared.has_mounted(&real));
        is_refused.then_some(source)
    });
    match refused {
        None => Ok(()),
        Some(source) => Err(Error::new(format!(
            "the bind source {} is in a deployment or the image store, whose files containers share, and it is writable; only an image that has it read-only can be started",
            source.display()
        ))),
    }
}

/// Directories that nobody may write to.
struct Shared<'a> {
    identities: BTreeSet<(u64, u64)>,
    places: BTreeSet<Place>,
    paths: Vec<PathBuf>,
    mounts: &'a Tree,
}

impl Shared<'_> {
    /// Whether a path without symlinks is in one, by whatever mount.
    fn has(&self, path: &Path) -> bool {
        path.ancestors().filter_map(mounts::identity).any(|id| self.identities.contains(&id))
            || self.mounts.place(path).is_some_and(|place| self.is_shared(&place))
    }

    /// Whether one, or what is in one, is mounted in a directory, but for where it is anyway.
    fn has_mounted(&self, directory: &Path) -> bool {
        let mounted = self.mounts.writable_in(&BTreeSet::from([directory.to_path_buf()]));
        let mut elsewhere =
            mounted.iter().filter(|mount| !self.paths.iter().any(|path| mount.point.starts_with(path)));
        elsewhere.any(|mount| self.is_shared(&mount.place()))
    }

    fn is_shared(&self, place: &Place) -> bool {
        self.places.iter().any(|shared| place.is_in(shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use crate::system::untrusted::Got;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn make(root: &Root, sources: &[&str]) -> Result<()> {
        let nested = sources
            .iter()
            .map(|path| (path.into(), Source { path: TreePath::new(path), outer: "/var/lib/x".into() }));
        let own = fs::metadata(root.path()).unwrap();
        Sources { nested: nested.collect(), owner: Some((own.uid(), own.gid())) }.make(root)
    }

    #[test]
    fn missing_ones_are_made_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("root"));
        let outer = root.join("/var/lib/x");
        fs::create_dir_all(&outer).unwrap();
        make(&root, &["/var/lib/x/a/b", "/var/lib/x/a"]).unwrap();
        assert_eq!(fs::metadata(outer.join("a/b")).unwrap().mode() & 0o777, MODE);
        fs::write(outer.join("file"), "").unwrap();
        make(&root, &["/var/lib/x/file"]).unwrap();
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        symlink(&victim, outer.join("link")).unwrap();
        for source in ["/var/lib/x/link", "/var/lib/x/link/new", "/var/lib/x/link/new/deep"] {
            let error = make(&root, &[source]).unwrap_err().to_string();
            let expected =
                format!("cannot bind {source}, which is in /var/lib/x, where a payload can put anything: ");
            assert!(error.starts_with(&expected) && error.contains("it is a symlink"), "{error}");
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        let open = |path: &str| Source { path: TreePath::new(path), outer: "/var/lib/x".into() }.open(&root);
        open("/var/lib/x/a/b").unwrap();
        open("/var/lib/x/file").unwrap();
        for path in ["/var/lib/x/link", "/var/lib/x/link/victim", "/var/lib/x/none", "/var/lib/x/../y"] {
            let error = open(path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot bind {path}, which is in /var/lib/x")), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_made_for_images_that_are_trusted_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(root.join("/srv/app")).unwrap();
        let bind = |source: &str| json!({"type": "bind", "source": source, "destination": "/x"});
        let binds = json!({"mounts": [bind("/srv/app"), bind("/srv/app/a/b")]});
        let config = Config::new(binds).normalised();
        let got = Got { written: ["/srv/app".into()].into(), ..Got::default() };
        let untrusted = Untrusted::new(&root, &got, &[]).unwrap();
        let make = |is_trusted: bool| {
            let mut sources = Sources::of(&root, &config, &untrusted, is_trusted).unwrap();
            let own = fs::metadata(root.path()).unwrap();
            sources.owner = sources.owner.map(|_| (own.uid(), own.gid()));
            sources.make(&root)
        };
        let error = make(false).unwrap_err().to_string();
        assert!(error.starts_with("cannot bind /srv/app/a/b, which is in /srv/app, where"), "{error}");
        assert!(
            error.ends_with("/srv/app/a is missing; make it") && !root.join("/srv/app/a").exists(),
            "{error}"
        );
        make(true).unwrap();
        make(false).unwrap();
        assert!(root.join("/srv/app/a/b").is_dir());
    }

    #[test]
    fn what_is_shared_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(dir.path().join("d/x.0/rootfs")).unwrap();
        fs::create_dir_all(dir.path().join("srv")).unwrap();
        symlink(dir.path().join("d/x.0"), dir.path().join("srv/link")).unwrap();
        let check_by = |mounts: &Tree, source: &str, options: &[&str]| {
            let mount = json!({"type": "bind", "source": source, "destination": "/x", "options": options});
            let config = Config::new(json!({"mounts": [mount]})).normalised();
            check_writable(&root, mounts, &[dir.path().join("d")], &config).is_ok()
        };
        let mounts = Tree::of(Path::new("/proc/self")).unwrap();
        let check = |source: &str, options: &[&str]| check_by(&mounts, source, options);
        for source in ["/d", "/d/x.0", "/srv/link/rootfs", "/srv/../d", "rootfs"] {
            assert!(!check(source, &["bind", "rw"]) && check(source, &["bind", "ro"]), "{source}");
        }
        assert!(check("/", &[]) && check("/srv", &[]) && check("/none", &[]));
        // The host mounts a directory of one somewhere else, and all of them in another one.
        fs::create_dir_all(dir.path().join("e/at")).unwrap();
        let at = dir.path().canonicalize().unwrap();
        let table = |line: &str| {
            let here = at.display();
            let line = line.replace("HERE", &here.to_string());
            Tree::parse(
                format!("1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / {here} rw - ext4 x rw\n{line}\n").as_bytes(),
            )
        };
        for (line, source, writable, read_only) in [
            ("3 2 8:2 /d/x.0/rootfs HERE/e rw - ext4 x rw", "/e", false, true),
            ("3 2 8:2 /d/x.0/rootfs HERE/e rw - ext4 x rw", "/e/at", false, true),
            ("3 2 8:2 /d HERE/e/at rw - ext4 x rw", "/e", false, false),
            ("3 2 8:2 /d HERE/e/at ro - ext4 x rw", "/e", true, true),
            ("3 2 8:2 /d2 HERE/e/at rw - ext4 x rw", "/e", true, true),
            ("3 2 8:3 /d HERE/e/at rw - ext4 x rw", "/e", true, true),
            // A disk that they are on.
            ("3 2 8:3 / HERE/d rw - ext4 x rw", "/", true, true),
        ] {
            let found = ["rw", "ro"].map(|option| check_by(&table(line), source, &["rbind", option]));
            assert_eq!(found, [writable, read_only], "{line} {source}");
        }
    }
}
