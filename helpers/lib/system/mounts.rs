//! Mount points as this process sees them: `mountinfo` in proc(5).
//!
//! Removing a directory must not remove the files of another file system that is mounted in it. And a hard link cannot
//! cross a mount, not even within one file system; but both names may be visible through another mount of it. Which place of
//! a file system a path leads to is for [`crate::system::mount_tree`].

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

const TABLE: &str = "/proc/self/mountinfo";
/// The option of a file system in userspace that root has mounted.
const ROOTS: &[u8] = b"user_id=0";
/// Type of a file system that shows files of others.
pub const OVERLAY: &str = "overlay";

/// What cannot be done through a mount; the fields are JSON keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrictions {
    /// Nothing can be written.
    pub ro: bool,
    /// Setuid programs and file capabilities give nothing.
    pub nosuid: bool,
    /// Devices cannot be used.
    pub nodev: bool,
    /// Programs cannot be run.
    pub noexec: bool,
}

impl Restrictions {
    /// Those among the options of a mount. Of two that contradict each other, the last one counts.
    pub fn of<'a>(options: impl IntoIterator<Item = &'a str>) -> Restrictions {
        let mut found = Restrictions { ro: false, nosuid: false, nodev: false, noexec: false };
        for option in options {
            match option {
                "ro" | "rw" => found.ro = option == "ro",
                "nosuid" | "suid" => found.nosuid = option == "nosuid",
                "nodev" | "dev" => found.nodev = option == "nodev",
                "noexec" | "exec" => found.noexec = option == "noexec",
                _ => {}
            }
        }
        found
    }

    /// The first one that others have in addition.
    pub fn lacks(self, others: Restrictions) -> Option<&'static str> {
        let pairs = [
            ("ro", self.ro, others.ro),
            ("nosuid", self.nosuid, others.nosuid),
            ("nodev", self.nodev, others.nodev),
            ("noexec", self.noexec, others.noexec),
        ];
        pairs.into_iter().find(|(_, here, there)| *there && !here).map(|(option, _, _)| option)
    }
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// The mount that it is mounted on.
    pub parent: u64,
    /// Number of the file system's device.
    pub device: String,
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type of the file system, as in `/proc/filesystems`.
    pub kind: String,
    /// Directories that its files are kept in, if it shows those of others: as they were given, so they may be relative to
    /// whatever.
    pub layers: Vec<PathBuf>,
    /// The one of these that an overlay writes to.
    pub upper: Option<PathBuf>,
    /// Whether a user of this host made it, who decides all that it says of itself, and where it is.
    pub is_of_user: bool,
    /// What cannot be done through it. Nothing can be written to a file system that is read-only itself, either.
    pub restrictions: Restrictions,
    /// Whether what is mounted in it is also mounted elsewhere, or the other way round.
    pub is_propagated: bool,
}

/// Finds a mount point at or below `path`.
pub fn find(path: &Path) -> Result<Option<PathBuf>> {
    // The paths in the table have no symlinks. Nothing is mounted in a directory that does not exist.
    let Ok(path) = fs::canonicalize(path) else { return Ok(None) };
    Ok(table()?.into_iter().map(|mount| mount.point).find(|point| point.starts_with(&path)))
}

/// Returns paths of the same two directories that are on one mount, so that files can be linked from one to the other;
/// `None` if there is no such mount.
pub fn common_paths(one: &Path, other: &Path) -> Option<(PathBuf, PathBuf)> {
    let (one, other) = (fs::canonicalize(one).ok()?, fs::canonicalize(other).ok()?);
    let mounts = table().ok()?;
    let (of_one, of_other) = (mount_of(&mounts, &one)?, mount_of(&mounts, &other)?);
    if std::ptr::eq(of_one, of_other) {
        return Some((one, other));
    }
    if of_one.device != of_other.device {
        return None;
    }
    let inside = |mount: &Mount, path: &Path| Some(mount.root.join(path.strip_prefix(&mount.point).ok()?));
    let (inside_one, inside_other) = (inside(of_one, &one)?, inside(of_other, &other)?);
    let is_seen = |path: &Path, mount: &Mount, original: &Path| {
        mount_of(&mounts, path).is_some_and(|found| std::ptr::eq(found, mount)) && is_same(path, original)
    };
    mounts.iter().filter(|mount| mount.device == of_one.device).find_map(|mount| {
        let seen = |inside: &Path| Some(mount.point.join(inside.strip_prefix(&mount.root).ok()?));
        let paths = (seen(&inside_one)?, seen(&inside_other)?);
        (is_seen(&paths.0, mount, &one) && is_seen(&paths.1, mount, &other)).then_some(paths)
    })
}

/// Gives this thread, and those and the programs that it starts, a mount namespace of its own. Mounts of the host still
/// appear in it, but not the other way round.
pub fn unshare() -> nix::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
}

/// Lets this thread, and those that it starts, write to the file system at `path` if it is mounted read-only there.
/// Nobody else can.
pub fn make_writable(path: &Path) -> Result<()> {
    let what = || format!("cannot make {} writable", path.display());
    if !statvfs(path).context(what)?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let mounts = table()?;
    let path = fs::canonicalize(path).context(what)?;
    let found = mount_of(&mounts, &path).ok_or_else(|| Error::new("it is on no mount")).context(what)?;
    unshare().context(what)?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(None::<&str>, &found.point, None::<&str>, flags, None::<&str>).context(what)
}

/// Device and inode of what a path leads to, by which it is known whatever its paths are; `None` if there is nothing.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether two paths lead to the same file.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let one = identity(one);
    one.is_some() && one == identity(other)
}

/// The mount that a path without symlinks is on: of those with the longest mount point, the last one.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// The mounts that this process sees.
pub fn table() -> Result<Vec<Mount>> {
    Ok(parse_all(&fs::read(TABLE).context(|| format!("cannot read {TABLE}"))?))
}

/// The mounts of a table, in its order.
pub fn parse_all(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

/// Fails if anything is mounted at or below `path`.
pub fn refuse(path: &Path) -> Result<()> {
    match find(path)? {
        Some(point) => Err(Error::new(format!("{} is a mount point; unmount that first", point.display()))),
        None => Ok(()),
    }
}

/// A line of the table: ID, ID of the parent, device, root, mount point, options of the mount, fields of which there is
/// any number, `-`, type, source, and options of the file system.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let device = String::from_utf8_lossy(fields.next()?).into_owned();
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    let mut restrictions = restrictions(fields.next()?);
    let is_propagating = |field: &[u8]| {
        [&b"shared:"[..], b"master:", b"propagate_from:"].iter().any(|tag| field.starts_with(tag))
    };
    let is_propagated =
        fields.by_ref().take_while(|field| field != b"-").filter(|field| is_propagating(field)).count() > 0;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let (source, options) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    restrictions.ro |= self::restrictions(options).ro;
    let is_of_user = is_in_userspace(&kind) && !options.split(|byte| *byte == b',').any(|one| one == ROOTS);
    let layers = if is_of_user { Vec::new() } else { layers(&kind, source, options) };
    let upper = if kind == OVERLAY { upper(options) } else { None };
    Some(Mount {
        id,
        parent,
        device,
        root,
        point,
        kind,
        layers,
        upper,
        is_of_user,
        restrictions,
        is_propagated,
    })
}

fn upper(options: &[u8]) -> Option<PathBuf> {
    options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"upperdir=")).map(unescape)
}

/// The directories that an overlay was made of, or that a file system in userspace says that it shows.
fn layers(kind: &str, source: &[u8], options: &[u8]) -> Vec<PathBuf> {
    if kind == OVERLAY {
        let options = options.split(|byte| *byte == b',').map(unescape);
        return options.flat_map(|option| layers_of(option.as_os_str().as_bytes())).collect();
    }
    let shown = if is_in_userspace(kind) { unescape(source) } else { PathBuf::new() };
    let paths = split_layers(shown.as_os_str().as_bytes());
    paths.into_iter().filter(|path| path.is_absolute()).collect()
}

fn layers_of(option: &[u8]) -> Vec<PathBuf> {
    let end = option.iter().position(|byte| *byte == b'=').unwrap_or(option.len());
    match (&option[..end], option.get(end + 1..)) {
        (b"upperdir" | b"lowerdir+" | b"datadir+", Some(path)) => {
            vec![PathBuf::from(OsStr::from_bytes(path))]
        }
        (b"lowerdir", Some(paths)) => split_layers(paths),
        _ => Vec::new(),
    }
}

/// Paths with colons between them; `\` makes the next byte one of the path.
fn split_layers(paths: &[u8]) -> Vec<PathBuf> {
    let (mut found, mut path) = (Vec::new(), Vec::new());
    let mut bytes = paths.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => path.extend(bytes.next()),
            b':' => found.push(std::mem::take(&mut path)),
            _ => path.push(*byte),
        }
    }
    found.push(path);
    found.into_iter().filter(|path| !path.is_empty()).map(|path| OsString::from_vec(path).into()).collect()
}

/// Whether a program shows the files of a file system, and may have them from anywhere.
pub fn is_in_userspace(kind: &str) -> bool {
    kind == "fuse" || kind.starts_with("fuse.")
}

fn restrictions(options: &[u8]) -> Restrictions {
    Restrictions::of(
        options.split(|byte| *byte == b',').filter_map(|option| std::str::from_utf8(option).ok()),
    )
}

/// Blanks, newlines and backslashes are written as octal escapes.
pub fn unescape(field: &[u8]) -> PathBuf {
    let (mut path, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let octal = if *first == b'\\' { after.get(..3) } else { None };
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mount_points() {
        let point = |line: &str| parse(line.as_bytes()).map(|mount| mount.point);
        assert_eq!(point("22 1 0:4 / /proc rw,nosuid - proc proc rw"), Some("/proc".into()));
        assert_eq!(point(r"22 1 0:4 / /a\040b\134\011 rw - x x rw"), Some("/a b\\\t".into()));
        assert_eq!(point(r"22 1 0:4 / /a\0 rw - x x rw"), Some(r"/a\0".into()));
        assert_eq!(point(""), None);
        assert_eq!(find(Path::new("/proc")).unwrap(), Some("/proc".into()));
        assert!(refuse(Path::new("/proc")).is_err());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()).unwrap(), None);
        assert_eq!(find(&dir.path().join("none")).unwrap(), None);
    }

    #[test]
    fn types_and_what_is_read_only() {
        let table = "1 0 0:4 / /a rw,ro-x shared:1 master:2 - tmpfs  rw,size=1k\n2 0 0:4 /x /b ro - ext4 /dev/x rw\n\
            3 0 0:4 / /c rw - proc proc ro,x\n4 0 0:4 / /d rw\n";
        let found = parse_all(table.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|mount| (mount.kind.as_str(), mount.restrictions.ro, mount.is_propagated))
            .collect();
        assert_eq!(found, [("tmpfs", false, true), ("ext4", true, false), ("proc", true, false)]);
    }

    #[test]
    fn layers_of_overlays_are_paths() {
        let layers = |rest: &str| parse(format!("7 1 0:4 / /a rw - {rest}").as_bytes()).unwrap().layers;
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let overlay = r"overlay /x rw,lowerdir=/a\040b:l/B:/c\134:d,upperdir=/u:1,workdir=/w,index=off";
        assert_eq!(layers(overlay), paths(&["/a b", "l/B", "/c:d", "/u:1"]));
        let upper = |rest: &str| parse(format!("7 1 0:4 / /a rw - {rest}").as_bytes()).unwrap().upper;
        assert_eq!(upper(overlay), Some("/u:1".into()));
        assert_eq!([upper("overlay o rw,lowerdir=/l"), upper("ext4 /dev/x rw,upperdir=/u")], [None, None]);
        assert_eq!(
            layers("overlay o rw,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d"),
            paths(&["/a:b", "/c", "/d"])
        );
        assert_eq!(layers("fuse /srv/app rw,user_id=0,group_id=0"), paths(&["/srv/app"]));
        assert_eq!(layers("fuse.mergerfs /d/1:/d/2 rw,user_id=0"), paths(&["/d/1", "/d/2"]));
        // Users name whatever they like.
        for user in ["user_id=1000,group_id=0", "user_id=00", "default_permissions"] {
            assert_eq!(layers(&format!("fuse.x / rw,{user}")), paths(&[]), "{user}");
        }
        assert_eq!(
            [
                layers("fuse.sshfs host: rw,user_id=0"),
                layers("ext4 /dev/sda rw"),
                layers("fuseblk /dev/sdb rw")
            ],
            [const { Vec::<PathBuf>::new() }; 3]
        );
    }

    #[test]
    fn restrictions_are_told_apart() {
        let all = Restrictions::of(["rbind", "ro", "nosuid", "nodev", "noexec"]);
        for (options, lacks) in [
            ("ro,nosuid,nodev,noexec,relatime", None),
            ("rw,nosuid,nodev,noexec", Some("ro")),
            ("ro,nodev,noexec", Some("nosuid")),
            ("ro,nosuid,noexec", Some("nodev")),
            ("ro,nosuid,nodev,exec", Some("noexec")),
            ("ro,rw,nosuid,nodev,noexec", Some("ro")),
        ] {
            assert_eq!(Restrictions::of(options.split(',')).lacks(all), lacks, "{options}");
            assert_eq!(all.lacks(Restrictions::of(options.split(','))), None);
        }
    }

    #[test]
    fn the_mount_of_a_path_is_the_innermost_and_last_one() {
        let mounts: Vec<Mount> =
            ["1 0 8:1 / / rw", "2 1 8:2 / /a rw", "3 1 8:3 /x /a/b rw", "4 1 8:4 / /a rw"]
                .iter()
                .filter_map(|line| parse(format!("{line} - x x rw").as_bytes()))
                .collect();
        let device = |path: &str| mount_of(&mounts, Path::new(path)).unwrap().device.clone();
        assert_eq!(["/ab", "/a", "/a/c", "/a/b/c"].map(device), ["8:1", "8:4", "8:4", "8:3"]);
        assert_eq!(mounts[2].root, Path::new("/x"));
    }

    #[test]
    fn directories_of_one_mount_have_common_paths() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::create_dir(&one).unwrap();
        assert_eq!(common_paths(&one, &other), None);
        std::os::unix::fs::symlink(&one, &other).unwrap();
        let one = one.canonicalize().unwrap();
        assert_eq!(common_paths(&one, &other), Some((one.clone(), one.clone())));
        assert_eq!(common_paths(&one, Path::new("/proc")), None);
    }
}
