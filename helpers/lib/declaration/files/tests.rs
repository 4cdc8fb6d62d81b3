use super::*;
use std::os::unix::fs::symlink;

const IMAGE: &str = "[Container]\nImage=x\n";

/// A tree with these files. The content of a link begins with `->`.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("->") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
    let root = Root::new(dir.path());
    (dir, root)
}

fn listed(root: &Root) -> (Vec<String>, Vec<String>) {
    let Listed { found, odd, unreadable } = list(root);
    for (name, source) in &found {
        assert_eq!(find(root, name).unwrap().as_ref(), Some(source));
    }
    let shown = found.iter().map(|(name, source)| {
        let drop_ins: String = source.drop_ins.iter().map(|path| format!(" + {path}")).collect();
        format!("{name}: {:?} {}{drop_ins}", source.place, source.path)
    });
    (shown.collect(), odd.iter().chain(&unreadable).map(Error::to_string).collect())
}

fn read_one(root: &Root, name: &str) -> Result<Declaration> {
    let name = name.parse().unwrap();
    read(root, &name, &find(root, &name)?.ok_or_else(|| Error::new("there is none"))?)
}

fn reason(root: &Root, name: &str) -> String {
    read_one(root, name).unwrap_err().to_string()
}

#[test]
fn the_first_directory_takes_precedence_and_masks() {
    let (_dir, root) = tree(&[
        ("etc/syscontainers/a.conf", IMAGE),
        ("run/syscontainers/a.conf", IMAGE),
        ("run/syscontainers/b.conf", IMAGE),
        ("usr/lib/syscontainers/b.conf", IMAGE),
        ("usr/lib/syscontainers/c.conf", IMAGE),
        ("usr/lib/syscontainers/masked.conf", IMAGE),
        ("run/syscontainers/masked.conf", ""),
        ("usr/lib/syscontainers/linked.conf", IMAGE),
        ("etc/syscontainers/linked.conf", "->/dev/null"),
        ("etc/syscontainers/attached/d.json", "{}"),
        ("etc/syscontainers/alone.conf.d/x.conf", IMAGE),
    ]);
    let expected = [
        "a: Host /etc/syscontainers/a.conf",
        "b: Host /run/syscontainers/b.conf",
        "c: Vendor /usr/lib/syscontainers/c.conf",
    ];
    assert_eq!(listed(&root), (expected.map(str::to_owned).to_vec(), vec![]));
    for name in ["masked", "linked", "alone", "d"] {
        assert_eq!(find(&root, &name.parse().unwrap()).unwrap(), None, "{name}");
    }
}

#[test]
fn drop_ins_are_merged_by_name() {
    let (_dir, root) = tree(&[
        ("usr/lib/syscontainers/web.conf", "[Container]\nImage=a\nHostName=main\n"),
        ("usr/lib/syscontainers/web.conf.d/10-a.conf", "[Container]\nImage=usr\n"),
        ("etc/syscontainers/web.conf.d/10-a.conf", "[Container]\nImage=etc\n"),
        ("run/syscontainers/web.conf.d/20-b.conf", "[Container]\nHostName=run\n"),
        ("usr/lib/syscontainers/web.conf.d/30-c.conf", "[Container]\nHostName=masked\n"),
        ("etc/syscontainers/web.conf.d/30-c.conf", "->/dev/null"),
        ("usr/lib/syscontainers/web.conf.d/40-d.conf", "[Container]\nHostName=empty\n"),
        ("run/syscontainers/web.conf.d/40-d.conf", ""),
        ("etc/syscontainers/web.conf.d/README", "no\n"),
        ("etc/syscontainers/web.conf.d/.50-hidden.conf", "no\n"),
    ]);
    let expected = "web: Vendor /usr/lib/syscontainers/web.conf + /etc/syscontainers/web.conf.d/10-a.conf + /run/syscontainers/web.conf.d/20-b.conf";
    assert_eq!(listed(&root), (vec![expected.into()], vec![]));
    let declaration = read_one(&root, "web").unwrap();
    assert_eq!(declaration.choices.image, "etc");
    assert_eq!(declaration.choices.settings[0].value(), "run");
}

#[test]
fn instances_are_files_or_links_and_have_the_drop_ins_of_their_template() {
    let (_dir, root) = tree(&[
        ("usr/lib/syscontainers/web@.conf", "[Container]\nImage=quay.io/%p:%i\n"),
        ("usr/lib/syscontainers/web@.conf.d/10.conf", "[Container]\nHostName=ten\n"),
        ("usr/lib/syscontainers/web@.conf.d/20.conf", "[Container]\nHostName=%i.example\n"),
        ("usr/lib/syscontainers/web@a.conf.d/10.conf", "[Container]\nUser=1\n"),
        ("etc/syscontainers/web@.conf.d/10.conf", "[Container]\nUser=2\n"),
        ("etc/syscontainers/web@a.conf", "->/usr/lib/syscontainers/web@.conf"),
        ("run/syscontainers/web@b.conf", "->../../usr/lib/syscontainers/web@.conf"),
        ("etc/syscontainers/web@c.conf", "[Container]\nImage=other\n"),
    ]);
    let (found, errors) = listed(&root);
    assert_eq!((found.len(), errors), (3, vec![]));
    let shown = |name: &str| {
        let choices = read_one(&root, name).unwrap().choices;
        let settings: String =
            choices.settings.iter().map(|a| format!(" {}={}", a.key(), a.value())).collect();
        format!("{}{settings}", choices.image)
    };
    assert_eq!(shown("web@a"), "quay.io/web:a User=1 HostName=a.example");
    assert_eq!(shown("web@b"), "quay.io/web:b User=2 HostName=b.example");
    assert_eq!(shown("web@c"), "other User=2 HostName=c.example");
}

/// An administrator may keep declarations elsewhere, and a file in /usr/local is one of theirs.
#[test]
fn directories_may_be_links_and_only_one_is_of_packages() {
    let (_dir, root) = tree(&[
        ("etc/syscontainers", "->/srv/declared"),
        ("srv/declared/web.conf", IMAGE),
        ("usr/lib/syscontainers/packaged.conf", IMAGE),
        ("usr/lib/syscontainers/web.conf", IMAGE),
        ("usr/lib/syscontainers.d/other.conf", IMAGE),
        ("usr/local/share/local.conf", IMAGE),
        ("usr/share/shared.conf", IMAGE),
    ]);
    let expected =
        ["packaged: Vendor /usr/lib/syscontainers/packaged.conf", "web: Host /etc/syscontainers/web.conf"];
    assert_eq!(listed(&root), (expected.map(str::to_owned).to_vec(), vec![]));
    for (path, expected) in [
        ("/usr/lib/syscontainers/packaged.conf", Place::Vendor),
        ("/usr/lib/syscontainers.d/other.conf", Place::Host),
        ("/usr/local/share/local.conf", Place::Host),
        ("/usr/share/shared.conf", Place::Host),
        ("/srv/declared/web.conf", Place::Host),
    ] {
        assert_eq!(at(&root, &path.into()).unwrap().1.place, expected, "{path}");
    }
}

#[test]
fn odd_names_are_told_of_and_hide_nothing() {
    let (dir, root) = tree(&[
        ("etc/syscontainers/good.conf", IMAGE),
        ("etc/syscontainers/.hidden.conf", IMAGE),
        ("etc/syscontainers/README", "no\n"),
        ("etc/syscontainers/-x.conf", IMAGE),
        ("etc/syscontainers/a b.conf", IMAGE),
        ("etc/syscontainers/a@b@c.conf", IMAGE),
        ("etc/syscontainers/@.conf", IMAGE),
        ("etc/syscontainers/web.0.conf", IMAGE),
        ("etc/syscontainers/syscontainer-x.conf", IMAGE),
        ("etc/syscontainers/a\n\x1b[2J.conf", IMAGE),
        ("run/syscontainers", "a file\n"),
    ]);
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff.conf");
    fs::write(dir.path().join("etc/syscontainers").join(odd), IMAGE).unwrap();
    let (found, errors) = listed(&root);
    assert_eq!(found, ["good: Host /etc/syscontainers/good.conf"]);
    assert_eq!(errors.len(), 9, "{errors:#?}");
    let Listed { odd, unreadable, .. } = list(&root);
    assert_eq!((odd.len(), unreadable.len()), (8, 1));
    let names =
        errors.iter().filter(|e| e.starts_with("invalid container name ") && e.contains(", skipping /etc/"));
    assert_eq!(names.count(), 8, "{errors:#?}");
    assert!(
        errors[8].starts_with("cannot read /run/syscontainers: ")
            && errors[8].ends_with("skipping the declarations in it")
    );
}

/// Nothing is waited for, and nothing is read without a limit.
#[test]
fn only_regular_files_of_a_limited_size_are_read() {
    let large = format!("{IMAGE}#{}\n", "x".repeat(FILE_MAX));
    let most = format!("[Container]\n#{}\n", "x".repeat(FILE_MAX - 20));
    let (dir, root) = tree(&[
        ("etc/syscontainers/large.conf", &large),
        ("etc/syscontainers/drop-in.conf", IMAGE),
        ("etc/syscontainers/link.conf", "->/nowhere"),
        ("etc/syscontainers/loop.conf", "->loop.conf"),
        ("etc/syscontainers/zero.conf", "->/dev/zero"),
        ("etc/syscontainers/directory.conf/x", ""),
        ("etc/syscontainers/many.conf", IMAGE),
        ("etc/syscontainers/all.conf", &most),
        ("etc/syscontainers/blocked.conf", IMAGE),
        ("etc/syscontainers/blocked.conf.d", "a file\n"),
        ("dev/zero", "[Container]\nImage=of-the-tree\n"),
    ]);
    let at = |path: &str| dir.path().join("etc/syscontainers").join(path);
    for fifo in ["fifo.conf", "drop-in.conf.d/a.conf"] {
        fs::create_dir_all(at(fifo).parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&at(fifo), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    symlink("fifo.conf", at("link-to-fifo.conf")).unwrap();
    fs::File::create(at("sparse.conf")).unwrap().set_len(1 << 40).unwrap();
    fs::create_dir(at("many.conf.d")).unwrap();
    (0..=DROP_INS_MAX).for_each(|n| fs::write(at(&format!("many.conf.d/{n}.conf")), "#\n").unwrap());
    fs::create_dir(at("all.conf.d")).unwrap();
    (0..4).for_each(|n| fs::write(at(&format!("all.conf.d/{n}.conf")), &most).unwrap());
    for (name, expected) in [
        ("large", "/etc/syscontainers/large.conf: it is larger than the limit of 64 KiB"),
        ("sparse", "/etc/syscontainers/sparse.conf: it is larger than the limit of 64 KiB"),
        ("fifo", "/etc/syscontainers/fifo.conf: it is not a regular file"),
        ("link-to-fifo", "/etc/syscontainers/link-to-fifo.conf: it is not a regular file"),
        ("directory", "/etc/syscontainers/directory.conf: it is not a regular file"),
        ("drop-in", "/etc/syscontainers/drop-in.conf.d/a.conf: it is not a regular file"),
        (
            "link",
            "/etc/syscontainers/link.conf: there is no such file, or it is a link to one that is missing",
        ),
        ("loop", "/etc/syscontainers/loop.conf: too many symlinks in /etc/syscontainers/loop.conf"),
        ("many", "/etc/syscontainers/many.conf: it has more than 256 drop-ins"),
        (
            "all",
            "/etc/syscontainers/all.conf.d/3.conf: with it, the files are larger than the limit of 256 KiB in all",
        ),
    ] {
        assert_eq!(reason(&root, name), expected);
    }
    // Links lead to what is in the tree.
    assert_eq!(read_one(&root, "zero").unwrap().choices.image, "of-the-tree");
    // What is no directory has no drop-ins.
    assert_eq!(read_one(&root, "blocked").unwrap().choices.image, "x");
    assert_eq!(list(&root).found.len(), 12);
}

#[test]
fn files_and_directories_of_other_places() {
    let (_dir, root) = tree(&[
        ("srv/web.conf", IMAGE),
        ("srv/web.conf.d/x.conf", "[Container]\nUser=1\n"),
        ("srv/web@.conf", IMAGE),
        ("srv/web@a.conf", "->web@.conf"),
        ("srv/masked.conf", ""),
        ("etc/syscontainers/web.conf.d/y.conf", "[Container]\nUser=2\n"),
    ]);
    let Listed { found, odd, unreadable } = list_in(&root, &"/srv".into());
    assert_eq!(found.keys().map(Name::as_str).collect::<Vec<_>>(), ["web", "web@a"]);
    assert!(odd.is_empty() && unreadable.is_empty());
    let (name, source) = at(&root, &"/srv/web.conf".into()).unwrap();
    assert_eq!(found.get(&name), Some(&source));
    assert_eq!(source.drop_ins, [TreePath::from("/srv/web.conf.d/x.conf")]);
    for (path, expected) in [
        (
            "/srv/web@.conf",
            "cannot take /srv/web@.conf for a declaration: it is a template; link web@INSTANCE.conf to it",
        ),
        ("/srv/web", "cannot take /srv/web for a declaration: its name does not end in '.conf'"),
        ("/srv/-.conf", "cannot take /srv/-.conf for a declaration: invalid container name \"-\": "),
    ] {
        let error = at(&root, &path.into()).unwrap_err();
        assert!(error.is_usage() && error.to_string().starts_with(expected), "{error}");
    }
}
