use super::*;

#[test]
fn nothing_that_never_ends_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    assert_eq!(read_if_exists(&path).unwrap(), None);
    let why = || read_text_if_exists(&path).unwrap_err().to_string();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(why().ends_with("/file: it is not a regular file"), "{}", why());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(why().ends_with("/file: it is not a regular file"), "{}", why());
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(why().ends_with("it is larger than the limit of 65536 KiB"), "{}", why());
    fs::write(&path, b"\xff").unwrap();
    assert!(why().ends_with("it is not UTF-8"), "{}", why());
    fs::write(&path, "x").unwrap();
    assert_eq!(read_text_if_exists(&path).unwrap().unwrap(), "x");
}

#[test]
fn space_is_reserved_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("reserve"), dir.path().join("other"));
    fs::write(&other, "x").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    reserve(&path, 10).unwrap();
    reserve(&path, 10).unwrap();
    assert_eq!((fs::read_to_string(other).unwrap(), fs::read(path).unwrap().len()), ("x".into(), 10));
}

#[test]
fn what_a_removal_frees_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    for (file, size) in [("a/one", 1), ("a/b/two", 20), ("a/b/c/three", 300)] {
        fs::write(dir.path().join(file), vec![0; size]).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a/link")).unwrap();
    assert_eq!(own_size(dir.path()), 321);
    assert_eq!(own_size(&dir.path().join("a/b/two")), 20);
    fs::hard_link(dir.path().join("a/one"), dir.path().join("a/other")).unwrap();
    assert_eq!([own_size(dir.path()), own_size(&dir.path().join("a/link"))], [320, 0]);
    let mut left = 3;
    let mut size = 0;
    add_size(&Directory::open(&dir.path().join("a/b")).unwrap(), 0, &mut left, &mut size);
    assert_eq!((left, size), (0, 320));
    // Deeper than this, nothing counts.
    let mut size = 0;
    add_size(&Directory::open(dir.path()).unwrap(), DEPTH - 1, &mut 100, &mut size);
    assert_eq!(size, 0);
}
