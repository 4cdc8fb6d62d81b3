//! Images that are refused: hostile archives, and blobs and configurations that are not what they should be.

use crate::host::Host;
use crate::layout::{self, Item, Layer, Layout, dir, file, hard_link, open_tar, symlink, tar};

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
    // Some need nearly 64 MiB, a part of which are pages of programs, which others decide about.
    assert!(outcome.memory < 96 << 10, "{case}: {} KiB", outcome.memory);
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
fn paths_that_are_too_deep_are_refused() {
    let Some(host) = Host::new() else { return };
    let deep = ["x"; 513].join("/");
    let long = vec!["d".repeat(120); 20].join("/");
    let implicit = (0..6000).map(|n| file(format!("{n}/{long}/x"), "")).collect();
    let cases = [
        ("path too deep", vec![file(&deep, "")], "more than 512 names"),
        ("directory too deep", vec![dir(&deep)], "more than 512 names"),
        ("link too deep", vec![symlink(&deep, "/")], "more than 512 names"),
        ("hard link from too deep", vec![hard_link("x", &deep)], "more than 512 names"),
        ("directories without entries", implicit, "no entries of their own are more than 16 MiB"),
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
        ("PAX owner is garbage", vec![file("x", "").pax("uid", "-1")], "is not a number"),
        ("PAX record is garbage", vec![Item::new(b'x', "p").data("99 path=x\n"), file("x", "")], "malformed"),
        ("PAX record has no end", vec![Item::new(b'x', "p").data("10 path=xyz"), file("x", "")], "malformed"),
        ("PAX records of nothing", vec![Item::new(b'x', "p").data("9 path=x\n")], "last entry"),
        (
            "attributes beyond reason",
            vec![file("x", "").xattr("user.a", "a".repeat(40_000)).xattr("user.b", "b".repeat(40_000))],
            "more than 64 KiB",
        ),
        (
            "attributes of a directory beyond reason",
            vec![dir("x").xattr("user.a", "a".repeat(70_000))],
            "more than 64 KiB",
        ),
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
fn directories_that_are_too_large_are_refused() {
    let Some(host) = Host::new() else { return };
    let flat = (0..250_001).map(|n| hard_link(format!("flat/{n}"), "x"));
    let items: Vec<Item> = [file("x", ""), dir("flat")].into_iter().chain(flat).collect();
    let image = host.write("image", &Layout::new([Layer::of(&items)]));
    let mut command = host.command(&image);
    command.arg("--quiet");
    let outcome = host.run(command);
    assert!(
        outcome.stderr.contains("its directory has more than 250000 files and directories"),
        "{outcome:?}"
    );
}
