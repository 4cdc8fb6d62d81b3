use super::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A host, and the root file system and the bundle of a container on it.
struct Case(tempfile::TempDir);

impl Case {
    fn new() -> Case {
        let case = Case(tempfile::tempdir().unwrap());
        for directory in ["host/etc", "host/run/resolver", "host/proc/sys/kernel", "rootfs"] {
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

    fn is_missing(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_err()
    }

    /// What is mounted after this: places and sources.
    fn add(&self, value: &mut Value) -> Vec<(String, PathBuf)> {
        let mut config = BundleConfig::of(value.clone());
        let (root, rootfs) = (Root::new(self.path("host")), self.path("rootfs"));
        // As at every start.
        for directory in ["scratch", "bundle"] {
            let _ = fs::remove_dir_all(self.path(directory));
        }
        let copies = Copies::of(&self.path("scratch"), &self.path("bundle"));
        let before = config.mounts().count();
        let names = Names { root: &root, image: &rootfs, copies: &copies, label: None, nested: &[] };
        names.add(&mut config).unwrap().iter().for_each(|addition| addition.make(&rootfs).unwrap());
        *value = config.value().clone();
        let mounts = value["mounts"].as_array().unwrap()[before..].iter();
        let text = |mount: &Value, key| mount[key].as_str().unwrap().to_owned();
        mounts.map(|mount| (text(mount, "destination"), text(mount, "source").into())).collect()
    }

    /// Where they are mounted, beside these mounts.
    fn places(&self, mounts: Value) -> Vec<String> {
        self.add(&mut json!({"mounts": mounts})).into_iter().map(|(place, _)| place).collect()
    }
}

#[test]
fn they_are_copies_of_the_hosts_files_wherever_its_links_lead() {
    let case = Case::new();
    symlink("../run/resolver/stub", case.path("host/etc/resolv.conf")).unwrap();
    case.write("host/run/resolver/stub", "nameserver 192.0.2.1\n");
    case.write("host/etc/hosts", "127.0.0.1 localhost\n");
    let mut config = json!({"mounts": [], "root": {"readonly": false}});
    let found = case.add(&mut config);
    let expected = FILES.map(|file| (format!("/etc/{file}"), case.path("scratch/names").join(file)));
    assert_eq!(found, expected);
    assert_eq!(config["hostname"], "host");
    for (file, content) in FILES.iter().zip(["nameserver 192.0.2.1\n", "127.0.0.1 localhost\n", "host\n"]) {
        assert_eq!(case.read(&format!("scratch/names/{file}")), content);
        let mode = |path: &str| fs::metadata(case.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&format!("scratch/names/{file}")), 0o644);
        assert_eq!((mode("scratch/names"), mode("bundle/names")), (0o700, 0o700));
    }
    assert!(case.path("rootfs/etc/hosts").is_file());
    // The first one is of /dev.
    let options = |config: &Value| config["mounts"][1]["options"].clone();
    assert_eq!(options(&config), json!(["bind", "rprivate", "nosuid", "nodev", "noexec"]));
    let mut config = json!({"mounts": [], "root": {"readonly": true}});
    case.add(&mut config);
    assert_eq!(options(&config), json!(["bind", "rprivate", "nosuid", "nodev", "noexec", "ro"]));
}

#[test]
fn what_the_host_lacks_or_keeps_to_itself_is_written() {
    let case = Case::new();
    // Neither is a device waited for, nor a directory bound.
    symlink("/dev/zero", case.path("host/etc/resolv.conf")).unwrap();
    case.write("host/etc/hosts", "192.0.2.1 secret\n");
    fs::set_permissions(case.path("host/etc/hosts"), fs::Permissions::from_mode(0o640)).unwrap();
    case.add(&mut json!({"mounts": []}));
    assert_eq!(case.read("scratch/names/resolv.conf"), "");
    assert_eq!(case.read("scratch/names/hosts"), "192.0.2.1 secret\n127.0.0.1 localhost\n::1 localhost\n");
    fs::remove_file(case.path("host/etc/hosts")).unwrap();
    case.add(&mut json!({"mounts": []}));
    assert_eq!(case.read("scratch/names/hosts"), "127.0.0.1 localhost\n::1 localhost\n");
}

#[test]
fn a_name_of_its_own_is_added_to_the_hosts() {
    let case = Case::new();
    case.write("host/etc/hosts", "127.0.0.1 localhost");
    let mut config = json!({"hostname": "web", "mounts": []});
    case.add(&mut config);
    assert_eq!(case.read("scratch/names/hosts"), "127.0.0.1 localhost\n127.0.1.1 web\n");
    assert_eq!(case.read("scratch/names/hostname"), "web\n");
    assert_eq!(config["hostname"], "web");
}

#[test]
fn localhost_is_known_whatever_the_host_has() {
    let case = Case::new();
    for (hosts, added) in [
        ("", true),
        ("# 127.0.0.1 localhost\n", true),
        ("127.0.0.1\n192.0.2.1 localhost.example # localhost", true),
        ("::1\tip6-localhost   localhost\n", false),
        ("127.0.0.1 localhost", false),
    ] {
        case.write("host/etc/hosts", hosts);
        case.add(&mut json!({"mounts": []}));
        let line = if hosts.is_empty() || hosts.ends_with('\n') { "" } else { "\n" };
        let expected = format!("{hosts}{line}127.0.0.1 localhost\n::1 localhost\n");
        let found = case.read("scratch/names/hosts");
        assert_eq!(found, if added { expected.as_str() } else { hosts }, "{hosts}");
    }
}

#[test]
fn its_own_name_is_known_in_a_network_of_its_own() {
    let case = Case::new();
    let added = |name: Option<&str>, namespace: Value| {
        let mut config = json!({"mounts": [], "linux": {"namespaces": [{"type": "pid"}, namespace]}});
        name.into_iter().for_each(|name| config["hostname"] = json!(name));
        case.add(&mut config);
        case.read("scratch/names/hosts").strip_prefix("127.0.0.1 localhost\n").unwrap().to_owned()
    };
    case.write("host/etc/hosts", "127.0.0.1 localhost\n");
    let (none, at) = (json!({"type": "network"}), json!({"type": "network", "path": "/run/netns/x"}));
    for (name, namespace, expected) in [
        (None, &none, "127.0.0.1 host\n"),
        (Some("web"), &none, "127.0.0.1 web\n"),
        (Some("web"), &at, "127.0.1.1 web\n"),
        (None, &at, ""),
    ] {
        assert_eq!(added(name, namespace.clone()), expected);
    }
    // Who knows it on the host keeps its address.
    case.write("host/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 host\n");
    assert_eq!(added(None, none), "127.0.1.1 host\n");
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
    let found = case.add(&mut json!({"mounts": []}));
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
fn what_is_mounted_in_the_place_of_one_stays() {
    let case = Case::new();
    fs::create_dir_all(case.path("rootfs/real/etc")).unwrap();
    symlink("real/etc", case.path("rootfs/etc")).unwrap();
    for (destination, expected) in [
        ("/real/etc/hosts", ["/real/etc/resolv.conf", "/real/etc/hostname"].as_slice()),
        ("/real/etc/host", &["/real/etc/resolv.conf", "/real/etc/hosts", "/real/etc/hostname"]),
    ] {
        let found = case.places(json!([{"destination": destination, "type": "bind", "source": "/x"}]));
        assert_eq!(found, expected, "{destination}");
    }
    let kernel = |path: &str| {
        fs::remove_file(case.path("rootfs/etc")).unwrap();
        symlink(path, case.path("rootfs/etc")).unwrap();
        case.places(json!([]))
    };
    assert!(kernel("/dev/etc").is_empty() && kernel("proc").is_empty());
}

#[test]
fn they_are_above_what_is_mounted_over_their_directory() {
    let case = Case::new();
    fs::create_dir_all(case.path("volume")).unwrap();
    let volume = json!([{"destination": "/etc", "type": "bind", "source": case.path("volume")}]);
    let all = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];
    assert_eq!(case.places(volume.clone()), all);
    assert_eq!(case.read("volume/hosts"), "");
    assert!(case.is_missing("rootfs/etc"), "nothing is made where it is not seen");
    case.write("volume/hosts", "mine\n");
    assert_eq!(case.places(volume.clone()), all);
    assert_eq!(case.read("volume/hosts"), "mine\n");
    // A payload can have put anything there.
    case.write("victim", "victim\n");
    for kind in ["a link", "a directory"] {
        fs::remove_file(case.path("volume/hosts")).unwrap();
        match kind {
            "a link" => symlink(case.path("victim"), case.path("volume/hosts")).unwrap(),
            _ => fs::create_dir(case.path("volume/hosts")).unwrap(),
        }
        assert_eq!(case.places(volume.clone()), ["/etc/resolv.conf", "/etc/hostname"], "{kind}");
    }
    assert_eq!(case.read("victim"), "victim\n");
    // What the runtime makes, or fills with what the image has.
    let tmpfs = |options: Value| json!([{"destination": "/etc", "type": "tmpfs", "options": options}]);
    assert_eq!(case.places(tmpfs(json!([]))), all);
    assert!(case.is_missing("rootfs/etc"));
    assert_eq!(case.places(tmpfs(json!([TMPCOPYUP]))), all);
    assert!(case.path("rootfs/etc/hosts").is_file());
    // There is no directory that it could be in.
    let file = json!([{"destination": "/etc", "type": "bind", "source": case.path("victim")}]);
    assert!(case.places(file).is_empty());
}

#[test]
fn no_link_in_what_is_mounted_leads_them() {
    let case = Case::new();
    fs::create_dir_all(case.path("volume/elsewhere")).unwrap();
    symlink("x/etc", case.path("rootfs/etc")).unwrap();
    symlink("elsewhere", case.path("volume/etc")).unwrap();
    let volume = json!([{"destination": "/x", "type": "bind", "source": case.path("volume")}]);
    assert!(case.places(volume.clone()).is_empty());
    assert!(case.is_missing("volume/elsewhere/hosts"));
    fs::remove_file(case.path("volume/etc")).unwrap();
    fs::create_dir(case.path("volume/etc")).unwrap();
    assert_eq!(case.places(volume), ["/x/etc/resolv.conf", "/x/etc/hosts", "/x/etc/hostname"]);
}

#[test]
fn what_only_root_can_read_is_copied_from_its_own_place_only() {
    let case = Case::new();
    let close = |path: &str| fs::set_permissions(case.path(path), fs::Permissions::from_mode(0o600)).unwrap();
    case.write("host/etc/hosts", "::1 localhost own\n");
    close("host/etc/hosts");
    case.write("host/run/resolver/secret", "secret\n");
    close("host/run/resolver/secret");
    symlink("../run/resolver/secret", case.path("host/etc/resolv.conf")).unwrap();
    case.add(&mut json!({"mounts": []}));
    assert_eq!(
        (case.read("scratch/names/hosts"), case.read("scratch/names/resolv.conf")),
        ("::1 localhost own\n".into(), String::new())
    );
}

#[test]
fn what_users_of_the_host_cannot_reach_is_not_copied() {
    let case = Case::new();
    let set_mode =
        |mode| fs::set_permissions(case.path("host/run/closed"), fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir_all(case.path("host/run/closed/secret")).unwrap();
    case.write("host/run/closed/secret/file", "secret\n");
    symlink("../run/closed/secret/file", case.path("host/etc/resolv.conf")).unwrap();
    let root = Root::new(case.path("host"));
    let read = || HostFiles::read(&root).unwrap().content("resolv.conf", b"").unwrap();
    set_mode(0o711);
    assert_eq!(read(), b"secret\n");
    set_mode(0o700);
    assert_eq!(read(), b"");
}
