use super::*;
use std::os::unix::fs::symlink;

/// A host, and the root file system and the bundle of a container on it.
struct Case(tempfile::TempDir);

impl Case {
    fn new() -> Case {
        let case = Case(tempfile::tempdir().unwrap());
        for directory in ["host/etc", "host/run/resolver", "host/proc/sys/kernel", "rootfs", "bundle"] {
            fs::create_dir_all(case.path(directory)).unwrap();
        }
        case.write("host/proc/sys/kernel/hostname", "host\n");
        case
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// What is mounted after this: places and sources.
    fn add(&self, config: &mut Value, binds: bool) -> Vec<(String, PathBuf)> {
        let (root, rootfs, bundle) = (Root::new(self.path("host")), self.path("rootfs"), self.path("bundle"));
        let before = config["mounts"].as_array().unwrap().len();
        Names { root: &root, rootfs: &rootfs, directory: binds.then_some(&*bundle) }.add(config).unwrap();
        let mounts = config["mounts"].as_array().unwrap()[before..].iter();
        let text = |mount: &Value, key| mount[key].as_str().unwrap().to_owned();
        mounts.map(|mount| (text(mount, "destination"), text(mount, "source").into())).collect()
    }
}

#[test]
fn they_are_the_hosts_files_wherever_its_links_lead() {
    let case = Case::new();
    symlink("../run/resolver/stub", case.path("host/etc/resolv.conf")).unwrap();
    case.write("host/run/resolver/stub", "nameserver 192.0.2.1\n");
    case.write("host/etc/hosts", "127.0.0.1 localhost\n");
    let mut config = json!({"mounts": []});
    let found = case.add(&mut config, true);
    let expected = [
        ("/etc/resolv.conf", case.path("host/run/resolver/stub")),
        ("/etc/hosts", case.path("host/etc/hosts")),
        ("/etc/hostname", case.path("bundle/hostname")),
    ];
    assert_eq!(found, expected.map(|(place, source)| (place.to_owned(), source)));
    assert_eq!(config["hostname"], "host");
    assert_eq!(case.read("bundle/hostname"), "host\n");
    assert!(case.path("rootfs/etc/hosts").is_file());
    let options = config["mounts"][0]["options"].as_array().unwrap();
    assert!(["ro", "nosuid", "nodev", "noexec"].iter().all(|option| options.contains(&json!(option))));
}

#[test]
fn what_the_host_lacks_or_keeps_to_itself_is_written() {
    let case = Case::new();
    // Neither is a device waited for, nor a directory bound.
    symlink("/dev/zero", case.path("host/etc/resolv.conf")).unwrap();
    case.write("host/etc/hosts", "192.0.2.1 secret\n");
    fs::set_permissions(case.path("host/etc/hosts"), fs::Permissions::from_mode(0o640)).unwrap();
    case.add(&mut json!({"mounts": []}), true);
    assert_eq!(case.read("bundle/resolv.conf"), "");
    assert_eq!(case.read("bundle/hosts"), "192.0.2.1 secret\n");
    fs::remove_file(case.path("host/etc/hosts")).unwrap();
    case.add(&mut json!({"mounts": []}), true);
    assert_eq!(case.read("bundle/hosts"), LOCALHOST);
}

#[test]
fn a_name_of_its_own_is_added_to_the_hosts() {
    let case = Case::new();
    case.write("host/etc/hosts", "127.0.0.1 localhost");
    let mut config = json!({"hostname": "web", "mounts": []});
    case.add(&mut config, true);
    assert_eq!(case.read("bundle/hosts"), "127.0.0.1 localhost\n127.0.1.1 web\n");
    assert_eq!(case.read("bundle/hostname"), "web\n");
    assert_eq!(config["hostname"], "web");
}

#[test]
fn links_of_the_image_lead_nowhere() {
    let case = Case::new();
    case.write("host/etc/hosts", "127.0.0.1 localhost\n");
    symlink("/real", case.path("rootfs/etc")).unwrap();
    fs::create_dir(case.path("rootfs/real")).unwrap();
    symlink(case.path("victim"), case.path("rootfs/real/hosts")).unwrap();
    symlink("/nowhere", case.path("rootfs/real/resolv.conf")).unwrap();
    fs::create_dir(case.path("rootfs/real/hostname")).unwrap();
    case.write("victim", "victim");
    let found = case.add(&mut json!({"mounts": []}), true);
    let places: Vec<_> = found.iter().map(|(place, _)| place.as_str()).collect();
    // A directory stays as it is.
    assert_eq!(places, ["/real/resolv.conf", "/real/hosts"]);
    let is_empty_file = |path: &str| {
        let found = case.path(path).symlink_metadata().unwrap();
        found.is_file() && found.len() == 0
    };
    assert!(is_empty_file("rootfs/real/hosts") && is_empty_file("rootfs/real/resolv.conf"));
    assert_eq!(case.read("victim"), "victim");
}

#[test]
fn what_is_mounted_over_them_is_seen_instead() {
    let case = Case::new();
    fs::create_dir_all(case.path("rootfs/real/etc")).unwrap();
    symlink("real/etc", case.path("rootfs/etc")).unwrap();
    for (destination, expected) in [
        ("/real/etc/hosts", ["/real/etc/resolv.conf", "/real/etc/hostname"].as_slice()),
        ("/real", &[]),
        ("/real/etc", &[]),
        ("/real/etc/host", &["/real/etc/resolv.conf", "/real/etc/hosts", "/real/etc/hostname"]),
    ] {
        let found = case.add(&mut json!({"mounts": [{"destination": destination}]}), true);
        let places: Vec<_> = found.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, expected, "{destination}");
    }
}

#[test]
fn where_nothing_can_be_bound_they_are_in_the_root_file_system() {
    let case = Case::new();
    case.write("host/etc/hosts", "127.0.0.1 localhost\n");
    fs::create_dir(case.path("rootfs/etc")).unwrap();
    symlink(case.path("host/etc/hosts"), case.path("rootfs/etc/hosts")).unwrap();
    let found = case.add(&mut json!({"mounts": []}), false);
    assert_eq!(found, []);
    assert_eq!(case.read("rootfs/etc/hosts"), "127.0.0.1 localhost\n");
    assert_eq!(case.read("rootfs/etc/hostname"), "host\n");
    assert!(!case.path("rootfs/etc/hosts").is_symlink());
    assert_eq!(case.read("host/etc/hosts"), "127.0.0.1 localhost\n");
}

#[test]
fn what_only_root_can_read_is_copied_from_its_own_place_only() {
    let case = Case::new();
    let close = |path: &str| fs::set_permissions(case.path(path), fs::Permissions::from_mode(0o600)).unwrap();
    case.write("host/etc/hosts", "own\n");
    close("host/etc/hosts");
    case.write("host/run/resolver/secret", "secret\n");
    close("host/run/resolver/secret");
    symlink("../run/resolver/secret", case.path("host/etc/resolv.conf")).unwrap();
    case.add(&mut json!({"mounts": []}), true);
    assert_eq!((case.read("bundle/hosts"), case.read("bundle/resolv.conf")), ("own\n".into(), String::new()));
}
