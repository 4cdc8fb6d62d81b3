use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A configuration with the volumes of a container called `web` at these places.
fn config(destinations: &[&str]) -> Value {
    let volume = |destination: &&str| {
        let source = format!("{VOLUMES}/web/{}", destination.trim_start_matches('/').replace('/', "-"));
        json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
    };
    json!({"mounts": destinations.iter().map(volume).collect::<Vec<_>>()})
}

/// Where they are mounted then, but for /dev, which every configuration has.
fn settled(config: Value, rootfs: &Path) -> Result<Vec<String>> {
    let mut config = BundleConfig::of(config);
    settle(&mut config, rootfs)?;
    let places = config.mounts().map(|mount| mount.destination().unwrap().to_str().unwrap().to_owned());
    Ok(places.filter(|place| place != "/dev").collect())
}

#[test]
fn links_of_the_image_lead_to_no_place_of_the_kernels() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/", dir.path().join("l")).unwrap();
    symlink("../../proc", dir.path().join("p")).unwrap();
    symlink("/dev", dir.path().join("d")).unwrap();
    for bad in ["/proc", "/proc/sys", "/l/proc/self", "/p/x", "/l", "/l/l", "/dev", "/d", "/d/shm", "/l/sys"]
    {
        let error = settled(config(&[bad]), dir.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("its volume {bad:?} would be ")), "{error}");
    }
    let good = settled(config(&["/l/data", "/process", "/system/fs"]), dir.path()).unwrap();
    assert_eq!(good, ["/data", "/process", "/system/fs"]);
    // What is named so is meant.
    let named = json!({"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/dev/shm", "type": "tmpfs"}]});
    assert_eq!(settled(named, dir.path()).unwrap(), ["/proc", "/dev/shm"]);
    symlink("proc", dir.path().join("tmp")).unwrap();
    let tmpfs = json!({"mounts": [{"destination": "/tmp", "type": "tmpfs"}]});
    let error = settled(tmpfs, dir.path()).unwrap_err().to_string();
    assert_eq!(error, "its mount \"/tmp\" would be in /proc, which is the kernel's");
}

#[test]
fn places_of_the_kernels_are_no_links_of_the_image() {
    for name in ["dev", "proc", "sys"] {
        let dir = tempfile::tempdir().unwrap();
        for target in ["/srv/x", "v/link", "none"] {
            symlink(target, dir.path().join(name)).unwrap();
            let error = settled(config(&[]), dir.path()).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("/{name} in ")) && error.contains(" is a symlink, and "),
                "{error}"
            );
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join(name), "").unwrap();
        assert!(settled(config(&[]), dir.path()).is_err());
    }
}

#[test]
fn no_link_of_the_image_is_covered_by_what_is_found_by_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("m/a")).unwrap();
    symlink("/m", dir.path().join("m/k")).unwrap();
    symlink("/srv", dir.path().join("m/a/s")).unwrap();
    symlink("m", dir.path().join("near")).unwrap();
    for bad in [&["/m/k"][..], &["/m/k/x", "/m"], &["/m/a/s/x", "/m"], &["/near/k", "/m"]] {
        let error = settled(config(bad), dir.path()).unwrap_err().to_string();
        let expected = format!("its volume {:?} is behind the symlink /m/", bad[0]);
        assert!(error.starts_with(&expected) && error.contains(" mounted at /m; "), "{error}");
    }
    // What is mounted first hides the links below it.
    assert_eq!(settled(config(&["/m", "/m/a/s/x"]), dir.path()).unwrap(), ["/m", "/m/a/s/x"]);
    assert_eq!(settled(config(&["/near", "/near/a/s/x"]), dir.path()).unwrap(), ["/m", "/m/a/s/x"]);
    assert_eq!(settled(config(&["/m/a/s/x"]), dir.path()).unwrap(), ["/srv/x"]);
}

#[test]
fn what_a_payload_makes_of_the_way_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let outer = dir.path().join("outer");
    let inner = |place: &str| {
        BundleConfig::of(json!({"mounts": [
            {"destination": "/a", "type": "bind", "source": outer, "options": ["rbind"]},
            {"destination": place, "type": "bind", "source": format!("{VOLUMES}/web/x"), "options": ["rbind"]},
        ]}))
    };
    let symlink_in = |link: &str| {
        let _ = fs::remove_dir_all(&outer);
        fs::create_dir_all(outer.join("near/etc")).unwrap();
        fs::write(outer.join("file"), "").unwrap();
        symlink(link, outer.join("b")).unwrap();
    };
    for link in ["near", "none", "/", "/proc", "../..", "b", "file", "/a/near", "../a/near"] {
        symlink_in(link);
        for place in ["/a/b/etc", "/a/b"] {
            let error = check(&inner(place), &[]).unwrap_err().to_string();
            let expected = format!(
                "cannot mount volume {place:?} in the directory that is mounted at /a: {} in {} leads through a symlink",
                &place[3..],
                outer.display()
            );
            assert!(error.starts_with(&expected), "{error}");
        }
    }
    assert!(check(&inner("/a/file/x"), &[]).unwrap_err().to_string().contains("is not a directory"));
    for good in ["/a/near/etc", "/a/near/missing/x", "/a/new", "/a/file", "/b"] {
        check(&inner(good), &[]).unwrap();
    }
}

#[test]
fn what_is_mounted_between_hides_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/", dir.path().join("t")).unwrap();
    let check = |kind: &str, last: &str| {
        let config = BundleConfig::of(json!({"mounts": [
            {"destination": "/a", "type": "bind", "source": dir.path(), "options": ["rbind"]},
            {"destination": "/a/n", "type": kind, "source": "tmpfs"},
            {"destination": last, "type": "tmpfs", "source": "tmpfs"},
        ]}));
        check(&config, &[])
    };
    check("tmpfs", "/a/n/t/x").unwrap();
    assert!(check("tmpfs", "/a/t/x").is_err());
}

#[test]
fn what_begins_with_the_files_of_the_image_has_its_links() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    symlink("/srv", dir.path().join("run/x")).unwrap();
    let with = |options: &str| {
        let mut config = config(&["/run/x/y"]);
        let tmpfs = json!({"destination": "/run", "type": "tmpfs", "options": [options]});
        config["mounts"].as_array_mut().unwrap().insert(0, tmpfs);
        settled(config, dir.path()).unwrap()
    };
    assert_eq!(with(TMPCOPYUP), ["/run", "/srv/y"]);
    assert_eq!(with("nodev"), ["/run", "/run/x/y"]);
}

#[test]
fn what_is_in_another_mount_comes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/z/in", dir.path().join("a")).unwrap();
    assert_eq!(settled(config(&["/a", "/z"]), dir.path()).unwrap(), ["/z", "/z/in"]);
}
