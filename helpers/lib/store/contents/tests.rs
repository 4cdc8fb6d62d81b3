use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ostree::{MutableTree, ObjectType};

use super::*;
use crate::paths::Root;
use crate::store::space::Space;

/// More names than most file systems permit; some have no limit.
const MANY: u64 = 70_000;

fn new_store(dir: &Path) -> Store {
    Store::open_or_create(&Root::default(), Some(&dir.join("repo"))).unwrap()
}

/// Commits what `add` adds to an empty tree.
fn commit_of(store: &Store, add: impl FnOnce(&ostree::Repo, &MutableTree)) -> String {
    let repo = &store.repo;
    repo.prepare_transaction(NEVER).unwrap();
    let info = FileInfo::new();
    for (name, value) in [("unix::uid", 0), ("unix::gid", 0), ("unix::mode", 0o041_775)] {
        info.set_attribute_uint32(name, value);
    }
    let metadata = ostree::create_directory_metadata(&info, None);
    let metadata = repo.write_metadata(ObjectType::DirMeta, None, &metadata, NEVER).unwrap();
    let tree = MutableTree::new();
    tree.set_metadata_checksum(&metadata.to_hex());
    add(repo, &tree);
    let root = repo.write_mtree(&tree, NEVER).unwrap();
    let root = root.downcast_ref::<RepoFile>().unwrap();
    let commit = repo.write_commit(None, None, None, None, root, NEVER).unwrap().to_string();
    repo.commit_transaction(NEVER).unwrap();
    commit
}

/// Adds so many names of a file, or of a symlink; returns the path of the object.
fn add(store: &Store, tree: &MutableTree, content: &str, names: usize, is_link: bool) -> PathBuf {
    let repo = &store.repo;
    let checksum = if is_link {
        repo.write_symlink(None, 0, 0, None, content, NEVER)
    } else {
        repo.write_regfile_inline(None, 0, 0, 0o100_644, None, content.as_bytes(), NEVER)
    };
    let checksum = checksum.unwrap();
    (0..names).for_each(|number| tree.replace_file(&format!("{content}{number}"), &checksum).unwrap());
    store.path.join("objects").join(&checksum[..2]).join(format!("{}.file", &checksum[2..]))
}

/// Gives an object all names that it may have, but for so many; false if there is no limit.
fn fill(object: &Path, room: u64) -> bool {
    let directory = object.with_extension("evil");
    fs::create_dir(&directory).unwrap();
    let name = |number: u64| directory.join(number.to_string());
    let used = (0..MANY).take_while(|number| fs::hard_link(object, name(*number)).is_ok()).count() as u64;
    (used.saturating_sub(room)..used).for_each(|number| fs::remove_file(name(number)).unwrap());
    used < MANY
}

fn names_of(object: &Path) -> u64 {
    fs::symlink_metadata(object).unwrap().nlink()
}

fn checksum_of(object: &Path) -> String {
    let name = object.file_stem().unwrap().to_str().unwrap();
    format!("{}{name}", object.parent().unwrap().file_name().unwrap().to_str().unwrap())
}

/// The inodes of the files of a root file system that begin with this, none of which has one name alone.
fn inodes(rootfs: &Path, prefix: &str) -> BTreeSet<u64> {
    let entries = fs::read_dir(rootfs).unwrap().map(Result::unwrap);
    let found = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(prefix));
    let found = found.map(|entry| entry.path().symlink_metadata().unwrap());
    found.inspect(|found| assert!(found.nlink() > 1)).map(|found| found.ino()).collect()
}

#[test]
fn names_that_others_have_used_up_are_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut object) = (new_store(dir.path()), PathBuf::new());
    let commit = commit_of(&store, |_, tree| object = add(&store, tree, "shared", 3, false));
    let is_limited = fill(&object, 0);
    let (before, rootfs) = (names_of(&object), dir.path().join("rootfs"));
    check_out(&store, &commit, &rootfs).unwrap();
    let found = fs::metadata(rootfs.join("shared2")).unwrap();
    assert_eq!(fs::read(rootfs.join("shared2")).unwrap(), b"shared");
    if is_limited {
        // The object has an inode that the next deployments have room in, and nobody else's has changed.
        assert_eq!((found.nlink(), found.ino()), (4, fs::metadata(&object).unwrap().ino()));
        assert_eq!(names_of(&object.with_extension("evil").join("0")), before - 1);
    }
    // As libostree makes it.
    let root = fs::metadata(&rootfs).unwrap();
    assert_eq!((root.mode(), root.uid(), root.gid(), root.mtime()), (0o041_775, 0, 0, 0));
    store.repo.fsck_object(ObjectType::File, &checksum_of(&object), NEVER).unwrap();
    assert_eq!(fs::read_dir(store.temporary_directory()).unwrap().count(), 1);
}

#[test]
fn an_image_may_have_more_names_of_a_file_than_the_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let store = new_store(dir.path());
    let commit = commit_of(&store, |_, tree| drop(add(&store, tree, "x", 66_000, false)));
    let rootfs = dir.path().join("rootfs");
    check_out(&store, &commit, &rootfs).unwrap();
    assert_eq!(fs::read_dir(&rootfs).unwrap().count(), 66_000);
    assert!(inodes(&rootfs, "x").len() <= 2);
}

/// One that has no room left when the tree is begun, and one whose room ends with this tree.
#[test]
fn no_name_is_a_copy_of_its_own_whichever_object_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut objects) = (new_store(dir.path()), Vec::new());
    let commit = commit_of(&store, |_, tree| {
        objects.extend(["a", "b"].map(|content| add(&store, tree, content, 20, false)));
    });
    let is_limited = fill(&objects[0], 0) && fill(&objects[1], 5);
    let rootfs = dir.path().join("rootfs");
    check_out(&store, &commit, &rootfs).unwrap();
    let expected = if is_limited { (1, 2) } else { (1, 1) };
    assert_eq!((inodes(&rootfs, "a").len(), inodes(&rootfs, "b").len()), expected);
    assert!(!is_limited || names_of(&objects[1]) == 16);
}

#[test]
fn what_stands_for_a_fifo_is_no_file() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can write the attribute");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = new_store(dir.path());
    let commit = commit_of(&store, |repo, tree| {
        for (name, value) in [("fifo", Some(&b"1"[..])), ("empty", None)] {
            let xattrs: Vec<(&[u8], &[u8])> =
                value.map(|value| (&b"trusted.syscontainers.fifo\0"[..], value)).into_iter().collect();
            let xattrs = xattrs.to_variant();
            let checksum = repo.write_regfile_inline(None, 0, 0, 0o100_644, Some(&xattrs), b"", NEVER);
            tree.replace_file(name, &checksum.unwrap()).unwrap();
        }
    });
    let (root, _) = store.repo.read_commit(&commit, NEVER).unwrap();
    let mut entries = Vec::new();
    walk(&root, Path::new(""), &mut entries, &mut WalkBudget::default()).unwrap();
    let kind_of = |name: &str| &entries.iter().find(|entry| entry.path == Path::new(name)).unwrap().kind;
    assert_eq!((kind_of("fifo"), kind_of("empty")), (&FileKind::Special, &FileKind::Regular));
    assert_eq!(read(&store.repo, &root, "empty").unwrap(), Some(Vec::new()));
    let error = read(&store.repo, &root, "fifo").unwrap_err().to_string();
    assert_eq!(error, "it is not a regular file");
}

#[test]
fn symlinks_have_a_limit_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut object) = (new_store(dir.path()), PathBuf::new());
    let commit = commit_of(&store, |_, tree| object = add(&store, tree, "target", 3, true));
    fill(&object, 1);
    let rootfs = dir.path().join("rootfs");
    check_out(&store, &commit, &rootfs).unwrap();
    for number in 0..3 {
        let target = fs::read_link(rootfs.join(format!("target{number}"))).unwrap();
        assert_eq!(target, Path::new("target"));
    }
    store.repo.fsck_object(ObjectType::File, &checksum_of(&object), NEVER).unwrap();
}

#[test]
fn new_inodes_leave_free_what_is_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut object) = (new_store(dir.path()), PathBuf::new());
    let content = "x".repeat(100);
    let commit = commit_of(&store, |_, tree| object = add(&store, tree, &content, 3, false));
    if fill(&object, 0) {
        let full = Space::new(dir.path(), u64::MAX);
        // Before it looks again.
        (0..63).for_each(|_| full.take(0).unwrap());
        let refusal = links::check_out(&store, &commit, &dir.path().join("rootfs"), &full).unwrap_err();
        assert!(refusal.to_string().contains("is full: the last "), "{refusal}");
        assert_eq!(fs::read_dir(store.temporary_directory()).unwrap().count(), 1);
    }
}

#[test]
fn directories_and_names_have_to_fit() {
    let dir = tempfile::tempdir().unwrap();
    let store = new_store(dir.path());
    let commit = commit_of(&store, |_, tree| {
        let metadata = tree.metadata_checksum();
        for number in 0..1000 {
            // All are equal.
            let above = tree.ensure_dir(&format!("d{number}")).unwrap();
            above.set_metadata_checksum(&metadata);
            let below = above.ensure_dir("x").unwrap();
            below.set_metadata_checksum(&metadata);
            add(&store, &below, "y", 1, false);
        }
    });
    let size = Size::of(&store.repo, &commit).unwrap();
    let (usable, _) = Space::new(dir.path(), 0).usable().unwrap();
    assert!(size.fits(&Space::new(dir.path(), usable - (32 << 20))).is_ok());
    // 2001 directories of a block each.
    let refusal = size.fits(&Space::new(dir.path(), usable - (4 << 20))).unwrap_err().to_string();
    assert!(refusal.contains("is full: 8 MiB more are needed, and the last "), "{refusal}");
    let config = store.repo.copy_config();
    config.set_string("core", "min-free-space-percent", "99");
    store.repo.write_config(&config).unwrap();
    let full = new_store(dir.path());
    let rootfs = dir.path().join("rootfs");
    assert!(check_out(&full, &commit, &rootfs).is_err() && !rootfs.exists());
}
