//! The files that an image is at, if its source is a path: what they are, and who can change them.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use super::limits;
use super::reference::Reference;
use crate::error::{Context, Error, Result};
use crate::paths::{Root, TreePath};
use crate::program::transports::{Location, Selector};
use crate::system::directory::{Directory, kind, kind_name};
use crate::system::{privacy, tree};

/// How many files of a directory are looked at.
const FILES: usize = 100_000;
/// The files of an OCI layout.
const LAYOUT: [&str; 3] = ["index.json", "oci-layout", "blobs"];

/// Refuses an archive that is not a regular file, and a directory that has links, devices or FIFOs where skopeo would read
/// files, without any limit.
pub fn check(reference: &Reference) -> Result<()> {
    let path = Path::new(reference.location());
    let what = || format!("cannot use {}", reference.to_skopeo());
    // Of what cannot be opened, skopeo says why.
    match reference.transport().location {
        Location::Archive(_) if path.metadata().is_ok_and(|file| !file.is_file()) => {
            return Err(Error::new("it is not a regular file")).context(what);
        }
        Location::Directory(_) if Directory::open(path).is_ok() => {}
        Location::Name | Location::Archive(_) | Location::Directory(_) => return Ok(()),
    }
    let judge = |name: &OsStr, stat: &Stat| match kind(stat) {
        FileType::Directory => Ok(()),
        FileType::RegularFile if name == "index.json" && stat.st_size as u64 > limits::DOCUMENT => {
            Err(Error::new(format!("it is larger than {} MiB", limits::DOCUMENT >> 20)))
        }
        FileType::RegularFile => Ok(()),
        _ => Err(Error::new(format!("it is {}, and not a regular file", kind_name(stat)))),
    };
    walk(reference, &judge).context(what)
}

/// Refuses a path that anybody else but root, and this user, can change, or what it leads to. A directory in which
/// everybody makes files does not become safe by its sticky bit: the file may be gone one day, and be another user's then.
/// The path is one of the tree.
pub fn check_owner(root: &Root, reference: &Reference) -> Result<()> {
    if reference.transport().has_names() {
        return Ok(());
    }
    let absolute = reference.absolute()?;
    let path = TreePath::new(absolute.location());
    privacy::check_inside(root, path.as_path())?;
    let place = tree::place(root, &path)?;
    let is_directory = matches!(reference.transport().location, Location::Directory(_));
    if !is_directory || Directory::open(&place).is_err() {
        return Ok(());
    }
    // Links are not followed in there.
    let judge = |_: &OsStr, stat: &Stat| match kind(stat) {
        FileType::Symlink => Ok(()),
        _ => privacy::check_fixed(&"it", stat.st_uid, stat.st_mode),
    };
    walk(&reference.at(&place), &judge)
}

/// Whether an image was at a path at which there is nothing now: an archive is often removed once it was pulled. Where
/// others can make files, that would say nothing; [`check_owner`] does.
pub fn is_gone(reference: &Reference) -> bool {
    let path = Path::new(reference.location());
    let is_missing =
        |path: &Path| path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    let above = path.ancestors().find(|above| !is_missing(above));
    !reference.transport().has_names()
        && is_missing(path)
        && above.is_some_and(|above| privacy::check_path(above).is_ok())
}

/// Has each file of a layout judged, and the directories that they are in.
fn walk(reference: &Reference, judge: &dyn Fn(&OsStr, &Stat) -> Result<()>) -> Result<()> {
    let path = Path::new(reference.location());
    let what = || format!("cannot examine {}", path.display());
    let top = Directory::open(path).context(what)?;
    match reference.transport().location {
        Location::Directory(Selector::Tag) => LAYOUT.iter().try_for_each(|name| {
            let depth = if *name == "blobs" { 2 } else { 0 };
            visit(&top, name.as_ref(), depth, judge)
        }),
        _ => {
            let names = top.names(FILES).context(what)?;
            names.iter().try_for_each(|name| visit(&top, name, 0, judge))
        }
    }
}

/// Judges a file, and what is in it down to a depth.
fn visit(
    parent: &Directory,
    name: &OsStr,
    depth: u32,
    judge: &dyn Fn(&OsStr, &Stat) -> Result<()>,
) -> Result<()> {
    let what = || parent.path_of(name).display().to_string();
    let Some(stat) = parent.stat_of(name).context(what)? else { return Ok(()) };
    judge(name, &stat).context(what)?;
    if depth == 0 || kind(&stat) != FileType::Directory {
        return Ok(());
    }
    let directory = parent.child(name).context(what)?;
    let names = directory.names(FILES + 1).context(what)?;
    if names.len() > FILES {
        return Err(Error::new(format!("there are more than {FILES} files in it"))).context(what);
    }
    names.iter().try_for_each(|name| visit(&directory, name, depth - 1, judge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn layout(path: &Path) -> Reference {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        for name in ["index.json", "oci-layout", "blobs/sha256/00"] {
            fs::write(path.join(name), "{}").unwrap();
        }
        format!("oci:{}", path.display()).parse().unwrap()
    }

    #[test]
    fn layouts_have_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout");
        let reference = layout(&path);
        check(&reference).unwrap();
        for name in ["blobs/sha256/01", "blobs/md5"] {
            symlink("/dev/zero", path.join(name)).unwrap();
            let why = check(&reference).unwrap_err().to_string();
            assert!(why.contains(name) && why.contains("and not a regular file"), "{why}");
            fs::remove_file(path.join(name)).unwrap();
        }
        fs::File::create(path.join("index.json")).unwrap().set_len(1 << 40).unwrap();
        assert!(check(&reference).unwrap_err().to_string().contains("larger than 4 MiB"));
        fs::remove_file(path.join("index.json")).unwrap();
        symlink("/dev/zero", path.join("version")).unwrap();
        assert!(check(&Reference::directory(&path)).unwrap_err().to_string().contains("version"));
        check(&Reference::directory(Path::new("/nonexistent/x"))).unwrap();
        assert!(!is_gone(&reference) && is_gone(&Reference::directory(Path::new("/nonexistent/x"))));
        assert!(!is_gone(&"docker://nonexistent/x".parse().unwrap()));
    }

    #[test]
    fn what_others_can_change_is_not_trusted() {
        // Wherever the sources are, only root can change what is below this.
        let Ok(dir) = tempfile::tempdir_in("/run") else {
            eprintln!("skipped: only root can make files that nobody else can change");
            return;
        };
        let path = dir.path().join("layout");
        let reference = layout(&path);
        check_owner(&Root::default(), &reference).unwrap();
        for name in ["blobs/sha256/00", "blobs/sha256", "blobs", "index.json", "."] {
            let before = fs::metadata(path.join(name)).unwrap().permissions();
            fs::set_permissions(path.join(name), Permissions::from_mode(0o1777)).unwrap();
            let why = check_owner(&Root::default(), &reference).unwrap_err().to_string();
            assert!(why.contains("mode 1777"), "{name}: {why}");
            fs::set_permissions(path.join(name), before).unwrap();
        }
        check_owner(&Root::default(), &reference).unwrap();
        let link = dir.path().join("link");
        symlink("/tmp/../tmp/x", &link).unwrap();
        let linked: Reference = format!("docker-archive:{}", link.display()).parse().unwrap();
        assert!(check_owner(&Root::default(), &linked).unwrap_err().to_string().contains("/tmp "));
        check_owner(&Root::default(), &"docker://r.io/x".parse().unwrap()).unwrap();
    }
}
