//! What is known of what payloads write to, whatever its paths are.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn tree() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for path in ["srv/app/sub", "secret", "var/home/app"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    for (link, target) in [
        ("srv/link", "/srv/app"),
        ("home", "var/home"),
        ("srv/app/out", "/secret"),
        ("srv/app/env", "/secret/env"),
    ] {
        symlink(target, dir.path().join(link)).unwrap();
    }
    fs::write(dir.path().join("secret/env"), "TOKEN=1").unwrap();
    fs::write(dir.path().join("srv/app/sub/env"), "A=1").unwrap();
    let root = Root::new(dir.path());
    (dir, root)
}

fn got(written: &[&str], all: &[&str]) -> Got {
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
    Got { written: paths(written), all: paths(all), recorded: BTreeSet::new() }
}

#[test]
fn links_of_the_host_are_followed_and_those_of_payloads_are_not() {
    let (_dir, root) = tree();
    let untrusted = Untrusted::new(&root, &got(&["/srv/app", "/home/app", "/none"], &[]), &[]).unwrap();
    for (path, place, outer) in [
        ("/srv/app/sub", "/srv/app/sub", Some("/srv/app")),
        ("/srv/link/sub", "/srv/app/sub", Some("/srv/app")),
        ("/srv/link/out/x", "/srv/app/out/x", Some("/srv/app")),
        ("/srv/link", "/srv/app", None),
        ("/var/home/app/x", "/var/home/app/x", Some("/var/home/app")),
        ("/home/app/x", "/var/home/app/x", Some("/var/home/app")),
        ("/none/x", "/none/x", Some("/none")),
        ("/home", "/var/home", None),
    ] {
        let outer = outer.map(TreePath::from);
        assert_eq!(
            untrusted.find(&root, path.as_ref()).unwrap(),
            Way { path: place.into(), outer },
            "{path}"
        );
    }
    let all = Untrusted::default().find(&root, "/srv/app/out".as_ref()).unwrap();
    assert_eq!(all, Way { path: "/secret".into(), outer: None });
}

#[test]
fn files_are_read_where_they_are() {
    let (_dir, root) = tree();
    let untrusted = Untrusted::new(&root, &got(&["/srv/app"], &[]), &[]).unwrap();
    let read =
        |untrusted: &Untrusted, path: &str| untrusted.find(&root, path.as_ref()).unwrap().read(&root, 9);
    assert_eq!(read(&untrusted, "/srv/link/sub/env").unwrap().unwrap(), b"A=1");
    assert_eq!(read(&untrusted, "/srv/app/none").unwrap(), None);
    assert_eq!(read(&Untrusted::default(), "/srv/app/env").unwrap().unwrap(), b"TOKEN=1");
    for path in ["/srv/app/env", "/srv/link/out/env"] {
        let error = read(&untrusted, path).unwrap_err().to_string();
        assert!(error.contains("a symlink leads to it, and none is followed in /srv/app"), "{error}");
    }
}

/// A tree whose mounts are these: device, place, mount point, options, type, and so on.
fn mounted(root: &Root, lines: &[&str]) -> Tree {
    let dir = root.path().canonicalize().unwrap();
    let lines = lines.iter().enumerate().map(|(number, line)| {
        let [device, inside, point, rest] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!() };
        let point = if point == "/" { "" } else { point };
        let point = format!("{}{point}", dir.display());
        format!(
            "{} {} {device} {inside} {point} {}\n",
            number + 2,
            if number == 0 { 1 } else { 2 },
            rest.replace("DIR", &dir.to_string_lossy())
        )
    });
    Tree::parse(format!("1 0 9:9 / / rw - x x rw\n{}", lines.collect::<String>()).as_bytes())
}

const FIRST: &str = "8:1 / / rw - ext4 x rw";

#[test]
fn what_is_written_to_is_known_through_every_mount() {
    let (dir, _) = tree();
    let root = Root::new(dir.path().canonicalize().unwrap());
    for path in ["a/b/c", "m/x/y"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    for (mounts, written, all, path, expected) in [
        // The directory itself, one in it, and one that it is in.
        (&["8:1 /srv/app /a rw - ext4 x rw"][..], "/srv/app", "", "/a/b/c", Some("/a")),
        (&["8:1 /srv/app/sub /a/b rw - ext4 x rw"], "/srv/app", "", "/a/b/c", Some("/a/b")),
        (&["8:1 /srv /a rw - ext4 x rw"], "/srv/app", "", "/a/app/c", Some("/a/app")),
        (&["8:1 /srv /a rw - ext4 x rw"], "/a/app", "", "/srv/app/c", Some("/srv/app")),
        (&["8:1 /srv/app/sub /a/b rw - ext4 x rw"], "/a/b", "", "/srv/app/sub/c", Some("/srv/app/sub")),
        // Neither its neighbour, nor the same path on another file system.
        (&["8:1 /srv/app2 /a rw - ext4 x rw"], "/srv/app", "", "/a/b/c", None),
        (&["8:2 /srv/app /a rw - ext4 x rw"], "/srv/app", "", "/a/b/c", None),
        // Two mounts of one file system, of which neither shows the other's place; subvolumes.
        (&["8:2 /one /a rw - ext4 x rw", "8:2 /one/x /m rw - ext4 x rw"], "/a", "", "/m/x/y", Some("/m")),
        (
            &["0:9 /@/one /a rw - btrfs x rw", "0:9 /@ /m rw - btrfs x rw"],
            "/a",
            "",
            "/m/one/y",
            Some("/m/one"),
        ),
        (&["0:9 /@/one /a rw - btrfs x rw", "0:9 /@ /m rw - btrfs x rw"], "/a", "", "/m/x/y", None),
        // What is mounted in it is got with it, even if the directory is read-only, but not if that is.
        (&["8:2 / /a/b rw - ext4 x rw", "8:2 /x /m rw - ext4 x rw"], "/a", "", "/m/x/y", Some("/m")),
        (&["8:2 / /a/b rw - ext4 x rw", "8:2 /x /m rw - ext4 x rw"], "", "/a", "/m/x/y", Some("/m")),
        (&["8:2 / /a/b ro - ext4 x rw", "8:2 /x /m rw - ext4 x rw"], "/none", "/a", "/m/x/y", None),
        // A file that is mounted is not a directory of anything.
        (&["8:1 /srv/app/f /a/b rw - ext4 x rw"], "/a/b", "", "/srv/app/sub", None),
        // The layers of an overlay, and the overlay.
        (&["0:9 / /m rw - overlay o rw,lowerdir=/l:DIR/a,upperdir=/u"], "/a/b", "", "/m/b/c", Some("/m/b")),
        (&["0:9 / /m rw - overlay o rw,lowerdir=/l,upperdir=DIR/a"], "/m/b", "", "/a/b/c", Some("/a/b")),
        (&["0:9 / /m rw - overlay o rw,lowerdir=/l,upperdir=DIR/a"], "/srv/app", "", "/m/b/c", None),
        (&["0:9 / /m rw - overlay o rw,lowerdir=l:m,upperdir=u"], "/srv/app", "", "/m/b/c", Some("/m")),
        // An overlay, and another host, mounted in it.
        (&["0:9 / /a/b rw - overlay o rw,lowerdir=/l,upperdir=DIR/m"], "/a", "", "/m/x/y", Some("/m")),
        (&["0:9 / /a/b rw - overlay o rw,lowerdir=/l,upperdir=DIR/m"], "/srv", "", "/m/x/y", None),
        (
            &["0:9 /y /a/b rw - overlay o rw,lowerdir=/l,upperdir=DIR/m/x"],
            "/a",
            "",
            "/m/x/y/z",
            Some("/m/x/y"),
        ),
        (&["0:9 /y /a/b rw - overlay o rw,lowerdir=/l,upperdir=DIR/m/x"], "/a", "", "/m/x/z", None),
        (&["0:9 / /a/b rw - overlay o rw,lowerdir=DIR/m,upperdir=/u"], "/a", "", "/m/x/y", None),
        (&["0:9 / /a/b rw - fuse.bindfs DIR/m rw,user_id=0"], "/a", "", "/m/x/y", Some("/m")),
        (&["0:9 / /m rw - nfs h:/x rw", "0:8 / /a/b rw - nfs h:/ rw"], "/a", "", "/m/x/y", Some("/m")),
        // What cannot be decided.
        (&["0:9 / /m rw - fuse.bindfs DIR/a rw"], "/srv/app", "", "/m/x/y", Some("/m")),
        (&["0:9 / /m rw - fuse DIR/a rw,user_id=0"], "/m/b", "", "/a/b/c", Some("/a/b")),
        // Users say what they like, and nothing else is concerned.
        (&["0:9 / /m rw - fuse / rw,user_id=1000"], "/m", "", "/a/b/c", None),
        (&["0:9 / /m rw - fuse / rw,user_id=1000"], "", "/", "/m/b/c", Some("/m")),
        (&["0:9 / /m rw - nfs host:/x rw", "0:8 / /a rw - nfs host:/ rw"], "/a/x", "", "/m/x/y", Some("/m")),
        (&["0:9 / /m rw - nfs host:/x rw"], "/srv/app", "", "/m/x/y", None),
    ] {
        let lines: Vec<_> = [FIRST].into_iter().chain(mounts.iter().copied()).collect();
        let one = |path| [path].into_iter().filter(|path: &&str| !path.is_empty()).collect::<Vec<_>>();
        let got = got(&one(written), &one(all));
        let untrusted = Untrusted::by(&root, (mounted(&root, &lines), None), &got, &[]);
        let way = untrusted.find(&root, path.as_ref()).unwrap();
        assert_eq!(way.outer, expected.map(TreePath::from), "{mounts:?} {written} {all} {path}");
    }
}

#[test]
fn mounts_of_the_host_count_for_units_with_their_own() {
    let (dir, _) = tree();
    let root = Root::new(dir.path().canonicalize().unwrap());
    let host = || mounted(&root, &[FIRST, "8:2 / /m rw - ext4 x rw"]);
    let here = || mounted(&root, &[FIRST, "8:2 /app/www /a rw - ext4 x rw"]);
    let of = |here: Tree, host: Option<Tree>| {
        let untrusted = Untrusted::by(&root, (here, host), &got(&["/m/app"], &[]), &[]);
        untrusted.find(&root, "/a/b".as_ref()).unwrap().outer
    };
    assert_eq!([of(here(), Some(host())), of(here(), None)], [Some("/a".into()), None]);
}

#[test]
fn links_in_one_are_not_followed_to_another_one() {
    let (_dir, root) = tree();
    let untrusted = Untrusted::new(&root, &got(&["/srv/app", "/srv/app/out"], &[]), &[]).unwrap();
    let outer = |path: &str| untrusted.find(&root, path.as_ref()).unwrap().outer;
    assert_eq!([outer("/srv/app/out/x"), outer("/secret/env")], [Some("/srv/app".into()), None]);
}

#[test]
fn names_are_all_that_lead_there() {
    let (dir, _) = tree();
    let root = Root::new(dir.path().canonicalize().unwrap());
    let lines = [
        FIRST,
        "8:1 /srv /a rw - ext4 x rw",
        "8:1 /srv/app/sub /m rw - ext4 x rw",
        "8:2 / /srv/app/disk rw - ext4 x rw",
        "8:2 /in /etc/in rw - ext4 x rw",
        "0:9 / /srv/app/o rw - overlay o rw,lowerdir=/l,upperdir=DIR/var/home,workdir=/w",
        "0:8 / /srv/app/r rw - overlay o rw,lowerdir=/l,upperdir=DIR/var/lib/containers/atomic/.x.scratch/upper",
    ];
    let user = "0:11 / /srv/app/user rw - fuse.x /srv/x rw,user_id=1000,group_id=0";
    let lines: Vec<_> = lines.into_iter().chain([user]).collect();
    let names = |written: &[&str], all: &[&str], shared: &[&str]| {
        let got = got(written, all);
        let untrusted = Untrusted::by(&root, (mounted(&root, &lines), None), &got, shared);
        let names = untrusted.names(&root, &got).into_iter();
        names.map(|(path, mount)| format!("{} {}", path.display(), mount.display())).collect::<Vec<_>>()
    };
    let disk = ["/etc/in /", "/srv/app/disk /"];
    let overlay = ["/srv/app/o /", "/var/home /"];
    assert_eq!(
        names(&["/srv/link"], &["/srv/link"], &[]),
        ["/a/app /a", disk[0], "/m /", "/srv/app /", disk[1], overlay[0], overlay[1]]
    );
    assert_eq!(names(&[], &["/srv"], &["/srv"]), [disk, overlay].concat());
    assert_eq!(names(&[], &["/srv"], &["/srv/app/disk"]), overlay);
}

#[test]
fn directories_above_are_asked_for_once() {
    let root = Root::new("/none");
    crate::steps::assert_linear("a deep path", |depth| {
        let here = Tree::parse(b"1 0 8:1 / / rw - ext4 x rw\n");
        let untrusted = Untrusted::by(&root, (here, None), &got(&["/srv"], &[]), &[]);
        untrusted.find(&root, Path::new(&"/a".repeat(depth))).unwrap();
    });
}

/// What would be triggered or waited for by looking at it.
#[test]
fn what_is_recorded_is_not_looked_at() {
    let (_dir, root) = tree();
    let recorded = ["/srv/app/out", "/srv/app/sub"].map(PathBuf::from);
    let recorded = Got { recorded: recorded.into(), ..Got::default() };
    let untrusted = Untrusted::new(&root, &recorded, &[]).unwrap();
    let outer = |path: &str| untrusted.find(&root, path.as_ref()).unwrap().outer;
    // One is a symlink by now, which nothing has read.
    let found = [outer("/secret/env"), outer("/srv/link/sub/x")];
    assert_eq!(found, [None, Some("/srv/app/sub".into())]);
    let (dir, _) = tree();
    let root = Root::new(dir.path().canonicalize().unwrap());
    let lines = [FIRST, "8:2 / /a/b rw - ext4 x rw", "8:2 /x /m rw - ext4 x rw"];
    let recorded = Got { recorded: [PathBuf::from("/a")].into(), ..Got::default() };
    let untrusted = Untrusted::by(&root, (mounted(&root, &lines), None), &recorded, &[]);
    assert_eq!(untrusted.find(&root, "/m/x".as_ref()).unwrap().outer, Some("/m".into()));
}
