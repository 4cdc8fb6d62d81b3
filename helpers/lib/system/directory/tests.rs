//! What is found below a directory, and what is not.

use std::io::Read;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn symlinks_are_not_followed_to_children() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    symlink("/etc", dir.path().join("a/etc")).unwrap();
    symlink("b", dir.path().join("a/near")).unwrap();
    let a = Directory::open(dir.path()).unwrap().child("a".as_ref()).unwrap();
    assert!(a.child("b".as_ref()).is_ok() && a.child_of_same_mount("b".as_ref()).is_ok());
    for name in ["etc", "near", "..", "/", "b/..", "none"] {
        assert!(a.child(name.as_ref()).is_err(), "{name}");
    }
    assert!(a.make_child("etc".as_ref(), 0o700).is_err());
    assert_eq!(kind_name(&a.stat_of("near".as_ref()).unwrap().unwrap()), "a symlink");
    assert!(a.stat_of("none".as_ref()).unwrap().is_none());
}

#[test]
fn only_what_was_made_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    directory.make_new("new".as_ref(), 0o700).unwrap().unwrap();
    assert!(directory.make_new("new".as_ref(), 0o700).unwrap().is_none());
    symlink("new", dir.path().join("link")).unwrap();
    assert!(directory.make_new("link".as_ref(), 0o700).unwrap().is_none());
    // What another one has put there by then.
    assert!(directory.just_made("new".as_ref(), 0o700).is_ok());
    std::fs::create_dir_all(dir.path().join("protected/of-the-host")).unwrap();
    std::fs::create_dir(dir.path().join("open")).unwrap();
    for (name, mode) in [("protected", 0o700), ("open", 0o755), ("link", 0o700)] {
        if name != "link" {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(dir.path().join(name), mode).unwrap();
        }
        assert!(directory.just_made(name.as_ref(), 0o700).is_err(), "{name}");
    }
}

#[test]
fn links_lead_nowhere_but_inside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("run/app")).unwrap();
    std::fs::create_dir_all(dir.path().join("var")).unwrap();
    symlink("/run", dir.path().join("var/run")).unwrap();
    symlink("../../../../..", dir.path().join("up")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let root = Directory::open(dir.path()).unwrap();
    let inside = |path: &str| root.directory(Path::new(path), Links::Inside);
    let inode = |directory: Directory| directory.stat().unwrap().st_ino;
    let app = inode(inside("/run/app").unwrap());
    assert_eq!(inode(inside("/var/run/app").unwrap()), app);
    assert_eq!(inode(inside("/up/run/app").unwrap()), app);
    assert_eq!(inode(inside("/up").unwrap()), inode(inside("/").unwrap()));
    assert!(inside("/up/etc").is_err());
    assert!(inside("/loop").is_err());
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    let file = |name: &str| directory.file(name.as_ref(), Links::Refused);
    assert!(file("file").unwrap().is_some() && file("none").unwrap().is_none());
    for name in ["link", "fifo", "socket"] {
        assert!(Irregular::is(&file(name).unwrap_err()), "{name}");
    }
    assert_eq!(directory.names(2).unwrap().len(), 2);
    assert_eq!(directory.names(100).unwrap().len(), 4);
}

#[test]
fn the_way_to_a_file_has_no_links() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("var/lib/x")).unwrap();
    symlink("/etc", dir.path().join("var/lib/x/a")).unwrap();
    std::fs::write(dir.path().join("var/lib/x/file"), "").unwrap();
    let root = Root::new(dir.path());
    let parent = |path: &'static str| parent(&root, &path.into());
    assert_eq!(parent("/var/lib/x/a").unwrap().unwrap().1, "a");
    assert!(parent("/var/lib/none/b").unwrap().is_none());
    for (path, kind) in [
        ("/var/lib/x/a/passwd", "x/a: it is a symlink,"),
        ("/var/lib/x/file/b", "x/file: it is a regular file,"),
    ] {
        let error = parent(path).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot open the directory of {path}: ")) && error.contains(kind),
            "{error}"
        );
    }
    assert!(parent("/").is_err() && parent("/var/../etc").is_err());
}

/// The content of a file, or why it is not read.
fn read(directory: &Directory, path: &str, links: Links) -> Result<Option<String>, String> {
    let file = directory.file(Path::new(path), links).map_err(|e| e.to_string())?;
    Ok(file.map(|mut file| {
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        content
    }))
}

#[test]
fn where_links_are_refused_nothing_else_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    std::fs::create_dir_all(base.join("a/b")).unwrap();
    std::fs::create_dir_all(dir.path().join("out/b")).unwrap();
    for path in [base.join("a/b/file"), dir.path().join("out/file"), dir.path().join("out/b/file")] {
        std::fs::write(path, "x").unwrap();
    }
    for (link, to) in [
        ("to-out", "../out"),
        ("to-root", "/"),
        ("near", "a"),
        ("loop", "loop"),
        ("a/file", "b/file"),
        ("proc", "/proc/self/root"),
    ] {
        symlink(to, base.join(link)).unwrap();
    }
    nix::unistd::mkfifo(&base.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let directory = Directory::open(&base).unwrap();
    let read = |path: &str| read(&directory, path, Links::Refused);
    let find = |path: &str| directory.find_directory(Path::new(path), Links::Refused);
    assert_eq!(read("a/b/file"), Ok(Some("x".into())));
    for path in
        ["to-out/file", "to-out/b/file", "to-root/etc/passwd", "near/b/file", "loop/x", "proc/etc/passwd"]
    {
        assert_eq!(read(path), Ok(None), "{path}");
        assert!(find(Path::new(path).parent().unwrap().to_str().unwrap()).unwrap().is_none(), "{path}");
        assert!(directory.find(Path::new(path), Links::Refused).unwrap().is_none(), "{path}");
    }
    for path in ["fifo", "to-root", "near", "a", "a/file"] {
        assert_eq!(read(path), Err("it is not a regular file".into()), "{path}");
        assert!(directory.find(Path::new(path), Links::Refused).unwrap().is_some(), "{path}");
    }
    for path in ["../out/file", "a/../../out/file"] {
        assert!(read(path).is_err(), "{path}");
    }
    assert!(find("near/b").unwrap().is_none());
    let a = find("a").unwrap().unwrap();
    let mut names = a.names(usize::MAX).unwrap();
    names.sort();
    assert_eq!(names, ["b", "file"]);
    assert_eq!(a.link_target("file".as_ref()).unwrap(), Path::new("b/file"));
    a.hard_link("file".as_ref(), &dir.path().join("linked")).unwrap();
    assert_eq!(std::fs::read_link(dir.path().join("linked")).unwrap(), Path::new("b/file"));
}

#[test]
fn where_links_stay_below_nothing_else_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("below");
    std::fs::create_dir_all(below.join("a/b")).unwrap();
    std::fs::write(below.join("a/b/file"), "x").unwrap();
    std::fs::write(dir.path().join("file"), "out").unwrap();
    for (link, target) in [
        ("root", "/"),
        ("up", ".."),
        ("near", "a/b"),
        ("around", "a/../../file"),
        ("absolute", "/etc/passwd"),
        ("loop", "loop"),
        ("magic", "/proc/self/root"),
        ("to-file", "a/b/file"),
    ] {
        symlink(target, below.join(link)).unwrap();
    }
    nix::unistd::mkfifo(&below.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(below.join("socket")).unwrap();
    let directory = Directory::open(&below).unwrap();
    let read = |path: &str, links| read(&directory, path, links);
    for path in ["a/b/file", "near/file"] {
        assert_eq!(read(path, Links::OnTheWay), Ok(Some("x".into())), "{path}");
    }
    assert_eq!(read("to-file", Links::Below), Ok(Some("x".into())));
    assert_eq!(read("none/file", Links::Below), Ok(None));
    for (path, why) in [
        ("root/etc/passwd", "cross-device"),
        ("up/file", "cross-device"),
        ("around", "cross-device"),
        ("absolute", "cross-device"),
        ("../file", "cross-device"),
        ("/etc/passwd", "cross-device"),
        ("loop", "symbolic links"),
        ("magic/etc/passwd", ""),
        ("fifo", "not a regular file"),
        ("socket", "not a regular file"),
        ("a", "not a regular file"),
    ] {
        let error = read(path, Links::Below).unwrap_err();
        assert!(error.contains(why), "{path}: {error}");
    }
    assert!(read("to-file", Links::OnTheWay).unwrap_err().contains("not a regular file"));
    let find = |path: &str| directory.find_directory(Path::new(path), Links::OnTheWay);
    assert!(find("near").unwrap().is_none());
    assert!(find("root/etc").is_err());
    assert!(find("near/..").unwrap().is_some());
}
