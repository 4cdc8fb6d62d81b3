use super::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// A container with a volume at /w and one in it, of which it sees the root.
struct Test {
    directory: tempfile::TempDir,
    expected: Expected,
}

const ORDINARY: &str = "\
1 0 0:1 / / ro - overlay overlay ro
2 1 0:2 / /proc rw - proc proc rw
3 1 0:3 / /dev rw - tmpfs tmpfs rw
4 3 0:4 / /dev/pts rw - devpts devpts rw
5 1 0:5 / /sys ro - sysfs sysfs ro
6 5 0:6 / /sys/fs/cgroup ro - cgroup2 cgroup rw
7 1 8:1 /volumes/w\\040x /w\\040x rw - ext4 /dev/sda rw
8 7 8:1 /volumes/w\\040x-a /w\\040x/a rw - ext4 /dev/sda rw
9 2 0:3 /null /proc/kcore rw - tmpfs tmpfs rw
10 2 0:7 / /proc/acpi ro - tmpfs tmpfs ro
11 2 0:2 /sys /proc/sys ro - proc proc rw
";

impl Test {
    fn new() -> Test {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("image")).unwrap();
        symlink("w x", path("image/link")).unwrap();
        let mount =
            |destination: &str, kind: &str| json!({"destination": destination, "type": kind, "source": "x"});
        let config = json!({
            "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/dev/pts", "devpts"), mount("/sys", "sysfs"),
                mount("/sys/fs/cgroup", "cgroup"), mount("/w x", "bind"), mount("/link/a", "bind")],
            "linux": {"maskedPaths": ["/proc/kcore", "/proc/acpi", "/proc/none"], "readonlyPaths": ["/proc/sys", "/proc/none"]},
        });
        let mut expected = Expected::of(&config, &"web".parse().unwrap(), &path("image")).unwrap();
        for (index, volume) in [(5, "root/w x"), (6, "root/w x/a")] {
            expected.mounts[index].volume = Some(path(volume));
        }
        // In place of the null device.
        fs::create_dir_all(path("root/proc/kcore")).unwrap();
        for name in ["root/w x/a", "root/w x/b", "root/etc", "root/proc/acpi", "root/proc/sys"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        Test { directory, expected }
    }

    fn check(&self, table: &str) -> String {
        let root = Directory::open(&self.directory.path().join("root")).unwrap();
        let checked = self.expected.check_mounts(&mounts::parse_all(table.as_bytes()), &root);
        checked.err().map(|e| e.to_string()).unwrap_or_default()
    }
}

#[test]
fn mounts_are_where_the_configuration_has_them() {
    let test = Test::new();
    let table = ORDINARY.replace("/proc/kcore rw - tmpfs tmpfs rw", "/proc/kcore ro - tmpfs tmpfs rw");
    assert_eq!(test.check(&table), "");
    // What an administrator mounted in a volume, and devices that cannot be made.
    let more =
        "12 7 8:2 / /w\\040x/disk rw - xfs /dev/sdb rw\n13 3 0:9 /tty /dev/tty rw - devtmpfs devtmpfs rw\n";
    assert_eq!(test.check(&format!("{table}{more}")), "");
    for (line, kind, point) in [
        ("12 1 0:2 / /etc rw - proc proc rw", "proc", "/etc"),
        ("12 1 0:2 / /w\\040x/b rw - proc proc rw", "proc", "/w x/b"),
        ("12 1 0:5 / /w\\040x/b rw - sysfs sysfs rw", "sysfs", "/w x/b"),
        ("12 1 8:1 /volumes/w\\040x-a /etc rw - ext4 /dev/sda rw", "ext4", "/etc"),
        ("12 3 8:1 /volumes/w\\040x-a /dev/shm rw - ext4 /dev/sda rw", "ext4", "/dev/shm"),
        ("12 3 8:1 /volumes/w\\040x-a /dev rw - ext4 /dev/sda rw", "tmpfs", "/dev"),
        ("12 2 0:2 / /proc rw - proc proc rw", "proc", "/proc"),
        ("12 2 0:7 / /proc/acpi/x rw - tmpfs tmpfs rw", "tmpfs", "/proc/acpi/x"),
        ("12 2 0:2 /1 /proc/kcore rw - proc proc rw", "tmpfs", "/proc/kcore"),
        ("12 2 0:7 / / rw - tmpfs tmpfs rw", "overlay", "/"),
    ] {
        let expected =
            format!("the runtime mounted {kind} at {point}, where the configuration has nothing like that");
        let error = test.check(&format!("{table}{line}\n"));
        assert!(error.starts_with(&expected), "{line}: {error}");
    }
}

#[test]
fn volumes_are_mounted_in_their_places() {
    let mut test = Test::new();
    let table = ORDINARY.replace("/proc/kcore rw", "/proc/kcore ro");
    // A place that the payload moved within the outer volume.
    test.expected.mounts[6].volume = Some(test.directory.path().join("root/w x/b"));
    assert_eq!(test.check(&table), "the runtime did not mount volume /w x/a there");
    assert_eq!(test.check(&table.replace("/w\\040x/a ", "/w\\040x/b ")), "");
    test.expected.mounts[6].volume = Some(test.directory.path().join("root/etc"));
    let error = test.check(&table.replace("/w\\040x/a ", "/etc "));
    assert!(error.starts_with("the runtime mounted ext4 at /etc, "), "{error}");
}

#[test]
fn masks_are_masks() {
    let test = Test::new();
    let table = ORDINARY.replace("/proc/kcore rw", "/proc/kcore ro");
    assert_eq!(test.check(ORDINARY), "the runtime did not mask /proc/kcore");
    let not = table.replace("11 2 0:2 /sys /proc/sys ro", "11 2 0:2 /sys /proc/sys rw");
    assert_eq!(test.check(&not), "the runtime did not make /proc/sys read-only");
    let (acpi, kcore) =
        (test.directory.path().join("root/proc/acpi"), test.directory.path().join("root/proc/kcore"));
    fs::write(acpi.join("x"), "").unwrap();
    assert_eq!(test.check(&table), "the runtime did not mask /proc/acpi");
    fs::remove_file(acpi.join("x")).unwrap();
    fs::remove_dir(&kcore).unwrap();
    fs::write(&kcore, "").unwrap();
    assert_eq!(test.check(&table), "the runtime did not mask /proc/kcore");
    // The real one.
    let host = Directory::open(Path::new("/")).unwrap();
    assert!(check_mask(Path::new("/dev/null"), &[], &host).is_ok());
    assert!(check_mask(Path::new("/dev/zero"), &[], &host).is_err());
}
