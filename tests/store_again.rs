//! Pulling again: what is there is not fetched, what was killed goes on, and archives are images too.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "store/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "store/layout.rs"]
mod layout;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host::{Host, contents};
use layout::{Layer, Layout, file, gzip};

#[test]
fn what_is_there_is_not_fetched_again() {
    let Some(host) = Host::new() else { return };
    let (base, one, two) = (file("base", "b"), file("one", "1"), file("two", "2"));
    let first = Layout::new([Layer::of(std::slice::from_ref(&base)), Layer::of(&[one])]);
    let image = host.write("first", &first);
    let outcome = host.pull(&image);
    assert_eq!(outcome.stderr.matches("fetching layer").count(), 2, "{outcome:?}");
    assert!(outcome.stdout.starts_with(&format!("{image} sha256:")), "{outcome:?}");
    // Unchanged: it says so, and nothing in the repository is another than before.
    let before = host.inside();
    let outcome = host.pull(&image);
    assert_eq!(outcome.stderr, format!("syscontainer-pull: {image} is unchanged\n"));
    assert_eq!(host.inside(), before);
    // Its layers, and one of its own, even if nobody can read the shared one any more.
    let second = Layout::new([Layer::of(&[base]).but_missing(), Layer::of(&[two])]);
    let image = host.write("second", &second);
    let outcome = host.pull(&image);
    assert_eq!(outcome.stderr.matches("already exists").count(), 1, "{outcome:?}");
    assert_eq!(outcome.stderr.matches("fetching layer").count(), 1, "{outcome:?}");
    assert_eq!(contents(&host.checkout(&image)), "base=b two=2");
    // The same under another name.
    let image = host.write("third", &first);
    assert_eq!(host.pull(&image).stderr.matches("already exists").count(), 2);
    assert_eq!(contents(&host.checkout(&image)), "base=b one=1");
    // Another one under the same name.
    let image = host.write("first", &second);
    host.pull(&image);
    assert_eq!(contents(&host.checkout(&image)), "base=b two=2");
    host.fsck();
}

#[test]
fn a_killed_pull_goes_on() {
    let Some(host) = Host::new() else { return };
    // Bytes that gzip cannot shorten, other ones in each layer.
    let mut state = 1u64;
    let mut noise = |size: usize| {
        let words = (0..size / 8).flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 29)).to_le_bytes()
        });
        words.collect::<Vec<u8>>()
    };
    let layers: Vec<_> = (0..3)
        .map(|layer| {
            let items: Vec<_> = (0..10).map(|n| file(format!("{layer}/{n}"), noise(1 << 20))).collect();
            Layer::of(&items)
        })
        .collect();
    let image = host.write("image", &Layout::new(layers));
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut killed = 0;
    for _ in 0..12 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut command = host.command(&image);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(seed >> 16) % 400));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => killed += 1,
            // Too late: once more from the start.
            Some(_) => std::fs::remove_dir_all(host.repo()).unwrap(),
        }
        if host.repo().join("config").exists() {
            host.fsck();
        }
    }
    println!("killed {killed} times");
    host.pull(&image);
    let root = host.checkout(&image);
    for path in (0..3).flat_map(|layer| (0..10).map(move |n| format!("{layer}/{n}"))) {
        assert_eq!(root.join(&path).metadata().unwrap().len(), 1 << 20, "{path}");
    }
    host.fsck();
}

fn skopeo_copy(from: &str, to: &str) {
    let output = Command::new("skopeo").args(["copy", "--quiet", from, to]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn docker_archives_are_images() {
    let Some(host) = Host::new() else { return };
    let layers =
        [Layer::of(&[file("a", "1"), file("b", "1")]), Layer::of(&[file(".wh.a", ""), file("c", "2")])];
    let layout = host.write("layout", &Layout::new(layers));
    let path = |name: &str| host.path(name).display().to_string();
    let (named, nameless) = (path("named.tar"), path("nameless.tar"));
    skopeo_copy(&layout, &format!("docker-archive:{named}:example.org/team/app:1.0"));
    skopeo_copy(&layout, &format!("docker-archive:{nameless}"));
    let packed = path("packed.tar.gz");
    std::fs::write(&packed, gzip(&std::fs::read(Path::new(&named)).unwrap())).unwrap();
    for (image, title) in [
        (format!("docker-archive:{named}"), "example.org/team/app:1.0"),
        (format!("docker-archive:{named}:example.org/team/app:1.0"), "example.org/team/app:1.0"),
        (format!("docker-archive:{nameless}"), "nameless:latest"),
        (format!("docker-archive:{packed}"), "example.org/team/app:1.0"),
    ] {
        // Version 1.9 cannot read packed ones.
        let readable = Command::new("skopeo").args(["inspect", &image]).output().unwrap().status.success();
        if image.ends_with(".gz") && !readable {
            println!("skipped: this skopeo does not read {image}");
            continue;
        }
        let outcome = host.pull(&image);
        assert!(outcome.stdout.starts_with(&format!("{image} sha256:")), "{image}: {outcome:?}");
        assert_eq!(host.store().find(&image).unwrap().title, title);
        // What an archive says of itself is not a name: somebody else has that.
        let error = host.store().find(title).unwrap_err().to_string();
        assert!(error.contains("has that title, but comes from another source"), "{error}");
        assert_eq!(contents(&host.checkout(&image)), "b=1 c=2", "{image}");
    }
    let odd = path("odd.tar");
    std::fs::write(&odd, layout::tar(&[file("manifest.json", r#"[{"RepoTags": ["x\ny:1"]}]"#)])).unwrap();
    for (image, cause) in [
        (format!("docker-archive:{odd}"), "its name \"x\\ny:1\" is invalid"),
        (format!("docker-archive:{named}:example.org/other:1"), "example.org/other:1"),
        (format!("docker-archive:{}", path("none.tar")), "No such file"),
        (format!("docker-archive:{}", path("layout/index.json")), "cannot read"),
    ] {
        let outcome = host.run(host.command(&image));
        assert!(outcome.status == Some(1) && outcome.stderr.lines().count() == 1, "{image}: {outcome:?}");
        assert!(outcome.stderr.contains(cause), "{image}: {outcome:?}");
    }
    host.fsck();
}
