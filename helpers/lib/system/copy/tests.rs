use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

const LIMITS: Limits = Limits { entries: 100, depth: 3, bytes: 1 << 20 };

fn copy_in(dir: &Path, limits: Limits) -> Result<Skipped> {
    std::fs::create_dir(dir.join("target")).unwrap();
    let open = |name| Directory::open(&dir.join(name)).unwrap();
    copy(&open("source"), &open("target"), &mut Budget::new(limits, Space::new(dir, 0)))
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("source")).unwrap();
    dir
}

#[test]
fn copies_files_directories_and_links_as_they_are() {
    let dir = tree();
    let source = dir.path().join("source");
    std::fs::create_dir(source.join("sub")).unwrap();
    std::fs::write(source.join("sub/suid"), "x").unwrap();
    std::fs::set_permissions(source.join("sub/suid"), PermissionsExt::from_mode(0o4751)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::open(source.join("sub/suid")).unwrap().set_modified(old).unwrap();
    let attribute = "user.test";
    let has_attributes =
        fs::setxattr(source.join("sub/suid"), attribute, b"value", XattrFlags::empty()).is_ok();
    symlink("/etc", source.join("link")).unwrap();
    std::fs::set_permissions(&source, PermissionsExt::from_mode(0o2710)).unwrap();
    assert_eq!(copy_in(dir.path(), LIMITS).unwrap().count, 0);
    let target = dir.path().join("target");
    let suid = std::fs::metadata(target.join("sub/suid")).unwrap();
    assert_eq!((suid.mode() & 0o7777, suid.modified().unwrap()), (0o4751, old));
    assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o7777, 0o2710);
    assert_eq!(std::fs::read_link(target.join("link")).unwrap(), Path::new("/etc"));
    if has_attributes {
        let mut value = [0; 5];
        assert_eq!(fs::getxattr(target.join("sub/suid"), attribute, &mut value).unwrap(), 5);
        assert_eq!(&value, b"value");
    }
}

#[test]
fn skips_what_is_neither() {
    let dir = tree();
    let source = dir.path().join("source");
    nix::unistd::mkfifo(&source.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    // A FIFO that nobody writes to is not waited for.
    let skipped = copy_in(dir.path(), LIMITS).unwrap();
    assert_eq!((skipped.count, skipped.example), (1, source.join("socket")));
    let found: Vec<_> = std::fs::read_dir(dir.path().join("target")).unwrap().flatten().collect();
    assert!(found.len() == 1 && found[0].file_type().unwrap().is_fifo(), "{found:?}");
}

#[test]
fn holes_stay_holes() {
    let dir = tree();
    let file = File::create(dir.path().join("source/sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"end", (1 << 40) - 3).unwrap();
    copy_in(dir.path(), LIMITS).unwrap();
    let copy = std::fs::metadata(dir.path().join("target/sparse")).unwrap();
    assert!(copy.len() == 1 << 40 && copy.blocks() < 2048, "{} blocks", copy.blocks());
    let mut end = [0; 3];
    let file = File::open(dir.path().join("target/sparse")).unwrap();
    std::os::unix::fs::FileExt::read_at(&file, &mut end, (1 << 40) - 3).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn several_copies_have_one_budget() {
    let dir = tree();
    (0..60).for_each(|n| std::fs::write(dir.path().join("source").join(n.to_string()), "").unwrap());
    let mut budget = Budget::new(LIMITS, Space::new(dir.path(), 0));
    let open = |name| Directory::open(&dir.path().join(name)).unwrap();
    for (target, is_good) in [("first", true), ("second", false)] {
        std::fs::create_dir(dir.path().join(target)).unwrap();
        assert_eq!(copy(&open("source"), &open(target), &mut budget).is_ok(), is_good);
    }
}

#[test]
fn what_is_reserved_stays_free_of_copies() {
    let dir = tree();
    std::fs::write(dir.path().join("source/large"), vec![1; 2 << 20]).unwrap();
    std::fs::create_dir(dir.path().join("target")).unwrap();
    let open = |name| Directory::open(&dir.path().join(name)).unwrap();
    let limits = Limits { bytes: 4 << 20, ..LIMITS };
    let mut full = Budget::new(limits, Space::new(dir.path(), u64::MAX));
    let error = copy(&open("source"), &open("target"), &mut full).unwrap_err().to_string();
    assert!(error.starts_with("cannot copy ") && error.contains("is full: the last "), "{error}");
    assert_eq!(std::fs::metadata(dir.path().join("target/large")).unwrap().blocks(), 0);
}

#[test]
fn what_has_no_content_takes_space_as_well() {
    let make: [fn(&Path); 3] = [
        |path| std::fs::create_dir(path).unwrap(),
        |path| symlink("x", path).unwrap(),
        |path| std::fs::write(path, "").unwrap(),
    ];
    for make in make {
        let dir = tree();
        (0..100).for_each(|n| make(&dir.path().join("source").join(n.to_string())));
        std::fs::create_dir(dir.path().join("target")).unwrap();
        let open = |name| Directory::open(&dir.path().join(name)).unwrap();
        let mut full = Budget::new(LIMITS, Space::new(dir.path(), u64::MAX));
        let error = copy(&open("source"), &open("target"), &mut full).unwrap_err().to_string();
        assert!(error.starts_with("cannot copy ") && error.contains("is full: the last "), "{error}");
        assert!(std::fs::read_dir(dir.path().join("target")).unwrap().count() < 70);
    }
}

/// The payload may write to one of them.
#[test]
fn equal_files_of_an_image_are_not_one_file() {
    let dir = tree();
    let source = dir.path().join("source");
    std::fs::write(source.join("one"), "equal").unwrap();
    // As they are in a deployment.
    std::fs::hard_link(source.join("one"), source.join("other")).unwrap();
    copy_in(dir.path(), LIMITS).unwrap();
    std::fs::write(dir.path().join("target/one"), "changed").unwrap();
    assert_eq!(std::fs::read(dir.path().join("target/other")).unwrap(), b"equal");
}

#[test]
fn is_bounded() {
    for (make, expected) in [
        (
            (|source| (0..101).for_each(|n| std::fs::write(source.join(n.to_string()), "").unwrap()))
                as fn(PathBuf),
            "more than 100 files",
        ),
        (|source| std::fs::create_dir_all(source.join("1/2/3/4")).unwrap(), "more than 3 directories deep"),
        (|source| std::fs::write(source.join("big"), vec![1; (1 << 20) + 1]).unwrap(), "larger than 1"),
    ] {
        let dir = tree();
        make(dir.path().join("source"));
        let error = copy_in(dir.path(), LIMITS).unwrap_err().to_string();
        assert!(error.starts_with("cannot copy ") && error.contains(expected), "{error}");
    }
}

/// It shares its blocks where file systems can do that, but no inode.
#[test]
fn a_copy_is_asked_for_before_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one"), "content").unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    let target = dir.path().join("copy");
    let copy = |take: &dyn Fn(u64) -> Result<()>| duplicate(&directory, "one".as_ref(), &target, take);
    assert!(copy(&|_| Err(Error::new("full"))).is_err() && !target.exists());
    copy(&|_| Ok(())).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"content");
}
