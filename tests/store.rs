//! The image store as its user meets it: the real program pulls images that are written here through the real skopeo into
//! a real repository, which is then checked out and checked. The images are layouts; in the story 35-hostile they are in a
//! registry.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "store/host.rs"]
#[allow(dead_code)]
mod host;
#[path = "store/layout.rs"]
#[allow(dead_code)]
mod layout;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use syscontainers::image::tree::Tree;

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
    let items =
        [file("a", ""), Item::new(b'3', "dev/null"), Item::new(b'4', "dev/sda"), Item::new(b'6', "fifo")];
    let image = host.write("image", &Layout::new([Layer::of(&items)]));
    let mut command = host.command(&image);
    command.arg("--quiet");
    let outcome = host.run(command);
    assert!(
        outcome.stderr.contains("skipped 3 device nodes, FIFOs or sockets of layer sha256:"),
        "{outcome:?}"
    );
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

/// Pulls what must be refused, quietly: one line, no half image, nothing elsewhere.
fn refuse(host: &Host, case: &str, layout: &Layout) -> String {
    let image = host.write("image", layout);
    let before = host.outside();
    let mut command = host.command(&image);
    command.arg("--quiet");
    let outcome = host.run(command);
    let line = outcome.stderr.strip_suffix('\n').unwrap_or(&outcome.stderr);
    assert_eq!(outcome.status, Some(1), "{case}: {outcome:?}");
    let begin = format!("syscontainer-pull: cannot pull {}: ", host.name("image"));
    assert!(line.starts_with(&begin), "{case}: {line}");
    assert!(!line.contains(char::is_control) && !line.contains("panic"), "{case}: {line:?}");
    assert!(line.len() < 1000, "{case}: {} bytes: {line}", line.len());
    assert!(outcome.stdout.is_empty(), "{case}");
    assert!(!host.ostree(&["refs"]).contains("latest"), "{case}");
    assert!(outcome.memory < 64 << 10, "{case}: {} KiB", outcome.memory);
    let after: Vec<_> = host
        .outside()
        .into_iter()
        .filter(|path| !path.ends_with("stdout") && !path.ends_with("stderr"))
        .collect();
    let before: Vec<_> =
        before.into_iter().filter(|path| !path.ends_with("stdout") && !path.ends_with("stderr")).collect();
    assert_eq!(after, before, "{case}");
    println!("{case}: {line}");
    line.to_owned()
}

/// Refuses an image for each list of items, which is in its second layer, with the cause in the message.
fn refuse_archives<const N: usize>(host: &Host, cases: [(&str, Vec<Item>, &str); N]) {
    for (case, items, cause) in cases {
        let layout = Layout::new([Layer::of(&[dir("d"), file("d/f", "")]), Layer::plain(&tar(&items))]);
        let line = refuse(host, case, &layout);
        assert!(line.contains(cause), "{case}: {line}");
    }
    host.fsck();
}

#[test]
fn hostile_paths_are_refused() {
    let Some(host) = Host::new() else { return };
    let canary = host.path("canary/x");
    let cases = [
        ("parent", vec![file("../x", "")], "'..'"),
        ("parent within", vec![file("a/../../x", "")], "'..'"),
        ("parent at the end", vec![dir("a/..")], "'..'"),
        ("parent of a whiteout", vec![file("../.wh.canary", "")], "'..'"),
        ("hard link out", vec![hard_link("x", "/etc/passwd")], "not a file of this layer"),
        (
            "hard link to the canary",
            vec![hard_link("x", canary.to_str().unwrap())],
            "not a file of this layer",
        ),
        ("hard link up", vec![hard_link("x", "../../../etc/passwd")], "'..'"),
        ("hard link to nothing", vec![hard_link("x", "")], "not a file of this layer"),
        ("hard link to itself", vec![hard_link("x", "x")], "not a file of this layer"),
        ("hard link to a directory", vec![dir("d"), hard_link("x", "d")], "not a file of this layer"),
        (
            "hard link to what comes later",
            vec![hard_link("x", "y"), file("y", "")],
            "not a file of this layer",
        ),
        (
            "through a symlink",
            vec![symlink("l", host.path("canary").to_str().unwrap()), file("l/x", "")],
            "symlink",
        ),
        ("directory through a symlink", vec![symlink("l", "/tmp"), dir("l/x/y")], "symlink"),
        (
            "hard link through a symlink",
            vec![symlink("l", "/etc"), hard_link("x", "l/passwd")],
            "not a file of this layer",
        ),
        ("below a file", vec![file("a", ""), file("a/b", "")], "symlink"),
        ("name too long", vec![file("x".repeat(256), "")], "255 bytes"),
        ("path too long", vec![file(["x"; 2500].join("/"), "")], "too long"),
        ("path too long, GNU", vec![file(["x"; 2500].join("/"), "").gnu()], "too long"),
        ("name beyond reason", vec![file("x".repeat(2 << 20), "").gnu()], "longer than"),
        ("NUL", vec![file("n", "").pax("path", b"a\0b")], "NUL"),
        ("not UTF-8", vec![file(b"a\xff\xfeb", "")], "not UTF-8"),
        ("target not UTF-8", vec![symlink("x", b"\xff")], "not UTF-8"),
        ("target missing", vec![symlink("x", "")], "empty"),
        ("target too long", vec![symlink("x", "x".repeat(5000))], "too long"),
        ("escape sequences", vec![file("\x1b[2J\r\nsyscontainer-pull: done\n/..", "")], "'..'"),
        (
            "escape sequences in a link",
            vec![hard_link("x", "\x1b]0;title\x07\n")],
            "not a file of this layer",
        ),
        ("forged letters", vec![file("\u{202e}\u{85}\u{2028}/..", "")], "'..'"),
        ("file for the root", vec![file("./", "x")], "root directory"),
        ("symlink for the root", vec![symlink("/", "/etc")], "root directory"),
        ("nameless", vec![file("", "x")], "root directory"),
        ("whiteout of its directory", vec![file("d/.wh..", "")], "cannot remove \".\""),
        ("whiteout of its parent", vec![file("d/.wh...", "")], "cannot remove \"..\""),
    ];
    refuse_archives(&host, cases);
}

#[test]
fn hostile_headers_are_refused() {
    let Some(host) = Host::new() else { return };
    let huge = |size: &[u8]| file("huge", "little").raw(124, size);
    let cases = [
        ("claims 8 GiB", vec![huge(b"77777777777\0")], "ends after 1536 of"),
        ("claims 8 EiB", vec![huge(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")], ""),
        ("claims less than nothing", vec![huge(&[0xff; 12])], ""),
        ("PAX claims 16 EiB", vec![file("x", "").pax("size", "18446744073709551615")], ""),
        ("size is garbage", vec![huge(b"garbage!!!!\0")], "invalid size"),
        ("mode is garbage", vec![file("x", "").raw(100, b"rwxrwxr\0")], "invalid mode"),
        ("owner is garbage", vec![file("x", "").raw(108, b"-000001\0")], "invalid user ID"),
        ("owner is none", vec![file("x", "").owner(4_294_967_295, 0)], "out of range"),
        ("group out of range", vec![file("x", "").owner(0, 1 << 32)], "out of range"),
        ("PAX owner is garbage", vec![file("x", "").pax("uid", "-1")], "for a number"),
        ("PAX record is garbage", vec![Item::new(b'x', "p").data("99 path=x\n"), file("x", "")], "malformed"),
        ("PAX record has no end", vec![Item::new(b'x', "p").data("10 path=xyz"), file("x", "")], "malformed"),
        ("PAX records of nothing", vec![Item::new(b'x', "p").data("9 path=x\n")], "last entry"),
        ("sparse", vec![file("x", "").pax("GNU.sparse.major", "1")], "sparse"),
        ("sparse, GNU", vec![Item::new(b'S', "x").gnu()], "unsupported type"),
        ("unknown type", vec![Item::new(b'Z', "x")], "unsupported type"),
    ];
    refuse_archives(&host, cases);
}

#[test]
fn blobs_that_are_not_what_they_should_be_are_refused() {
    let Some(host) = Host::new() else { return };
    let whole =
        tar(&[file("a", (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect::<Vec<_>>())]);
    let (good, other) = (Layer::gzip(&whole), layout::digest(b"other"));
    let truncated = |length: usize| Layer { blob: good.blob[..length].to_vec(), ..good.clone() };
    let honest = |blob: &[u8]| Layer::packed(&whole, blob.to_vec());
    let mut flipped = good.clone();
    *flipped.blob.last_mut().unwrap() ^= 1;
    let kind = |kind: &str| Layer { media_type: kind.into(), ..good.clone() };
    let half = good.blob.len() / 2;
    for (case, layer) in [
        ("digest", Layer { digest: other.clone(), ..good.clone() }),
        ("diffID", Layer { diff_id: other.clone(), ..good.clone() }),
        ("flipped", flipped),
        ("flipped, honest", honest(&[&good.blob[..half], b"!", &good.blob[half + 1..]].concat())),
        ("truncated", truncated(half)),
        ("truncated by one", truncated(good.blob.len() - 1)),
        ("truncated, honest", honest(&good.blob[..half])),
        ("truncated by its trailer, honest", honest(&good.blob[..good.blob.len() - 4])),
        ("gzip header only", honest(&good.blob[..4])),
        ("empty", Layer::packed(b"", Vec::new()).but_missing()),
        ("missing", good.clone().but_missing()),
        ("text", Layer::plain(b"this is no archive\n")),
        ("long text", Layer::plain("this is no archive\n".repeat(1000).as_bytes())),
        ("packed text", Layer::gzip("this is no archive\n".repeat(1000).as_bytes())),
        ("ends within a header", Layer::plain(&whole[..300])),
        ("ends within content", Layer::plain(&whole[..70_000])),
        (
            "ends within skipped content",
            Layer::plain(&open_tar(&[Item::new(b'g', "x").data("1".repeat(600))])[..700]),
        ),
        ("trailing garbage", honest(&[&good.blob[..], b"garbage"].concat())),
        ("zstd called gzip", honest(b"\x28\xb5\x2f\xfd\x04\0\0\0\0")),
        ("truncated zstd", {
            let packed = zstd::encode_all(whole.as_slice(), 3).unwrap();
            honest(&packed[..packed.len() / 2])
        }),
        ("lzma", kind("application/vnd.oci.image.layer.v1.tar+lzma")),
        ("encrypted", kind("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")),
        ("foreign", kind("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")),
        ("odd type", kind("text/\u{1b}[2Jplain\n")),
        ("SHA-512", Layer { digest: format!("sha512:{}", "a".repeat(128)), ..good.clone() }),
        ("MD5", Layer { digest: "md5:d41d8cd98f00b204e9800998ecf8427e".into(), ..good.clone() }),
        ("no digest", Layer { digest: "../../../../etc/passwd".into(), missing: true, ..good.clone() }),
        ("short digest", Layer { digest: "sha256:abcd".into(), ..good.clone() }),
        (
            "upper case diffID",
            Layer { diff_id: good.diff_id.to_uppercase().replace("SHA", "sha"), ..good.clone() },
        ),
        ("SHA-512 diffID", Layer { diff_id: format!("sha512:{}", "a".repeat(128)), ..good.clone() }),
        ("odd diffID", Layer { diff_id: "\u{1b}[2J\n".into(), ..good.clone() }),
    ] {
        refuse(&host, case, &Layout::new([layer]));
    }
    host.fsck();
    // And the right one is taken after all of these.
    assert!(host.unpack("image", &Layout::new([good])).join("a").exists());
}

#[test]
fn configurations_that_are_not_what_they_should_be_are_refused() {
    let Some(host) = Host::new() else { return };
    let (good, other) = (Layer::of(&[file("a", "")]), layout::digest(b"other"));
    let with = |config: &str| Layout { config: Some(config.into()), ..Layout::new([good.clone()]) };
    let ids = |ids: &[&String]| Layout {
        diff_ids: Some(ids.iter().map(|id| id.to_string()).collect()),
        ..Layout::new([good.clone()])
    };
    for (case, layout) in [
        ("too few diffIDs", ids(&[])),
        ("too many diffIDs", ids(&[&good.diff_id, &other])),
        ("config is text", with("this is no JSON\u{1b}[2J")),
        ("config is empty", with("")),
        ("config is a list", with("[]")),
        ("config has nothing", with("{}")),
        (
            "config has no diffIDs",
            with(r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}"#),
        ),
        ("config is nested", with(&"[".repeat(100_000))),
    ] {
        refuse(&host, case, &layout);
    }
    host.fsck();
    assert!(host.unpack("image", &Layout::new([good])).join("a").exists());
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
    let deep = Layer::of(&[file(["d"; 2000].join("/"), "x"), file("many", "")]);
    let many = (0..20_000).map(|n| file(format!("many/{n}"), "same")).collect::<Vec<_>>();
    let image = host.write("deep", &Layout::new([deep, Layer::of(&many)]));
    let outcome = host.pull(&image);
    println!("2000 directories in each other: {} KiB", outcome.memory);
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
