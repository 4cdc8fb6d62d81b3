//! What declarations of a tree name is in it.

use super::super::wanted::Wanted;
use super::*;

#[test]
fn files_elsewhere_are_in_the_tree_and_of_root() {
    let declared = one();
    let root = declared.host.site.root();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("db.conf"), "[Container]\nImage=outside\n").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("/link")).unwrap();
    let select = |path: &str| {
        let operands = [Operand::Path(root.path().join(path))];
        let (mut found, mut errors) = select::select(root, &operands);
        errors.pop().map_or_else(|| Ok(found.pop().map(|found| found.declaration)), Err)
    };
    for path in ["link", "link/db.conf"] {
        assert_eq!(select(path).err().unwrap().kind(), Kind::NotFound, "{path}");
    }
    declared.write("/srv/db.conf", "[Container]\nImage=inside\n");
    declared.write("/srv/db.conf.d/a.conf", "[Container]\nSet=A=b\n");
    std::os::unix::fs::symlink("/srv", root.join("/other")).unwrap();
    assert_eq!(select("other/db.conf").unwrap().unwrap().unwrap().choices.image, "inside");
    for open in ["srv", "srv/db.conf", "srv/db.conf.d", "srv/db.conf.d/a.conf"] {
        let path = root.path().join(open);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        for operand in ["srv", "other/db.conf"] {
            let why = select(operand).unwrap().unwrap().unwrap_err().to_string();
            assert!(why.contains("db.conf: other users may change"), "{open}: {why}");
            assert!(
                why.ends_with("that only root may write to, such as /etc/syscontainers"),
                "{open}: {why}"
            );
        }
        fs::set_permissions(&path, before).unwrap();
    }
}

#[test]
fn values_are_read_from_files_of_the_tree() {
    let declared = one();
    let root = declared.host.site.root();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "outside").unwrap();
    declared.write("/etc/value", "inside");
    let wanted = |path: &str| {
        declared.declare(&format!("SetFile=A={path}\n"));
        let source = files::find(root, &declared.host.name)?.unwrap();
        let declaration = files::read(root, &declared.host.name, &source)?;
        Wanted::of(root, &declaration).map(|wanted| wanted.values["A"].clone())
    };
    std::os::unix::fs::symlink("/etc/value", root.join("/link")).unwrap();
    assert_eq!(wanted("/link").unwrap(), "inside");
    fs::remove_file(root.join("/link")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("/link")).unwrap();
    let why = wanted("/link").unwrap_err().to_string();
    assert!(
        why.contains("cannot read the value of A from") && why.ends_with("there is no such file"),
        "{why}"
    );
}

#[test]
fn operands_are_names_files_and_directories() {
    let declared = one();
    let root = declared.host.site.root();
    declared.declare("");
    let select = |operand: &Path| {
        let operand: Operand = operand.to_str().unwrap().parse().unwrap();
        let (found, errors) = select::select(root, &[operand]);
        let shown = found.iter().map(|found| {
            let result = found.declaration.as_ref().map(|declaration| declaration.source.path.to_string());
            result.unwrap_or_else(|e| e.to_string())
        });
        (shown.collect::<Vec<_>>(), errors.len())
    };
    let at = |path: &'static str| root.join(path);
    let own = vec!["/etc/syscontainers/web.conf".to_owned()];
    for operand in [Path::new("web"), &at("/etc/syscontainers/web.conf"), &at("/etc/syscontainers")] {
        assert_eq!(select(operand), (own.clone(), 0), "{operand:?}");
    }
    declared.write("/srv/db.conf", "[Container]\nImage=x\n");
    declared.write("/srv/unit.conf", "[Container]\nImage=x\n[Service]\nNice=1\n");
    declared.write("/srv/t@.conf", "[Container]\nImage=x\n");
    assert_eq!(select(&at("/srv/db.conf")), (vec!["/srv/db.conf".to_owned()], 0));
    let (found, errors) = select(&at("/srv"));
    assert_eq!((found.len(), errors), (2, 0), "{found:?}");
    assert!(found[1].starts_with("cannot use /srv/unit.conf: lines of [Unit] and [Service]"), "{found:?}");
    declared.write("/srv/web.conf", "[Container]\nImage=x\n");
    let (found, _) = select(&at("/srv/web.conf"));
    assert!(found[0].contains("web is declared in /etc/syscontainers/web.conf, which counts"), "{found:?}");
    let (found, _) = select(Path::new("nothing"));
    assert!(found[0].starts_with("there is no declaration of nothing"), "{found:?}");
    let (found, errors) = select::select(
        root,
        &[Operand::Path(root.path().join("none/x.conf")), Operand::Name("web".parse().unwrap())],
    );
    assert_eq!((found.len(), errors.len(), errors[0].kind()), (1, 1, Kind::NotFound));
    // Whatever is in the working directory, as `helpers` is here.
    assert_eq!("helpers".parse::<Operand>().unwrap(), Operand::Name("helpers".parse().unwrap()));
    for path in ["./helpers", ".", "..", "web.conf"] {
        assert_eq!(path.parse::<Operand>().unwrap(), Operand::Path(path.into()));
    }
}
