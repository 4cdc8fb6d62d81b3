//! What is found below a directory, and what is not.

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
fn links_lead_nowhere_but_inside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("run/app")).unwrap();
    std::fs::create_dir_all(dir.path().join("var")).unwrap();
    symlink("/run", dir.path().join("var/run")).unwrap();
    symlink("../../../../..", dir.path().join("up")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let root = Directory::open(dir.path()).unwrap();
    let inode = |directory: Directory| directory.stat().unwrap().st_ino;
    let app = inode(root.inside(Path::new("/run/app")).unwrap());
    assert_eq!(inode(root.inside(Path::new("/var/run/app")).unwrap()), app);
    assert_eq!(inode(root.inside(Path::new("/up/run/app")).unwrap()), app);
    assert_eq!(inode(root.inside(Path::new("/up")).unwrap()), inode(root.inside(Path::new("/")).unwrap()));
    assert!(root.inside(Path::new("/up/etc")).is_err());
    assert!(root.inside(Path::new("/loop")).is_err());
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    assert!(directory.file("file".as_ref()).unwrap().is_some());
    for name in ["link", "fifo", "socket", "none"] {
        assert!(directory.file(name.as_ref()).unwrap().is_none(), "{name}");
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
