use super::*;
use crate::system::kill_point::testing::kill_after;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

/// A host, and an image's files.
struct Test {
    directory: tempfile::TempDir,
    root: Root,
    name: Name,
}

impl Test {
    fn new() -> Test {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fs::create_dir_all(directory.path().join("image/data/sub")).unwrap();
        fs::write(directory.path().join("image/data/sub/file"), "image's").unwrap();
        fs::create_dir_all(directory.path().join("host")).unwrap();
        let root = Root::new(directory.path().join("host"));
        Test { directory, root, name: "web".parse().unwrap() }
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn make(&self, destinations: &[&str]) -> Result<()> {
        let volumes: Vec<Volume> = destinations.iter().map(|path| self.volume(path)).collect();
        make(&self.root, &self.name, &volumes, &self.image())
    }

    fn volume(&self, destination: &str) -> Volume {
        let mut volumes = [Volume { destination: destination.into(), owner: Some(self.owner()) }];
        settle(&mut volumes, &self.image()).unwrap();
        volumes[0].clone()
    }

    fn owner(&self) -> (u32, u32) {
        let own = fs::metadata(self.image()).unwrap();
        (own.uid(), own.gid())
    }

    /// A file in the directory of volumes.
    fn host(&self, below: &str) -> PathBuf {
        // Without a slash at its end.
        self.root.path().join("var/lib/syscontainers").join(below).components().collect()
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn volumes_are_made_once_and_only_root_can_enter() {
    let test = Test::new();
    fs::set_permissions(test.image().join("data"), PermissionsExt::from_mode(0o2750)).unwrap();
    test.make(&["/data", "/data/sub", "/none/here"]).unwrap();
    assert_eq!(fs::read_to_string(test.host("web/data/sub/file")).unwrap(), "image's");
    assert_eq!(fs::read_to_string(test.host("web/data-sub/file")).unwrap(), "image's");
    assert_eq!(fs::read_dir(test.host("web/none-here")).unwrap().count(), 0);
    assert_eq!((mode(&test.host("web/data")), mode(&test.host("web/none-here"))), (0o2750, 0o755));
    assert_eq!((mode(&test.host("")), mode(&test.host("web"))), (0o700, 0o700));
    fs::remove_dir_all(test.host("web/data/sub")).unwrap();
    test.make(&["/data", "/data/sub"]).unwrap();
    // Empty or not, it is the payload's.
    assert!(!test.host("web/data/sub").exists());
}

#[test]
fn the_image_is_read_inside_of_itself() {
    let test = Test::new();
    // Not where volumes are refused, such as in /dev/shm.
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let precious = elsewhere.path().join("precious");
    fs::create_dir_all(precious.join("run/app")).unwrap();
    fs::write(precious.join("run/app/secret"), "").unwrap();
    fs::create_dir_all(test.image().join("run/app")).unwrap();
    fs::write(test.image().join("run/app/file"), "").unwrap();
    fs::create_dir_all(test.image().join("var")).unwrap();
    symlink("/run", test.image().join("var/run")).unwrap();
    symlink(&precious, test.image().join("out")).unwrap();
    symlink("../../../../../../..", test.image().join("up")).unwrap();
    let climbing = format!("/up{}/run/app", precious.display());
    test.make(&["/var/run/app", "/out/run/app", &climbing, "/up/run/app"]).unwrap();
    assert!(test.host("web/var-run-app/file").exists() && test.host("web/up-run-app/file").exists());
    for volume in ["/out/run/app", &climbing] {
        let file_name = Volume { destination: volume.into(), owner: None }.file_name();
        assert_eq!(fs::read_dir(test.host("web").join(file_name)).unwrap().count(), 0, "{volume}");
    }
}

#[test]
fn what_a_payload_writes_decides_nothing() {
    let test = Test::new();
    let victim = test.directory.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("db"), "").unwrap();
    test.make(&["/data"]).unwrap();
    for name in [".syscontainers.ready", ".syscontainers.new", ".data.new", "sub2"] {
        symlink(&victim, test.host("web/data").join(name)).unwrap();
    }
    // As a volume that is inside of it in the image would be found.
    fs::remove_dir_all(test.host("web/data/sub")).unwrap();
    symlink(&victim, test.host("web/data/sub")).unwrap();
    test.make(&["/data", "/data/sub", "/data/sub2/x"]).unwrap();
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    assert!(test.host("web/data-sub/file").exists() && test.host("web/data-sub2-x").is_dir());
    purge(&test.root, &test.name).unwrap();
    assert!(victim.join("db").exists() && !test.host("web").exists());
}

#[test]
fn a_way_that_another_could_have_changed_is_refused() {
    type Change = fn(&Test);
    let cases: [(Change, &str); 6] = [
        (|test| symlink("/etc", test.host("")).unwrap(), "syscontainers: it is a symlink"),
        (|test| fs::write(test.host(""), "").unwrap(), "syscontainers: it is a regular file"),
        (
            |test| {
                fs::create_dir(test.host("")).unwrap();
                symlink("/etc", test.host("web")).unwrap();
            },
            "web: it is a symlink",
        ),
        (
            |test| {
                fs::create_dir(test.host("")).unwrap();
                fs::set_permissions(test.host(""), PermissionsExt::from_mode(0o770)).unwrap();
            },
            "users other than root may write to it",
        ),
        (
            |test| {
                fs::create_dir_all(test.host("web")).unwrap();
                fs::set_permissions(test.host("web"), PermissionsExt::from_mode(0o707)).unwrap();
            },
            "web: users other than root may write to it",
        ),
        (
            |test| {
                fs::create_dir_all(test.host("web")).unwrap();
                symlink("/etc", test.host("web/data")).unwrap();
            },
            "web/data: it is a symlink, not a directory; remove it",
        ),
    ];
    for (change, expected) in cases {
        let test = Test::new();
        fs::create_dir_all(test.root.path().join("var/lib")).unwrap();
        let before = fs::read_dir("/etc").unwrap().count();
        change(&test);
        let error = test.make(&["/data"]).unwrap_err().to_string();
        assert!(error.contains("cannot use ") && error.contains(expected), "{error}");
        assert_eq!(fs::read_dir("/etc").unwrap().count(), before);
    }
    let test = Test::new();
    fs::create_dir_all(test.host("web")).unwrap();
    fs::set_permissions(test.host("web"), PermissionsExt::from_mode(0o755)).unwrap();
    test.make(&["/data"]).unwrap();
    assert_eq!((mode(&test.host("")), mode(&test.host("web"))), (0o700, 0o700));
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(test.host("web"), Some(1000), None).unwrap();
        let error = test.make(&["/data"]).unwrap_err().to_string();
        assert!(error.contains("web: it belongs to user 1000"), "{error}");
    }
}

#[test]
fn an_administrators_links_above_are_followed_inside_the_tree() {
    let test = Test::new();
    fs::create_dir_all(test.root.path().join("disk/lib")).unwrap();
    symlink("/disk", test.root.path().join("var")).unwrap();
    test.make(&["/data"]).unwrap();
    assert!(test.root.path().join("disk/lib/syscontainers/web/data/sub/file").exists());
}

#[test]
fn killed_after_any_step_a_volume_is_complete_or_not_there() {
    let mut steps = 0;
    loop {
        let test = Test::new();
        let is_done = kill_after(steps, || test.make(&["/data", "/none"]).unwrap()).is_some();
        for (volume, file) in [("web/data", "sub/file"), ("web/none", "")] {
            assert!(!test.host(volume).exists() || test.host(volume).join(file).exists(), "step {steps}");
        }
        test.make(&["/data", "/none"]).unwrap();
        assert_eq!(fs::read_to_string(test.host("web/data/sub/file")).unwrap(), "image's");
        assert_eq!(fs::read_dir(test.host("web")).unwrap().count(), 2, "something is left of step {steps}");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 8, "{steps} steps");
}

fn purge(root: &Root, name: &Name) -> Result<()> {
    doom(root, name)?;
    finish_purge(root, name)
}

#[test]
fn volumes_are_gone_before_they_are_removed_also_after_a_purge_that_was_killed() {
    let test = Test::new();
    for _ in 0..3 {
        test.make(&["/data"]).unwrap();
        assert!(doom(&test.root, &test.name).unwrap());
        assert!(!test.host("web").exists());
    }
    let doomed = doomed_path(&test.root, &test.name);
    for place in ["data/sub/file", ".0.again/data/sub/file", ".1.again/data/sub/file"] {
        assert!(doomed.join(place).exists(), "{place}");
    }
    finish_purge(&test.root, &test.name).unwrap();
    assert_eq!(fs::read_dir(test.host("")).unwrap().count(), 0);
    assert!(!doom(&test.root, &test.name).unwrap());
}

#[test]
fn a_purge_that_is_killed_has_removed_all_or_nothing_and_can_be_repeated() {
    let mut steps = 0;
    loop {
        let test = Test::new();
        test.make(&["/data", "/none"]).unwrap();
        assert!(exist(&test.root, &test.name).unwrap());
        let is_done = kill_after(steps, || purge(&test.root, &test.name).unwrap()).is_some();
        if test.host("web").exists() {
            assert!(test.host("web/data/sub/file").exists() && test.host("web/none").exists());
        }
        if !test.host("web").exists() {
            let left = half_purged(&test.root).unwrap();
            assert_eq!(left.len(), usize::from(doomed_path(&test.root, &test.name).exists()));
            left.iter().for_each(|name| finish_purge(&test.root, name).unwrap());
        } else if exist(&test.root, &test.name).unwrap() {
            purge(&test.root, &test.name).unwrap();
        }
        assert_eq!(fs::read_dir(test.host("")).unwrap().count(), 0, "something is left of step {steps}");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 1, "{steps} steps");
}

#[test]
fn special_files_do_not_stop_a_start() {
    let test = Test::new();
    nix::unistd::mkfifo(&test.image().join("data/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(test.image().join("data/socket")).unwrap();
    test.make(&["/data", "/data/fifo"]).unwrap();
    let mut names = files::names(&test.host("web/data")).unwrap();
    names.sort();
    assert_eq!(names, ["fifo", "sub"]);
    assert_eq!(fs::read_dir(test.host("web/data-fifo")).unwrap().count(), 0);
}
