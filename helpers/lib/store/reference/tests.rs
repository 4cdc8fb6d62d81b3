use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn titles_and_sources() {
    for (text, title, skopeo) in [
        ("docker://r.io/x/y:1", "r.io/x/y:1", "docker://r.io/x/y:1"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "docker://127.0.0.1:5000/x:latest"),
        ("busybox", "busybox:latest", "docker://busybox:latest"),
        ("docker-daemon:r.io/x", "r.io/x:latest", "docker-daemon:r.io/x:latest"),
        ("docker-daemon:sha256:12ab", "sha256:12ab", "docker-daemon:sha256:12ab"),
        ("docker:x", "x:latest", "docker-daemon:x:latest"),
        ("docker:x:1", "x:1", "docker-daemon:x:1"),
        ("containers-storage:r.io/x:1", "r.io/x:1", "containers-storage:r.io/x:1"),
        ("oci:/a/b", "b:latest", "oci:/a/b"),
        ("oci:/a/b:1.0", "b:1.0", "oci:/a/b:1.0"),
        ("oci-archive:/a/b.tar:1.0", "b:1.0", "oci-archive:/a/b.tar:1.0"),
        ("oci-archive:b.tgz", "b:latest", "oci-archive:b.tgz"),
        ("dir:/a/b.d", "b.d:latest", "dir:/a/b.d"),
        ("docker-archive:/a/b.tar:r.io/x", "r.io/x:latest", "docker-archive:/a/b.tar:r.io/x:latest"),
        ("dockertar:/a/b.tar:x:1", "x:1", "docker-archive:/a/b.tar:x:1"),
    ] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(
            (reference.title(&reference).unwrap().as_str(), reference.to_skopeo().as_str()),
            (title, skopeo)
        );
    }
}

#[test]
fn names_in_the_store_are_references_of_one_source_each() {
    let here = std::env::current_dir().unwrap();
    let relative = format!("oci-archive:{}/b.tgz", here.display());
    let digest = format!("r.io/x@sha256:{HEX}");
    let mut names = std::collections::BTreeSet::new();
    for (text, name) in [
        ("docker://r.io/x/y:1", "r.io/x/y:1"),
        ("busybox", "busybox:latest"),
        (&digest, &digest),
        ("docker:r.io/x/y:1", "docker-daemon:r.io/x/y:1"),
        ("docker://docker-daemon:5000/x:1", "docker://docker-daemon:5000/x:1"),
        ("docker-daemon:5000/x:1", "docker-daemon:5000/x:1"),
        ("docker://oci:5000/x", "docker://oci:5000/x:latest"),
        ("docker-daemon:sha256:12ab", "docker-daemon:sha256:12ab"),
        ("containers-storage:r.io/x/y:1", "containers-storage:r.io/x/y:1"),
        ("docker-archive:/a/b.tar:r.io/x/y:1", "docker-archive:/a/b.tar:r.io/x/y:1"),
        ("dockertar://a//b.tar", "docker-archive:/a/b.tar"),
        ("oci:/a/b", "oci:/a/b"),
        ("oci:/a/b:latest", "oci:/a/b:latest"),
        ("oci-archive:b.tgz", &relative),
        ("dir:/a/./b.d/", "dir:/a/b.d"),
        ("dir:/a:b", "dir:/a:b"),
    ] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.name().unwrap(), name);
        let again: Reference = name.parse().unwrap();
        assert_eq!(again.name().unwrap(), name);
        assert_eq!(again, reference.absolute().unwrap());
        assert!(names.insert(name.to_owned()), "{name} is that of another source");
        assert_eq!(refs::image_name(&refs::image_ref(name)).as_deref(), Some(name));
    }
    let error = format!("oci:/{}", "x".repeat(300)).parse::<Reference>().unwrap().name().unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("too long"), "{error}");
}

#[test]
fn the_same_image_by_digest() {
    let digest = Digest::of(b"");
    for name in ["r.io:5000/x", "r.io:5000/x:1", &format!("r.io:5000/x@sha256:{HEX}")] {
        let reference = name.parse::<Reference>().unwrap().with_digest(&digest).unwrap();
        assert_eq!(reference.to_skopeo(), format!("docker://r.io:5000/x@{digest}"));
    }
    assert_eq!("dir:/x".parse::<Reference>().unwrap().with_digest(&digest), None);
}

/// What programs write that update references: the tag is for people, the digest decides.
#[test]
fn a_digest_wins_over_a_tag() {
    for prefix in ["docker://", "docker-daemon:", "containers-storage:", ""] {
        let by_digest: Reference = format!("{prefix}r.io:5000/x/y@sha256:{HEX}").parse().unwrap();
        let by_both: Reference = format!("{prefix}r.io:5000/x/y:1.2@sha256:{HEX}").parse().unwrap();
        assert_eq!(by_both, by_digest);
        assert!(by_both.has_digest());
        assert!(by_both.to_skopeo().ends_with(&format!("r.io:5000/x/y@sha256:{HEX}")));
    }
    let without_domain: Reference = format!("y:1.2@sha256:{HEX}").parse().unwrap();
    assert_eq!(without_domain.name().unwrap(), format!("y@sha256:{HEX}"));
}

#[test]
fn refuses_with_a_reason() {
    let empty = format!("r.io/x:@sha256:{HEX}");
    let texts = [
        "",
        "a b",
        "x\n",
        "http://x",
        "ftp://y",
        "r/x@sha256:12",
        &empty,
        "r//x",
        "r/",
        "x:",
        ":x",
        "@x",
        "r/x;y",
        "oci:",
        "oci:/x:",
        "docker-archive:",
        "dir:",
        "docker:",
        "docker-daemon:a//b",
    ];
    for text in texts {
        let error = text.parse::<Reference>().unwrap_err();
        assert!(error.is_usage() && error.to_string().starts_with("invalid image reference"), "{text}");
    }
}

#[test]
fn credentials_are_refused_and_not_repeated() {
    for text in [
        "docker://user:s3cret@host/x",
        "user:s3cret@host/x",
        "s3cret@host/x:1",
        "docker-daemon:user:s3cret@host/x",
        "containers-storage:user:s3/cret@host/x",
        "docker-archive:/a.tar:user:s3cret@host/x",
        "https://user:s3cret@host/x",
        "docker://user:s3cret with blanks@host/x",
        "user:s3cret\n@host/x",
        "https://host/x?token=s3cret",
        "user:s3cret@host/x@sha256:12",
    ] {
        let error = text.parse::<Reference>().unwrap_err();
        assert!(error.is_usage() && !error.to_string().contains("cret"), "{error}");
    }
    let error = "u:p@host/x".parse::<Reference>().unwrap_err().to_string();
    assert!(error.contains("\"***@host/x\"") && error.contains("--authfile=FILE"), "{error}");
    assert!("oci:/srv/a@b".parse::<Reference>().is_ok());
}

/// Whatever is typed, parsing ends without a panic, and what it takes goes to skopeo as one word.
#[test]
fn never_panics() {
    let parts =
        ["docker", "oci", ":", "//", "/", "@", "sha256:", HEX, "x", ".", "-", " ", "\n", "ä", "dir", "tar"];
    let mut state = 3u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..(state >> 60) {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push_str(parts[(state >> 33) as usize % parts.len()]);
        }
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        if let Ok(reference) = text.parse::<Reference>() {
            assert!(!reference.to_skopeo().contains(char::is_whitespace), "{text}");
        }
    }
}
