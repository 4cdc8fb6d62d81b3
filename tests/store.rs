//! The image store as its user meets it: the real program pulls images that are written here through the real skopeo into
//! a real repository, which is then checked out and checked. The images are layouts; in the story 35-hostile they are in a
//! registry.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "store/host.rs"]
#[allow(dead_code)]
mod host;
#[path = "store/hostile.rs"]
mod hostile;
#[path = "store/layout.rs"]
#[allow(dead_code)]
mod layout;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use syscontainers::image::tree::Tree;
use walkdir::WalkDir;

use host::{Host, contents, listing, xattr};
use layout::{Item, Layer, Layout, dir, file, gzip, hard_link, open_tar, symlink, tar};

/// Sizes around those of blocks and buffers.
const SIZES: [usize; 10] = [0, 1, 511, 512, 513, 65535, 65536, 65537, 262144, 5 << 20];

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * n / 7) as u8).collect()
}

/// A path of 462 bytes.
fn deep() -> String {
    format!("{}/{}/{}", "d".repeat(90), "e".repeat(120), "f".repeat(250))
}

/// One of everything that a layer may hold.
fn everything() -> Vec<Item> {
    let mut items = vec![
        dir("./").mode(0o750).owner(7, 8),
        dir("dir").mode(0o1777).owner(5, 6).xattr("user.d", "on a directory"),
        file("dir/owned", "x").owner(1000, 1001).mode(0o640),
        file("high", "").owner(2_097_152, 3_000_000_000),
        file("gnu-high", "").owner(2_097_152, 3_000_000_000).gnu(),
        file("setuid", "").mode(0o6755),
        file("none", "").mode(0),
        file("xattr", "").xattr("user.x", b"a=\n\0b").xattr("user.y", "").xattr("user.größe", "1"),
        file("capable", "").xattr("security.capability", CAPABILITY).mode(0o755),
        file("labelled", "").xattr("security.selinux", "x").xattr("trusted.overlay.opaque", "y"),
        file("one", "linked").mode(0o600).owner(3, 4),
        hard_link("two", "one"),
        hard_link("dir/three", "./two"),
        symlink("absolute", "/etc/passwd").owner(9, 10),
        symlink("dangling", "../../nowhere"),
        symlink("far", "t".repeat(1000)),
        symlink("gnu-far", "t".repeat(1000)).gnu(),
        hard_link("far-link", "absolute"),
        file("./dot/./file", "dot"),
        file("/rooted//file", "rooted"),
        file("größe-漢字", "utf-8"),
        file(" blank\ttab\nline\\", "odd"),
        file("implicit/file", "i"),
        Item::new(b'\0', "old-style"),
        Item::new(b'7', "contiguous"),
        file("l".repeat(100), "100"),
        file("x".repeat(255), "255").gnu(),
        file(format!("{}/below", "y".repeat(255)), "255"),
        file(deep(), "deep"),
        dir("again").mode(0o700),
        dir("again/").mode(0o711),
    ];
    items.extend(SIZES.map(|size| file(format!("size-{size}"), bytes(size))));
    items
}

#[test]
fn files_survive_as_they_were_packed() {
    let Some(host) = Host::new() else { return };
    let root = host.unpack("image", &Layout::new([Layer::of(&everything())]));
    check_metadata(&root);
    check_contents(&root);
    let (store, found) = (host.store(), host.store().find(&host.name("image")).unwrap());
    assert_eq!(store.tree(&found).read("dir/owned").unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(store.tree(&found).read("/none/such").unwrap(), None);
    assert!(store.tree(&found).read("absolute").is_err() && store.tree(&found).read("dir").is_err());
    host.fsck();
}

fn check_metadata(root: &Path) {
    let at = |name: &str| root.join(name).symlink_metadata().unwrap();
    let is = |name: &str, mode: u32, uid: u32, gid: u32| {
        let is = at(name);
        assert_eq!((is.mode() & 0o7777, is.uid(), is.gid()), (mode, uid, gid), "{name}");
    };
    is("", 0o750, 7, 8);
    is("dir", 0o1777, 5, 6);
    is("dir/owned", 0o640, 1000, 1001);
    is("high", 0o644, 2_097_152, 3_000_000_000);
    is("gnu-high", 0o644, 2_097_152, 3_000_000_000);
    is("setuid", 0o6755, 0, 0);
    is("none", 0, 0, 0);
    is("absolute", 0o777, 9, 10);
    is("implicit", 0o755, 0, 0);
    is("again", 0o711, 0, 0);
    for (name, key, value) in [
        ("dir", "user.d", &b"on a directory"[..]),
        ("xattr", "user.x", b"a=\n\0b"),
        ("xattr", "user.größe", b"1"),
        ("capable", "security.capability", CAPABILITY),
    ] {
        assert_eq!(xattr(&root.join(name), key).as_deref(), Some(value), "{key} of {name}");
    }
    assert_eq!(xattr(&root.join("labelled"), "trusted.overlay.opaque"), None);
    assert!(at("one").ino() == at("two").ino() && at("one").ino() == at("dir/three").ino());
    is("two", 0o600, 3, 4);
}

fn check_contents(root: &Path) {
    for (name, target) in [
        ("absolute", "/etc/passwd".to_owned()),
        ("dangling", "../../nowhere".into()),
        ("far", "t".repeat(1000)),
        ("gnu-far", "t".repeat(1000)),
        ("far-link", "/etc/passwd".into()),
    ] {
        assert_eq!(fs::read_link(root.join(name)).unwrap().to_str(), Some(target.as_str()), "{name}");
    }
    for (name, content) in [
        ("dot/file", "dot"),
        ("rooted/file", "rooted"),
        ("größe-漢字", "utf-8"),
        (" blank\ttab\nline\\", "odd"),
        ("old-style", ""),
        ("contiguous", ""),
        (&"l".repeat(100), "100"),
        (&"x".repeat(255), "255"),
        (&format!("{}/below", "y".repeat(255)), "255"),
        (&deep(), "deep"),
    ] {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), content, "{name}");
    }
    for size in SIZES {
        assert!(fs::read(root.join(format!("size-{size}"))).unwrap() == bytes(size), "{size} bytes");
    }
}

/// `cap_net_bind_service=ep`, as the kernel has it.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn layers_merge() {
    let Some(host) = Host::new() else { return };
    let wh = |name: &str| file(name, "");
    let lower =
        || vec![dir("d"), file("d/a", "1"), file("d/b", "1"), dir("d/e"), file("d/e/f", "1"), file("g", "1")];
    for (number, (layers, expected)) in [
        (vec![lower()], "d/ d/a=1 d/b=1 d/e/ d/e/f=1 g=1"),
        (vec![lower(), vec![wh("d/.wh.a")], vec![file("d/a", "3")]], "d/ d/a=3 d/b=1 d/e/ d/e/f=1 g=1"),
        (vec![lower(), vec![wh("d/.wh.a")], vec![wh("d/.wh.b"), wh(".wh.g")]], "d/ d/e/ d/e/f=1"),
        (vec![lower(), vec![wh(".wh.d")], vec![file("d/x", "3")]], "d/ d/x=3 g=1"),
        (vec![lower(), vec![file("d/x", "2")], vec![wh(".wh.d")]], "g=1"),
        // Opaque, the marker before or behind what is new.
        (vec![lower(), vec![wh("d/.wh..wh..opq"), file("d/x", "2")]], "d/ d/x=2 g=1"),
        (vec![lower(), vec![file("d/x", "2"), wh("d/.wh..wh..opq")]], "d/ d/x=2 g=1"),
        (vec![lower(), vec![wh(".wh..wh..opq"), file("x", "2")], vec![file("y", "3")]], "x=2 y=3"),
        // The same name gone and there again, in one layer.
        (vec![lower(), vec![file("d/a", "2"), wh("d/.wh.a")]], "d/ d/a=2 d/b=1 d/e/ d/e/f=1 g=1"),
        (vec![lower(), vec![wh(".wh.d"), file("d/x", "2")]], "d/ d/x=2 g=1"),
        (vec![lower(), vec![dir("d"), file("d/x", "2"), wh(".wh.d")]], "d/ d/x=2 g=1"),
        // Of nothing.
        (
            vec![lower(), vec![wh(".wh.nothing"), wh("no/.wh.where"), wh("d/.wh..wh.plnk")]],
            "d/ d/a=1 d/b=1 d/e/ d/e/f=1 g=1 no/",
        ),
        (vec![vec![wh(".wh.g"), wh("d/.wh..wh..opq"), file("a", "1")]], "a=1 d/"),
        (vec![lower(), vec![wh("d/.wh."), wh("d/.wh.e\\..")]], "d/ d/a=1 d/b=1 d/e/ d/e/f=1 g=1"),
        // Of one kind for another.
        (vec![lower(), vec![file("d", "2")]], "d=2 g=1"),
        (vec![lower(), vec![dir("g"), file("g/x", "2")]], "d/ d/a=1 d/b=1 d/e/ d/e/f=1 g/ g/x=2"),
        (vec![lower(), vec![file("d", "2")], vec![file("d/x", "3")]], "d/ d/x=3 g=1"),
        (vec![vec![file("a", "1"), dir("a"), file("a/b", "1"), dir("c"), file("c", "1")]], "a/ a/b=1 c=1"),
        (vec![lower(), vec![]], "d/ d/a=1 d/b=1 d/e/ d/e/f=1 g=1"),
    ]
    .into_iter()
    .enumerate()
    {
        let layout = Layout::new(layers.iter().map(|items| Layer::of(items)));
        assert_eq!(contents(&host.unpack("image", &layout)), expected, "case {number}");
    }
    host.fsck();
}

#[test]
fn directories_keep_owners_that_no_entry_changes() {
    let Some(host) = Host::new() else { return };
    let lower = [
        dir(".").mode(0o700).owner(1, 1),
        dir("a").mode(0o710).owner(2, 2),
        dir("a/b").mode(0o1777).owner(3, 3),
    ];
    for (upper, expected) in [
        (vec![file("a/b/c", "x")], ["0700 1:1", "0710 2:2", "1777 3:3"]),
        (vec![dir("a/b").mode(0o500)], ["0700 1:1", "0710 2:2", "0500 0:0"]),
        (vec![file("a/b/c", ""), dir("a").mode(0o500)], ["0700 1:1", "0500 0:0", "1777 3:3"]),
        (vec![dir("./").mode(0o711)], ["0711 0:0", "0710 2:2", "1777 3:3"]),
        (vec![file(".wh.a", ""), file("a/b/c", "")], ["0700 1:1", "0755 0:0", "0755 0:0"]),
        (vec![file("a/.wh..wh..opq", ""), dir("a/b").mode(0o500)], ["0700 1:1", "0710 2:2", "0500 0:0"]),
    ] {
        let layers = [Layer::of(&lower), Layer::of(&upper), Layer::of(&[file("a/b/top", "")])];
        let root = host.unpack("image", &Layout::new(layers));
        let found = ["", "a", "a/b"].map(|name| {
            let metadata = root.join(name).symlink_metadata().unwrap();
            format!("{:04o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn devices_are_skipped_and_counted() {
    let Some(host) = Host::new() else { return };
    let items = [file("a", ""), Item::new(b'3', "dev/null"), Item::new(b'4', "dev/sda")];
    let image = host.write("image", &Layout::new([Layer::of(&items)]));
    let mut command = host.command(&image);
    command.arg("--quiet");
    let outcome = host.run(command);
    assert!(outcome.stderr.contains("skipped 2 device nodes of layer sha256:"), "{outcome:?}");
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (Some(0), 1));
    assert_eq!(contents(&host.checkout(&image)), "a=");
}

#[test]
fn archives_end_and_are_packed_in_many_ways() {
    let Some(host) = Host::new() else { return };
    let items = [file("a", "x".repeat(100_000)), file("b", "y")];
    let (whole, open) = (tar(&items), open_tar(&items));
    let padded = [&whole[..], &vec![0; 20 * 512]].concat();
    let followed = [&whole[..], b"what follows the end counts for the digest only"].concat();
    let one_block = [&open[..], &[0; 512]].concat();
    let members = |tar: &[u8]| tar.chunks(30_000).map(gzip).collect::<Vec<_>>().concat();
    for (number, layer) in [
        Layer::plain(&whole),
        Layer::gzip(&whole),
        Layer::plain(&open),
        Layer::gzip(&open),
        Layer::plain(&padded),
        Layer::gzip(&padded),
        Layer::gzip(&followed),
        Layer::plain(&one_block),
        Layer::packed(&whole, members(&whole)),
        Layer::packed(&whole, [members(&whole), gzip(b"")].concat()),
        Layer::packed(&whole, zstd::encode_all(whole.as_slice(), 3).unwrap()),
        // What is inside says more than what it is called.
        Layer {
            media_type: Layer::gzip(&whole).media_type,
            ..Layer::plain(&[&whole[..], &[0; 512]].concat())
        },
        Layer {
            media_type: Layer::plain(&whole).media_type,
            ..Layer::gzip(&[&whole[..], &[0; 512]].concat())
        },
    ]
    .into_iter()
    .enumerate()
    {
        let image = host.write(&format!("image{number}"), &Layout::new([layer]));
        let outcome = host.run(host.command(&image));
        assert_eq!(outcome.status, Some(0), "case {number}: {outcome:?}");
        let root = host.checkout(&image);
        assert_eq!(listing(&root), ["a 0644 0:0 (100000 bytes)", "b 0644 0:0 y"], "case {number}");
    }
}

#[test]
fn large_and_deep_layers_are_taken_in_little_memory() {
    let Some(host) = Host::new() else { return };
    let zeros = Layer::of(&[file("zeros", vec![0; 200 << 20])]);
    let image = host.write("image", &Layout::new([zeros]));
    let outcome = host.pull(&image);
    println!("200 MiB of zeros: {} KiB", outcome.memory);
    assert!(outcome.memory < 64 << 10, "{} KiB", outcome.memory);
    let store = host.store();
    assert!(
        store
            .tree(&store.find(&image).unwrap())
            .read("zeros")
            .unwrap_err()
            .to_string()
            .contains("larger than")
    );
    let deep = Layer::of(&[file(["d"; 512].join("/"), "x"), file("many", "")]);
    let many = (0..20_000).map(|n| file(format!("many/{n}"), "same")).collect::<Vec<_>>();
    let image = host.write("deep", &Layout::new([deep, Layer::of(&many)]));
    let outcome = host.pull(&image);
    println!("512 directories in each other: {} KiB", outcome.memory);
    assert_eq!(fs::read_dir(host.checkout(&image).join("many")).unwrap().count(), 20_000);
    // More files than could be in memory, and hard links back to the first of them.
    let mut many = Vec::new();
    for directory in 0..300 {
        many.push(dir(format!("{directory}")).mode(0o700));
        many.extend((0..1000).map(|n| file(format!("{directory}/a-file-with-a-name-{n}"), "same")));
    }
    many.push(file("0/a-file-with-a-name-0", "other"));
    many.push(hard_link("link", "0/a-file-with-a-name-0"));
    let image = host.write("files", &Layout::new([Layer::of(&many)]));
    let outcome = host.pull(&image);
    println!("300,000 files: {} KiB", outcome.memory);
    assert!(outcome.memory < 64 << 10, "{} KiB", outcome.memory);
    let (store, found) = (host.store(), host.store().find(&image).unwrap());
    let read = |path: &str| store.tree(&found).read(path).unwrap();
    assert_eq!(read("299/a-file-with-a-name-999").as_deref(), Some(&b"same"[..]));
    assert_eq!(read("link").as_deref(), Some(&b"other"[..]));
    assert_eq!(read("0/a-file-with-a-name-1").as_deref(), Some(&b"same"[..]));
    host.fsck();
}

/// A file is kept once, however large, in whatever layer it comes, and whatever is there already keeps its links.
#[test]
fn images_share_files_of_any_size() {
    let Some(host) = Host::new() else { return };
    let sizes = [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 8 << 20];
    let items = |marker: &str| {
        let mut items = vec![file("marker", marker)];
        items.extend(sizes.iter().map(|size| file(format!("usr/{size}"), bytes(*size)).mode(0o755)));
        items
    };
    let shared: u64 = sizes.iter().map(|size| *size as u64).sum();
    let used = || {
        let files = WalkDir::new(host.repo()).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
        files.map(|file| file.blocks() * 512).sum::<u64>()
    };
    // Each checkout takes the place of the one before.
    let unpack = |name: &str, layout: &Layout| {
        let place = host.path(&format!("checkout-of-{name}"));
        fs::rename(host.unpack(name, layout), &place).unwrap();
        place
    };
    let first = unpack("first", &Layout::new([Layer::of(&items("first"))]));
    let before = used();
    // In a layer of its own, compressed or not, beside another one that has them, and with other metadata.
    for (number, layout) in [
        Layout::new([Layer::of(&items("second"))]),
        Layout::new([Layer::plain(&tar(&items("third")))]),
        Layout::new([Layer::of(&[file("x", "x")]), Layer::of(&items("fourth")), Layer::of(&items("fifth"))]),
    ]
    .into_iter()
    .enumerate()
    {
        let other = unpack(&format!("other{number}"), &layout);
        for size in sizes {
            let at = |root: &Path| fs::metadata(root.join(format!("usr/{size}"))).unwrap();
            let (one, other) = (at(&first), at(&other));
            assert_eq!((one.ino(), one.dev()), (other.ino(), other.dev()), "{size}");
            // The object, and a name in each deployment.
            assert_eq!(one.nlink(), number as u64 + 3, "{size}");
        }
        assert!(used() - before < shared / 4, "{number}: {} of {shared} bytes more", used() - before);
    }
    let mut items = items("sixth");
    items.iter_mut().for_each(|item| *item = item.clone().mode(0o700));
    let other = unpack("mode", &Layout::new([Layer::of(&items)]));
    let at = |root: &Path| fs::metadata(root.join(format!("usr/{}", 8 << 20))).unwrap();
    assert!(at(&first).ino() != at(&other).ino() && at(&other).nlink() == 2);
    host.fsck();
}
