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
