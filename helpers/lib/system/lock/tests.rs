use super::*;

#[test]
fn a_directory_that_is_made_anew_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names");
    assert!(names(&path).unwrap().is_none());
    std::fs::create_dir(&path).unwrap();
    let held = names(&path).unwrap().unwrap();
    let ids = |found: std::fs::Metadata| (found.dev(), found.ino());
    let waits = std::thread::spawn({
        let path = path.clone();
        move || names(&path).unwrap().map(|lock| ids(lock._file.metadata().unwrap()))
    });
    // It may wait by now, or not yet: what it gets is the same.
    std::thread::sleep(INTERVAL);
    std::fs::rename(&path, dir.path().join("old")).unwrap();
    std::fs::create_dir(&path).unwrap();
    drop(held);
    assert_eq!(waits.join().unwrap(), Some(ids(std::fs::metadata(&path).unwrap())));
}

#[test]
fn nothing_but_a_regular_file_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (Root::new(dir.path()), dir.path().join("outside"));
    let directory = root.join(LOCKS);
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(".host-files");
    let why = || host_files(&root).err().map(|e| e.to_string()).unwrap_or_default();
    for target in [&outside, Path::new("/dev/null")] {
        std::os::unix::fs::symlink(target, &path).unwrap();
        assert!(why().contains(".host-files: it is not a regular file; remove it"), "{}", why());
        std::fs::remove_file(&path).unwrap();
    }
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(why().contains("it is not a regular file"), "{}", why());
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, &directory).unwrap();
    assert!(why().contains("/.locks: it is a symlink"), "{}", why());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

/// The order of the page. It lists all ranks, since each has a lock in the test of the order.
fn documented_order() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## The order of locks\n\n").unwrap();
    let order = section.split('.').next().unwrap().replace('\n', " ");
    order.split(" → ").map(str::to_owned).collect()
}

/// Whether a lock can be taken by a program that holds another one.
fn is_allowed(held: &dyn Fn() -> Lock, next: &dyn Fn() -> Lock) -> bool {
    let _held = held();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(next()))).is_ok()
}

#[test]
fn locks_are_taken_in_the_order_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let name: Name = "web".parse().unwrap();
    let (store, kept) = (dir.path().join("store"), dir.path().join("kept"));
    std::fs::create_dir_all(store.join("refs")).unwrap();
    let scratch = dir.path().join("scratch");
    [&kept, &scratch].iter().for_each(|path| std::fs::create_dir(path).unwrap());
    let locks: [&[&dyn Fn() -> Lock]; 9] = [
        &[&|| container(&root, &name).unwrap(), &|| try_container(&root, &name).unwrap().unwrap()],
        &[&|| switches(&root).unwrap()],
        &[&|| host_files(&root).unwrap()],
        &[&|| lock_shared(&store).unwrap(), &|| lock_exclusive(&store).unwrap()],
        &[&|| projects(&root).unwrap()],
        &[&|| written(&root).unwrap()],
        &[&|| start(&dir.path().join("lock")).unwrap()],
        &[&|| names(&kept).unwrap().unwrap()],
        &[&|| forgotten(&scratch).unwrap().unwrap(), &|| try_forgotten(&scratch).unwrap().unwrap()],
    ];
    let ranks = locks.map(|ways| ways[0]().rank.name().to_owned());
    assert_eq!(ranks.as_slice(), documented_order());
    for (first, held) in locks.iter().enumerate() {
        for (second, next) in locks.iter().enumerate() {
            for (held, next) in held.iter().flat_map(|held| next.iter().map(move |next| (held, next))) {
                assert_eq!(
                    is_allowed(held, next),
                    first < second,
                    "{} after {}",
                    ranks[second],
                    ranks[first]
                );
            }
        }
    }
    assert!(dir.path().join("run/syscontainers/.locks/.projects").is_file());
}

/// What an installation, an update and a prune wait for is never each other.
#[test]
fn updates_go_on_beside_a_prune_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (root, store) = (Root::new(dir.path()), dir.path().join("store"));
    std::fs::create_dir_all(store.join("refs")).unwrap();
    let update = |name: &str| {
        let container = container(&root, &name.parse().unwrap()).unwrap();
        (container, host_files(&root).unwrap(), lock_shared(&store).unwrap())
    };
    let pull = lock_shared(&store).unwrap();
    std::thread::scope(|threads| {
        let prune = threads.spawn(|| drop(lock_exclusive(&store).unwrap()));
        // The prune has its turn, and waits for the pull.
        let is_waiting = || {
            let turn = File::open(turn(&store)).unwrap();
            Flock::lock(turn, FlockArg::LockSharedNonblock).is_err()
        };
        while !is_waiting() {
            std::thread::yield_now();
        }
        let updates = ["web", "web", "db"].map(|name| threads.spawn(move || drop(update(name))));
        updates.into_iter().for_each(|update| update.join().unwrap());
        assert!(!prune.is_finished());
        drop(pull);
        prune.join().unwrap();
    });
}
