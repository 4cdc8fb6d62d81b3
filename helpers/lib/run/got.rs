//! The record of what payloads were given of the host: directories that each of them may have written to, or may still.
//!
//! Configurations only tell what containers get next. A payload that runs has what it was started with, and what one has
//! written stays when its container gets something else, or is removed. So each directory is recorded before a payload gets
//! it for the first time, and stays in the record for as long as it exists. A line has its path and the mount point of what
//! has its name, escaped as in `mountinfo`. Other lines are not believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::paths::{GOT, Root, TreePath};
use crate::run::volumes;
use crate::system::mount_tree::Tree;
use crate::system::{files, lock, mounts};

/// Type of a file system that is mounted when somebody looks.
const AUTOFS: &str = "autofs";
/// How long file systems have to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Paths, each with the mount point of what has its name.
pub type Paths = BTreeMap<PathBuf, PathBuf>;

/// Everything that is recorded.
pub fn read(root: &Root) -> Result<Paths> {
    let text = files::read_if_exists(&root.join(GOT))?.unwrap_or_default();
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// Records paths that are not known yet. It is on disk when this returns.
pub fn add(root: &Root, paths: Paths) -> Result<()> {
    let is_known = |known: &Paths| paths.keys().all(|path| known.contains_key(path));
    if paths.is_empty() || is_known(&read(root)?) {
        return Ok(());
    }
    let _lock = lock::written(root)?;
    let mut known = read(root)?;
    known.extend(paths);
    volumes::make_all(root)?;
    write(root, &known)
}

/// Forgets what is gone from where it was; what is on a file system that is not mounted is not. Returns how many paths there
/// are still.
pub fn prune(root: &Root, dry_run: bool) -> Result<usize> {
    let recorded = read(root)?;
    if recorded.is_empty() {
        return Ok(0);
    }
    let mounts = Tree::of(Path::new("/proc/self"))?;
    // Before anybody waits for the lock.
    let seen = gone(root, recorded.iter().filter(|(path, mount)| is_mounted(root, &mounts, path, mount)));
    let _lock = lock::written(root)?;
    let mut paths = read(root)?;
    let before = paths.len();
    // A start that found one recorded already needs it to be there.
    let gone = gone(root, paths.iter().filter(|(path, mount)| seen.get(*path) == Some(mount)));
    paths.retain(|path, _| !gone.contains_key(path));
    match paths.len() {
        after if after == before || dry_run => {}
        0 => files::remove(&root.join(GOT)).map(|_| ())?,
        _ => write(root, &paths)?,
    }
    Ok(paths.len())
}

/// Those that are gone. What does not answer, as a file system of another host or of a user, is not, and nor is what would be
/// asked after it.
fn gone<'a>(root: &Root, paths: impl Iterator<Item = (&'a PathBuf, &'a PathBuf)>) -> Paths {
    let paths: Vec<_> = paths.map(|(path, mount)| (path.clone(), mount.clone())).collect();
    let (sender, receiver) = mpsc::channel();
    let root = root.clone();
    thread::spawn(move || {
        for (path, mount) in paths {
            let is_gone = is_gone(&root, &path);
            // Nobody may wait for more.
            if sender.send((path, mount, is_gone)).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let left = || deadline.saturating_duration_since(Instant::now());
    let answers = std::iter::from_fn(|| receiver.recv_timeout(left()).ok());
    answers.filter(|(.., is_gone)| *is_gone).map(|(path, mount, _)| (path, mount)).collect()
}

/// Whether what a path was on is there. That may be mounted by looking at it.
fn is_mounted(root: &Root, mounts: &Tree, path: &Path, point: &Path) -> bool {
    let [at, point] = [path, point].map(|path| root.join(&TreePath::new(path)));
    let mount = at.parent().and_then(|above| mounts.mount(above));
    !root.is_host() || mount.is_some_and(|mount| mount.point == point && mount.kind != AUTOFS)
}

fn is_gone(root: &Root, path: &Path) -> bool {
    fs::symlink_metadata(root.join(&TreePath::new(path))).is_err_and(|e| e.kind() == ErrorKind::NotFound)
}

fn write(root: &Root, paths: &Paths) -> Result<()> {
    let mut text = Vec::new();
    for (path, mount) in paths {
        escape(path, &mut text);
        text.push(b' ');
        escape(mount, &mut text);
        text.push(b'\n');
    }
    let path = root.join(GOT);
    files::replace(&path, &text, 0o600)?;
    files::sync_directory(path.parent().unwrap_or(Path::new("/")))
}

fn parse(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    let paths = (mounts::unescape(&line[..at]), mounts::unescape(&line[at + 1..]));
    (paths.0.is_absolute() && paths.1.is_absolute()).then_some(paths)
}

fn escape(path: &Path, text: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\n' | b'\\' => text.extend(format!("\\{byte:03o}").bytes()),
            _ => text.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::kill_point::testing::kill_after;
    use std::ffi::OsStr;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn paths(paths: &[(&str, &str)]) -> Paths {
        paths.iter().map(|(path, mount)| (path.into(), mount.into())).collect()
    }

    #[test]
    fn what_was_recorded_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(read(&root).unwrap(), Paths::new());
        add(&root, Paths::new()).unwrap();
        assert!(!root.join(GOT).exists());
        let odd = Paths::from([(OsStr::from_bytes(b"/a b\n/\\c\xff").into(), "/d e".into())]);
        add(&root, odd.clone()).unwrap();
        assert_eq!(read(&root).unwrap(), odd);
        add(&root, paths(&[("/srv/app", "/")])).unwrap();
        let all: Paths = odd.into_iter().chain(paths(&[("/srv/app", "/")])).collect();
        assert_eq!(read(&root).unwrap(), all);
        let path = root.join(GOT);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // What is known costs no write.
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        add(&root, paths(&[("/srv/app", "/srv")])).unwrap();
        assert_eq!((read(&root).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()), (all, written));
        fs::write(&path, "\n/srv/x\nsrv /\n\0\0\0\n/srv/y /\n/srv/z srv").unwrap();
        assert_eq!(read(&root).unwrap(), paths(&[("/srv/y", "/")]));
    }

    #[test]
    fn killed_after_any_step_nothing_is_forgotten() {
        for step in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::new(dir.path());
            add(&root, paths(&[("/srv/a", "/")])).unwrap();
            let new = paths(&[("/srv/b", "/")]);
            let is_done = kill_after(step, || add(&root, new.clone()).unwrap()).is_some();
            let known = read(&root).unwrap();
            assert!(known.contains_key(Path::new("/srv/a")) && known.len() == 2 || !is_done, "{step}");
            add(&root, new).unwrap();
            assert_eq!(read(&root).unwrap(), paths(&[("/srv/a", "/"), ("/srv/b", "/")]));
            if is_done {
                assert!(step > 0);
                return;
            }
        }
        panic!("it was never done");
    }

    #[test]
    fn only_what_is_gone_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(dir.path().join("srv/app")).unwrap();
        symlink("none", dir.path().join("srv/link")).unwrap();
        add(&root, paths(&[("/srv/app", "/"), ("/srv/link", "/"), ("/srv/none", "/")])).unwrap();
        assert_eq!(prune(&root, true).unwrap(), 2);
        assert_eq!(read(&root).unwrap().len(), 3);
        assert_eq!(prune(&root, false).unwrap(), 2);
        assert_eq!(read(&root).unwrap(), paths(&[("/srv/app", "/"), ("/srv/link", "/")]));
        fs::remove_dir_all(dir.path().join("srv")).unwrap();
        assert_eq!(prune(&root, false).unwrap(), 0);
        assert!(!root.join(GOT).exists());
        // As long as the file system is not there, nothing is known of what is on it.
        let host = Root::default();
        let mounts = Tree::parse(
            b"1 0 8:1 / / rw - x x rw\n2 1 8:2 / /proc rw - x x rw\n3 1 0:3 / /sys rw - autofs x rw\n",
        );
        let gone = |path: &str, mount: &str| {
            is_mounted(&host, &mounts, path.as_ref(), mount.as_ref()) && is_gone(&host, path.as_ref())
        };
        assert!(!gone("/sys/none", "/sys"), "it may be mounted by looking at it");
        assert!(gone("/proc/none", "/proc") && gone("/none", "/") && !gone("/proc/self", "/proc"));
        assert!(!gone("/mnt-none/app", "/mnt-none") && !gone("/proc/none", "/"));
    }
}
