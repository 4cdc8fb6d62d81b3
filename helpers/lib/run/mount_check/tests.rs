use super::*;
use serde_json::json;
use std::fs;

/// A container with a directory of the host at /w x, and another one in that, of which it sees the root.
struct Test {
    directory: tempfile::TempDir,
    expected: Expected,
    host: Vec<Mount>,
}

const ORDINARY: &str = "\
1 0 0:1 / / ro - overlay overlay ro
2 1 0:2 / /proc rw,nosuid,nodev,noexec - proc proc rw
3 1 0:3 / /dev rw,nosuid,noexec - tmpfs tmpfs rw
4 3 0:4 / /dev/pts rw,nosuid,noexec - devpts devpts rw
5 1 0:5 / /sys ro,nosuid,nodev,noexec - sysfs sysfs ro
6 5 0:6 / /sys/fs/cgroup ro,nosuid,nodev,noexec - cgroup2 cgroup rw
7 1 8:1 /srv/w /w\\040x rw,nosuid,nodev - ext4 /dev/sda rw
8 7 8:1 /srv/a /w\\040x/a rw,nosuid,nodev - ext4 /dev/sda rw
9 2 0:3 /null /proc/kcore ro - tmpfs tmpfs rw
10 2 0:7 / /proc/acpi ro - tmpfs tmpfs ro
11 2 0:2 /sys /proc/sys ro - proc proc rw
";

impl Test {
    fn new() -> Test {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["w x/a", "w x/b", "w x/disk", "etc", "proc/acpi", "proc/sys"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        // In place of the null device.
        fs::create_dir_all(path("proc/kcore")).unwrap();
        let mount = |destination: &str, kind: &str, options: &str| {
            let options: Vec<&str> = options.split(',').collect();
            json!({"destination": destination, "type": kind, "source": "x", "options": options})
        };
        let bind = |destination: &str| {
            let source = path(destination.trim_start_matches('/'));
            json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "nosuid", "nodev"]})
        };
        let config = json!({
            "root": {"readonly": true},
            "mounts": [mount("/proc", "proc", "nosuid,noexec,nodev"), mount("/dev", "tmpfs", "nosuid,noexec"),
                mount("/dev/pts", "devpts", "nosuid,noexec"), mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
                mount("/sys/fs/cgroup", "cgroup", "nosuid,noexec,nodev,ro"), bind("/w x"), bind("/w x/a")],
            "linux": {"maskedPaths": ["/proc/kcore", "/proc/acpi", "/proc/none"], "readonlyPaths": ["/proc/sys", "/proc/none"]},
        });
        let expected = Expected::of(&BundleConfig::of(config), &[]);
        // What is at /w x of the root is bound from there, and is another directory of the file system in the table.
        let there = |name: &str| path(name).canonicalize().unwrap().to_str().unwrap().replace(' ', "\\040");
        let host = format!(
            "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:1 /srv/w {} rw - ext4 /dev/sda rw\n3 2 8:1 /srv/a {} rw - ext4 /dev/sda rw\n\
             4 2 8:2 / {} ro,nosuid - xfs /dev/sdb rw\n",
            there("w x"),
            there("w x/a"),
            there("w x/disk")
        );
        let host = mounts::parse_all(host.as_bytes());
        Test { directory, expected, host }
    }

    fn check(&self, table: &str) -> String {
        let root = Directory::open(self.directory.path()).unwrap();
        let mounts = mounts::parse_all(table.as_bytes());
        let checked = Check::new(&self.expected, &mounts, &self.host, &root).run();
        checked.err().map(|e| e.to_string()).unwrap_or_default()
    }
}

#[test]
fn mounts_are_where_the_configuration_has_them() {
    let test = Test::new();
    assert_eq!(test.check(ORDINARY), "");
    // What an administrator mounted in a volume, and devices that cannot be made.
    let more = "12 7 8:2 / /w\\040x/disk ro,nosuid - xfs /dev/sdb rw\n13 3 0:9 /tty /dev/tty rw - devtmpfs devtmpfs rw\n";
    assert_eq!(test.check(&format!("{ORDINARY}{more}")), "");
    for (line, kind, point) in [
        ("12 1 0:2 / /etc rw - proc proc rw", "proc", "/etc"),
        ("12 1 0:2 / /w\\040x/b rw - proc proc rw", "proc", "/w x/b"),
        ("12 1 0:5 / /w\\040x/b rw - sysfs sysfs rw", "sysfs", "/w x/b"),
        ("12 1 8:1 /srv/w /etc rw - ext4 /dev/sda rw", "ext4", "/etc"),
        ("12 1 8:1 /srv/a /w\\040x/b rw,nosuid,nodev - ext4 /dev/sda rw", "ext4", "/w x/b"),
        ("12 1 8:1 /srv/a /w\\040x/disk ro,nosuid - ext4 /dev/sda rw", "ext4", "/w x/disk"),
        ("12 3 8:1 /srv/a /dev/shm rw - ext4 /dev/sda rw", "ext4", "/dev/shm"),
        ("12 3 8:1 /srv/a /dev rw - ext4 /dev/sda rw", "tmpfs", "/dev"),
        ("12 2 0:2 / /proc rw - proc proc rw", "proc", "/proc"),
        ("12 2 0:9 / /proc rw,nosuid,nodev,noexec - tmpfs tmpfs rw", "proc", "/proc"),
        ("12 2 0:7 / /proc/acpi/x rw - tmpfs tmpfs rw", "tmpfs", "/proc/acpi/x"),
        ("12 2 0:2 /1 /proc/kcore rw - proc proc rw", "tmpfs", "/proc/kcore"),
        ("12 2 0:7 / / rw - tmpfs tmpfs rw", "overlay", "/"),
    ] {
        let expected =
            format!("the runtime mounted {kind} at {point}, where the configuration has nothing like that");
        let error = test.check(&format!("{ORDINARY}{line}\n"));
        assert!(error.starts_with(&expected), "{line}: {error}");
    }
}

#[test]
fn no_mount_allows_more_than_the_configuration() {
    let test = Test::new();
    for line in ORDINARY.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        for option in fields[5].split(',').filter(|option| *option != "rw") {
            let left: Vec<&str> = fields[5].split(',').filter(|other| *other != option).collect();
            let options = if left.is_empty() { "rw".into() } else { left.join(",") };
            // A file system that is read-only itself needs no mount that is.
            let weaker = line.replace(&format!(" {} - ", fields[5]), &format!(" {options} - "));
            let error = test.check(
                &ORDINARY.replace(
                    line,
                    &weaker
                        .replace("overlay ro", "overlay rw")
                        .replace("sysfs ro", "sysfs rw")
                        .replace("tmpfs ro", "tmpfs rw"),
                ),
            );
            let is_masked = ["/proc/kcore", "/proc/acpi", "/proc/sys"].contains(&fields[4])
                && error.starts_with("the runtime did not ma");
            let is_said =
                error.contains(&format!(" without the option {option}, which the configuration has; "));
            assert!(is_masked || is_said, "{weaker}: {error}");
        }
    }
    for (from, to, option) in [
        ("/w\\040x rw,nosuid,nodev - ext4", "/w\\040x rw,nosuid,nodev shared:7 - ext4", "private"),
        ("/w\\040x/a rw,nosuid,nodev - ext4", "/w\\040x/a rw,nosuid,nodev master:7 - ext4", "private"),
    ] {
        let error = test.check(&ORDINARY.replace(from, to));
        assert!(
            error.contains(&format!(" without the option {option}, which the configuration has; ")),
            "{error}"
        );
    }
    // More than that is not a fault.
    assert_eq!(test.check(&ORDINARY.replace("/w\\040x/a rw,", "/w\\040x/a ro,noexec,")), "");
}

#[test]
fn what_is_mounted_in_a_volume_allows_no_more_than_on_the_host() {
    let test = Test::new();
    let with = |options: &str| {
        test.check(&format!("{ORDINARY}12 7 8:2 / /w\\040x/disk {options} - xfs /dev/sdb rw\n"))
    };
    assert_eq!(with("ro,nosuid,nodev"), "");
    let expected = |option: &str| {
        format!(
            "the runtime mounted xfs at /w x/disk without the option {option}, which the mount on the host has; {WHY}"
        )
    };
    assert_eq!(with("rw,nosuid"), expected("ro"));
    assert_eq!(with("ro"), expected("nosuid"));
    assert!(with("ro,nosuid master:3").contains("without the option private"));
}

#[test]
fn nothing_that_is_expected_is_missing_or_covered() {
    let test = Test::new();
    for line in ORDINARY.lines().filter(|line| !line.contains("/proc/") && !line.contains(" / / ")) {
        let error = test.check(&ORDINARY.replace(&format!("{line}\n"), ""));
        assert!(error.starts_with("the runtime did not mount "), "{line}: {error}");
    }
    // A mount that is not of the directory that it should be of.
    let error = test.check(&ORDINARY.replace("8:1 /srv/a /w\\040x/a", "8:1 /srv/b /w\\040x/a"));
    assert!(
        error.starts_with("the runtime mounted ext4 at /w x/a, where the configuration has nothing like"),
        "{error}"
    );
    let error = test.check(&ORDINARY.replace("8:1 /srv/a /w\\040x/a", "8:2 /srv/a /w\\040x/a"));
    assert!(
        error.starts_with("the runtime mounted ext4 at /w x/a, where the configuration has nothing like"),
        "{error}"
    );
    // What is seen there is another one.
    let path = test.directory.path().join("w x/a");
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("b", &path).unwrap();
    assert_ne!(test.check(ORDINARY), "");
}

#[test]
fn masks_are_masks() {
    let test = Test::new();
    assert_eq!(
        test.check(&ORDINARY.replace("/proc/kcore ro", "/proc/kcore rw")),
        "the runtime did not mask /proc/kcore"
    );
    let not = ORDINARY.replace("11 2 0:2 /sys /proc/sys ro", "11 2 0:2 /sys /proc/sys rw");
    assert_eq!(test.check(&not), "the runtime did not make /proc/sys read-only");
    let (acpi, kcore) = (test.directory.path().join("proc/acpi"), test.directory.path().join("proc/kcore"));
    fs::write(acpi.join("x"), "").unwrap();
    assert_eq!(test.check(ORDINARY), "the runtime did not mask /proc/acpi");
    fs::remove_file(acpi.join("x")).unwrap();
    fs::remove_dir(&kcore).unwrap();
    fs::write(&kcore, "").unwrap();
    assert_eq!(test.check(ORDINARY), "the runtime did not mask /proc/kcore");
    // The real one.
    let host = Directory::open(Path::new("/")).unwrap();
    assert!(check_mask(Path::new("/dev/null"), &[], &host).is_ok());
    assert!(check_mask(Path::new("/dev/zero"), &[], &host).is_err());
}

#[test]
fn cgroups_of_version_1_are_as_strict() {
    let test = Test::new();
    let top = ORDINARY.replace(
        "6 5 0:6 / /sys/fs/cgroup ro,nosuid,nodev,noexec - cgroup2 cgroup rw\n",
        "6 5 0:6 / /sys/fs/cgroup rw,nosuid,nodev,noexec - tmpfs cgroup rw\n",
    );
    let with = |options: &str| {
        test.check(&format!("{top}12 6 0:20 / /sys/fs/cgroup/pids {options} - cgroup cgroup rw\n"))
    };
    assert_eq!(with("ro,nosuid,nodev,noexec"), "");
    assert!(with("rw,nosuid,nodev,noexec").contains("/sys/fs/cgroup/pids without the option ro, "));
    let error =
        test.check(&format!("{top}12 6 0:2 / /sys/fs/cgroup/x ro,nosuid,nodev,noexec - proc proc rw\n"));
    assert!(error.contains("nothing like that"), "{error}");
}

#[test]
fn cgroups_that_can_be_changed_are_those_of_the_payload() {
    let mut test = Test::new();
    let expected = test.expected.mounts.iter_mut().find(|one| one.kind == "cgroup").unwrap();
    expected.restrictions.ro = false;
    let root = Directory::open(test.directory.path()).unwrap();
    let check = |root_of_mount: &str, kind: &str, cgroup: Option<&str>, more: &str| {
        let own =
            format!("6 5 0:6 {root_of_mount} /sys/fs/cgroup rw,nosuid,nodev,noexec - {kind} cgroup rw\n");
        let old = "6 5 0:6 / /sys/fs/cgroup ro,nosuid,nodev,noexec - cgroup2 cgroup rw\n";
        let mounts = mounts::parse_all(format!("{}{more}", ORDINARY.replace(old, &own)).as_bytes());
        let mut check = Check::new(&test.expected, &mounts, &test.host, &root);
        check.cgroup = cgroup.map(PathBuf::from);
        check.run().err().map(|e| e.to_string()).unwrap_or_default()
    };
    let own = "/x.slice/x.service/payload/root";
    assert_eq!(check(own, "cgroup2", Some(own), ""), "");
    for (root, kind, cgroup) in [
        ("/", "cgroup2", Some(own)),
        ("/x.slice/x.service/payload", "cgroup2", Some(own)),
        (own, "cgroup2", None),
        (own, "tmpfs", Some(own)),
    ] {
        let error = check(root, kind, cgroup, "");
        assert!(
            error.contains("at /sys/fs/cgroup, where the configuration has nothing like that"),
            "{error}"
        );
    }
    let limit = |options: &str| {
        format!(
            "12 6 0:6 /x.slice/x.service/memory.max /sys/fs/cgroup/memory.max {options},nosuid,nodev,noexec - cgroup2 cgroup rw\n"
        )
    };
    assert_eq!(check(own, "cgroup2", Some(own), &limit("ro")), "");
    let error = check(own, "cgroup2", Some(own), &limit("rw"));
    assert!(error.contains("/sys/fs/cgroup/memory.max without the option ro, "), "{error}");
}

#[test]
fn whoever_has_all_of_the_host_has_what_is_mounted_in_containers() {
    let root = Directory::open(Path::new("/")).unwrap();
    let host = mounts::parse_all(b"1 0 8:1 / / rw - ext4 /dev/sda rw\n");
    let allows = |source: &str, point: &str| {
        let bind =
            json!({"destination": "/host", "type": "bind", "source": source, "options": ["rbind", "rslave"]});
        let expected = Expected::of(&BundleConfig::of(json!({"mounts": [bind]})), &[]);
        let mounts = mounts::parse_all(format!("5 1 0:3 / {point} rw - tmpfs tmpfs rw\n").as_bytes());
        Check::new(&expected, &mounts, &host, &root).check_mount(&mounts[0]).is_ok()
    };
    assert!(allows("/", "/host/run/syscontainers/x/rootfs/dev"));
    assert!(!allows("/", "/host/etc") && !allows("/", "/run/syscontainers/x/rootfs/dev"));
    assert!(!allows("/run", "/host/syscontainers/x/rootfs/dev"));
}
